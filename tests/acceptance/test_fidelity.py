"""The simulator against the live platform: the same calls on both, with costs that were measured on this machine.

Functions sleep in the place of importing, loading and computing. Everything else is real: environments, templates,
processes, memory, and the times at which calls are sent. `benchmarks/fidelity.py` does the same with the example
functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import textwrap
import zipfile
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from instainfer.core.model import MIB
from instainfer.experiments import fidelity, starts
from instainfer.experiments.live import Steps
from instainfer.experiments.platform import Setting, chosen
from instainfer.experiments.processors import watched
from instainfer.experiments.profile import Profiled, prepared, read_stories
from instainfer.experiments.replay import PlannedCall
from instainfer.report.records import SUCCESS, CallRecord
from instainfer.sim.costs import CostSet
from instainfer.sim.fidelity import compare
from instainfer.sim.observed import FunctionFacts

pytestmark = [pytest.mark.acceptance]

LIBRARY_S = 0.6
DURATION_S = 24.0
CALLS = 24
MEMORY_MB = 256
"""Room for two containers, and three functions."""
SETTINGS = chosen(["keep-alive", "instainfer+templates"])
AGREEMENT_ON_ANY_HOST = 0.5
"""Of the start kinds: a host that is busy moves calls and ends of loads, but not what most calls find."""
PROBES = tuple(probe for probe in starts.PROBES if probe.setting.label in {"kept", "templates", "function-templates"})
"""Enough where nothing is to be warmed up."""

HANDLER = """
import time
{imports}

def load():
    time.sleep({model_s})

def main(args):
    time.sleep({compute_s})
    return {{}}
"""
FUNCTIONS: Mapping[str, tuple[str, float, float]] = {
    # What it imports, and how long model and compute take.
    "large": ("import slowlib", 0.8, 0.2),
    "middle": ("import slowlib", 0.5, 0.15),
    "small": ("", 0.3, 0.1),
}


def make_wheel(folder: Path) -> None:
    """A library whose import takes its time."""
    folder.mkdir()
    info = "slowlib-1.0.dist-info"
    files = {
        "slowlib.py": f"import time\ntime.sleep({LIBRARY_S})\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: slowlib\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / "slowlib-1.0-py3-none-any.whl", "w") as wheel:
        for name, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(name, text)


def make_function(folder: Path) -> Path:
    imports, model_s, compute_s = FUNCTIONS[folder.name]
    folder.mkdir(parents=True)
    handler = HANDLER.format(imports=imports, model_s=model_s, compute_s=compute_s)
    (folder / "handler.py").write_text(textwrap.dedent(handler))
    (folder / "function.toml").write_text(f'name = "{folder.name}"\nmemory = "128MB"\n')
    (folder / "sample.json").write_text("{}")
    if imports:
        (folder / "requirements.txt").write_text("slowlib==1.0\n")
    return folder


def make_calls(seed: int) -> list[PlannedCall]:
    rng = random.Random(seed)
    calls, at_s = [], 0.2
    for _ in range(CALLS):
        calls.append(PlannedCall(at_s, rng.choices(list(FUNCTIONS), (2, 3, 4))[0], b"{}"))
        at_s += rng.expovariate(CALLS / DURATION_S)
    return calls


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Environments are made of our wheel alone."""
    make_wheel(tmp_path / "wheels")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return tmp_path / "cache"


@pytest.fixture
def functions(tmp_path: Path, cache: Path) -> list[Profiled]:
    folders = [make_function(tmp_path / "functions" / name) for name in FUNCTIONS]
    return prepared([str(folder) for folder in folders], cache, None, Console(stderr=True))


def measured(functions: list[Profiled], folder: Path, cache: Path) -> CostSet:
    with Steps(Console(stderr=True), "measuring") as steps:
        starts.measure([each.prepared for each in functions], folder, cache, 2, steps, probes=PROBES)
    known = {
        each.prepared.name: FunctionFacts(each.memory_mb * MIB, load_cores=0.0, compute_cores=0.0) for each in functions
    }
    # Nothing slows anything down, but a platform with few processors puts loads off.
    cores = float(len(os.sched_getaffinity(0)))
    costs = read_stories(folder, PROBES).costs(known, name="measured", source="a test", cores=cores)
    return msgspec.structs.replace(costs, noise_sigma=0.0)


def live(scene: fidelity.Scene, folder: Path, cache: Path) -> dict[Setting, list[CallRecord]]:
    """On all settings at the same time, as sleeping functions do not disturb each other."""
    with contextlib.ExitStack() as stack:
        platforms = [stack.enter_context(fidelity.ready(scene, each, folder / each.label, cache)) for each in SETTINGS]

        async def all_of_them() -> list[list[CallRecord]]:
            return await asyncio.gather(*(fidelity.live(scene, each) for each in platforms))

        return dict(zip(SETTINGS, asyncio.run(all_of_them()), strict=True))


@pytest.mark.timeout(180)
def test_a_simulation_with_measured_costs_is_close_to_the_live_run(
    tmp_path: Path, cache: Path, functions: list[Profiled]
) -> None:
    with watched() as waiting:
        costs = measured(functions, tmp_path / "measured", cache)
        scene = fidelity.Scene(functions, make_calls(1), DURATION_S, MEMORY_MB)
        records = live(scene, tmp_path / "live", cache)
    # Measured, and not what the functions' source says: but it must be near that.
    assert costs.functions["large"].model_s == pytest.approx(0.8, rel=0.1)
    assert costs.functions["small"].compute_s == pytest.approx(0.1, rel=0.2)
    too_far = []
    for setting in SETTINGS:
        assert {record.status for record in records[setting]} == {SUCCESS}
        found = compare(records[setting], fidelity.simulated(scene, setting, costs))
        told = json.dumps({"setting": setting.label, **found.to_json()}, indent=2)
        assert found.agreement >= AGREEMENT_ON_ANY_HOST, told
        if not found.is_close:
            too_far.append(told)
    if too_far and waiting.is_long:
        pytest.skip(f"the host is too busy to tell: a processor was waited for {waiting.share:.0%} of the time")
    assert not too_far, "\n".join(too_far)
