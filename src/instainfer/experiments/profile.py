"""Measures what functions cost on this machine, with real functions on private platforms, and makes a cost set.

Each kind of start is provoked as in `experiments.starts`. The platforms have memory for one container, so that only one
thing happens at a time, and `sim.observed` reads the costs from their stories. Before that, every function is called on
a platform that is not measured: then its files are in the kernel's cache, and templates know what to import.
"""

from __future__ import annotations

import datetime
import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from .. import __version__
from ..config import load_config
from ..core.model import MIB, StartKind
from ..environments.manifest import AUTO, Manifest, read_manifest
from ..environments.sample import sample_request
from ..errors import BadInput
from ..examples import example, examples_dir
from ..report.chrome import read_story
from ..report.results import this_machine
from ..sim.costs import CostSet
from ..sim.observed import FunctionFacts, Observer
from . import crowding, processors, starts
from .live import Steps
from .platform import Setting, running
from .setup import Prepared, prepare

_PROBES = tuple(
    replace(probe, kinds=(*probe.kinds, StartKind.WARM)) if probe.kinds == (StartKind.TEMPLATED,) else probe
    for probe in starts.PROBES
)
"""The probe with templates also measures later calls of forked functions."""
_FIRST = Setting("first", retain=True, preload="none", templates=True)
_SECOND_CALLS = 2
"""Number of unmeasured calls of every function: templates import what the first load has imported."""


@dataclass(frozen=True, slots=True)
class Options:
    """What to measure."""

    functions: tuple[str, ...] = ()
    """Names of example functions, and folders of other functions; empty: every example function."""
    repeat: int = 5
    """Number of starts of each kind."""
    weights: Path | None = None
    """Folder with real weights, which replace the examples' seeded ones."""


@dataclass(frozen=True, slots=True)
class Profiled:
    """A function to be measured."""

    prepared: Prepared
    manifest: Manifest
    memory_mb: int
    """The function's own memory limit."""


def profile(options: Options, console: Console) -> CostSet:
    """Measure, and show the progress on `console`.

    Raises `NotFound` or `BadFunction` for a name that is no function or has no request, `EnvironmentBuildError` or
    `HostError` when the set-up or a platform fails, and `BadInput` when some cost of a function could not be measured.
    """
    cache = load_config().cache_dir.absolute()
    functions = prepared(options.functions, cache, options.weights, console)
    with tempfile.TemporaryDirectory(prefix="instainfer-profile-") as folder, Steps(console, "measuring") as steps:
        return measure(functions, Path(folder), cache, options.repeat, steps)


def measure(functions: Sequence[Profiled], folder: Path, cache: Path, repeat: int, steps: Steps) -> CostSet:
    """Return the cost set of functions that are ready to be deployed; platforms keep their files in `folder`."""
    ready = [each.prepared for each in functions]
    container_mb = max(starts.CONTAINER_MB, *(each.memory_mb for each in functions))
    _call_all_once(ready, folder, cache, container_mb, steps)
    with processors.watched() as waiting:
        starts.measure(ready, folder, cache, repeat, steps, probes=_PROBES, container_mb=container_mb)
    busy = processors.measure(ready, folder, cache, container_mb, steps)
    crowds = crowding.measure(ready, folder, cache, container_mb, steps)
    observer = read_stories(folder, _PROBES)
    known = {
        each.prepared.name: FunctionFacts(
            each.memory_mb * MIB,
            fast=each.manifest.fast_init,
            load_cores=busy[each.prepared.name].load,
            compute_cores=busy[each.prepared.name].compute,
            beside_call=crowds[each.prepared.name].call,
            beside_load=crowds[each.prepared.name].load,
        )
        for each in functions
    }
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    cores = float(len(os.sched_getaffinity(0)))
    return observer.costs(known, name=f"measured {today}", source=_source(today, repeat, waiting), cores=cores)


def _source(today: str, repeat: int, waiting: processors.Waiting) -> str:
    machine = this_machine()
    parts = [
        f"instainfer {__version__} profile, {today}, {repeat} of each kind of start",
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB",
        f"Python {machine['python']}, Linux {machine['kernel']}",
    ]
    if waiting.share is not None:
        much = ", TOO MUCH: measure again" if waiting.is_long else ""
        parts.append(f"something waited for a processor {waiting.share:.0%} of the time{much}")
    return "; ".join(parts)


def read_stories(folder: Path, probes: Iterable[starts.Probe]) -> Observer:
    """Read the stories that `starts.measure` has left in `folder`."""
    observer = Observer()
    for probe in probes:
        # Platforms with templates also honour fast_init.
        observer.read(read_story(folder / probe.setting.label / "story.jsonl"), fast=probe.setting.templates)
    return observer


def prepared(names: Iterable[str], cache: Path, weights: Path | None, console: Console) -> list[Profiled]:
    """Prepare functions, given by the names of examples or by folders, for deployment; without names, all examples."""
    chosen = list(names) or sorted(path.name for path in (examples_dir() / "functions").iterdir() if path.is_dir())
    default_mb = load_config().limits.default_memory_mb
    result: list[Profiled] = []
    for name in chosen:
        folder = Path(name)
        ready = _own(folder, weights) if folder.is_dir() else _example(name, cache, weights, console)
        if any(ready.name == other.prepared.name for other in result):
            raise BadInput(f"two functions are named {ready.name}; name each once")
        manifest = read_manifest(ready.folder)
        memory_mb = starts.CONTAINER_MB if manifest.memory_mb == AUTO else manifest.memory_mb or default_mb
        result.append(Profiled(ready, manifest, memory_mb))
    return result


def _own(folder: Path, weights: Path | None) -> Prepared:
    """Prepare a user's function; its environment is built when it is deployed."""
    name = read_manifest(folder).name or folder.resolve().name
    return Prepared(name, folder, Path(), weights or folder, sample_request(folder))


def _example(name: str, cache: Path, weights: Path | None, console: Console) -> Prepared:
    if weights is None:
        for path in read_manifest(example(name)).weights:
            # Weights are made by the example that they are named after, and other examples may use them too.
            owner = Path(path).stem
            if owner != name:
                weights = prepare([owner], cache, None, console)[0].weights_dir
    (ready,) = prepare([name], cache, weights, console)
    return ready


def _call_all_once(functions: Sequence[Prepared], folder: Path, cache: Path, container_mb: int, steps: Steps) -> None:
    with (
        running(_FIRST, folder / _FIRST.label, cache, container_mb) as platform,
        platform.client() as client,
    ):
        for each in functions:
            steps.step(f"first calls: {each.name}")
            starts.deploy_into(client, each, container_mb)
        for _ in range(_SECOND_CALLS):
            for each in functions:
                steps.step(f"first calls: {each.name}")
                starts.call(client, each.name, json.loads(each.request))
