"""Makes a scenario's runs on real platforms: each run replays its workload on a fresh one, with the example functions.

A live platform gets the same configuration as a simulated one: baseline, policies with all their parameters, templates
and memory. What a live platform cannot have, for example several nodes, is refused before anything runs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from ..config import load_config
from ..core.model import GIB, MIB
from ..errors import BadInput
from ..examples import PAPER, example
from ..report import results
from .campaign import Document, Folder, Tally, Watcher, run_campaign
from .measuring import CONTAINER_MB, deploy_all, measure
from .platform import PolicySettings, Setting, running
from .runs import Run, document
from .setup import Prepared, prepare
from .sources import source
from .workload import plan, without_idle_beginning

_FOLDER = "live"
"""Folder for the files of platforms that are running, that failed, or on which calls failed."""


def run_live(runs: Sequence[Run], folder: Folder, watcher: Watcher, console: Console, *, again: bool) -> Tally:
    """Make the missing runs of a scenario on real platforms, one after the other; see `run_campaign`.

    Raises `BadInput` for what a live platform cannot have and for a function that is not an example, and the errors of
    `experiments.setup.prepare`.
    """
    for run in runs:
        for key, why in unheard(run):
            raise BadInput(f"{run.system}: a live run cannot have {key}: {why}; leave --live away or take it out")
    names = list(dict.fromkeys(name for run in runs for name in _names(run)))
    for name in names:
        example(name)
    minutes = sum(source(run.setup.workload, run.seed, run.folder).workload.duration_s for run in runs) / 60.0
    console.print(f"{len(runs)} live runs take about as long as their workloads: {minutes:,.0f} min", highlight=False)
    cache = load_config().cache_dir.absolute()
    prepared = {each.name: each for each in prepare(names, cache, None, console)}
    make = partial(_make, folder=folder.path.absolute() / _FOLDER, prepared=prepared, cache=cache, console=console)
    return run_campaign([replace(run, live=True) for run in runs], folder, watcher, again=again, make=make)


def unheard(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the settings that a live platform cannot have, each with the reason."""
    system = run.setup.system
    if system.fast_init not in (None, system.templates):
        yield "fast_init", "its platforms have it with templates, and not without"
    if run.setup.nodes != 1:
        yield f"nodes = {run.setup.nodes}", "its platforms are one node each"
    if _memory_mb(run) < CONTAINER_MB:
        yield f"memory_gb = {run.setup.memory_gb:g}", f"one container there has {CONTAINER_MB:,} MB"
    if run.durations != "costs":
        yield f"durations = {run.durations!r}", "functions take as long as they take"


def _memory_mb(run: Run) -> int:
    return int(run.setup.memory_gb * GIB) // MIB


def _names(run: Run) -> Sequence[str]:
    return run.setup.workload.names or PAPER


def _make(run: Run, folder: Path, prepared: Mapping[str, Prepared], cache: Path, console: Console) -> Document:
    system = run.setup.system
    setting = Setting(
        run.system,
        retain=system.baseline == "fair",
        preload=system.preload.policy,
        templates=system.templates,
        function_templates=system.function_templates,
        policies=PolicySettings(system.keepalive, system.preload, system.replace),
    )
    made = source(run.setup.workload, run.seed, run.folder)
    names = _names(run)
    planned = plan(made.workload, run.seed, names, {name: prepared[name].request for name in names})
    calls, duration_s = without_idle_beginning(planned, made.workload.duration_s)
    console.rule(run.name, align="left")
    place = folder / run.id
    shutil.rmtree(place, ignore_errors=True)
    with running(setting, place, cache, _memory_mb(run)) as platform:
        deploy_all(platform, [prepared[name] for name in dict.fromkeys(names)], console)
        found: dict[str, Any] = results.to_json([measure(platform, setting, calls, duration_s, console)], run.seed)
    if found["runs"][0]["failed"] + found["runs"][0]["lost"] == 0:
        shutil.rmtree(place, ignore_errors=True)
    return document(run, found, made.facts)
