"""Expands a scenario into its runs; each has an id that describes it, so that no run is made twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from .. import __version__
from ..core.model import GIB
from ..sim import costs as cost_sets
from ..sim.costs import CostSet
from ..sim.results import to_json
from ..sim.run import run_simulation
from ..sim.settings import Settings
from .scenario import Point, Scenario, Setup, TraceFile, setup
from .sources import digest, source

FORM = 2
"""Increased when a run's behaviour or result format changes, so that older results are not used."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a scenario: a system on a workload with a seed, at one point of the sweeps."""

    workload: str
    """Label of the workload; `system` is a label too."""
    system: str
    point: Point
    """The value of each parameter that is varied."""
    seed: int
    setup: Setup
    costs: CostSet
    durations: str
    folder: Path
    """The scenario's folder; names of trace files are relative to it."""
    live: bool = False
    """True: the run is made on a real platform."""

    @property
    def described(self) -> dict[str, Any]:
        """Everything that the result depends on; labels and colours are left out."""
        told = self.setup.model_dump(mode="json", by_alias=True)
        for part in (told["workload"], told["system"]):
            del part["label"]
        for appearance in ("family", "line"):
            del told["system"][appearance]
        if isinstance(self.setup.workload, TraceFile):
            told["workload"]["sha256"] = digest(self.setup.workload, self.folder)
        costs = msgspec.to_builtins(self.costs)
        live = {"live": True} if self.live else {"costs": costs, "durations": self.durations}
        return {"form": FORM, **told, **live, "seed": self.seed}

    @property
    def id(self) -> str:
        text = json.dumps(self.described, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Name for people."""
        point = [f"{parameter} = {value}" for parameter, value in self.point.items()]
        return ", ".join([self.system, self.workload, *point, f"seed {self.seed}"])

    @property
    def settings(self) -> Settings:
        """Settings of the simulated platform."""
        system = self.setup.system
        return Settings(
            keepalive=system.keepalive,
            preload=system.preload,
            retain=system.baseline == "fair",
            templates=system.templates,
            function_templates=system.function_templates,
            fast_init=system.templates if system.fast_init is None else system.fast_init,
            replace=system.replace,
            memory_bytes=int(self.setup.memory_gb * GIB),
            nodes=self.setup.nodes,
            seed=self.seed,
            label=self.system,
        )


def runs(scenario: Scenario, folder: Path, costs: CostSet | None = None) -> Iterator[Run]:
    """Yield every run of a scenario whose file is in `folder`; runs on the same workload follow each other.

    `costs` replaces the scenario's cost set. Raises `BadInput` or `NotFound` for an impossible value or missing costs.
    """
    costs = costs if costs is not None else _costs(scenario.costs, folder)
    for workload in scenario.workload:
        for seed in scenario.seeds:
            for system in scenario.system:
                for point in scenario.points(system):
                    made = setup(scenario, workload, system, point)
                    yield Run(workload.label, system.label, point, seed, made, costs, scenario.durations, folder)


def simulate(run: Run) -> dict[str, Any]:
    """Make the run; return the document of ``instainfer simulate --json``, with descriptions of run and workload.

    Raises `BadInput` for a policy that does not exist, and the errors of `sources.source`.
    """
    made = source(run.setup.workload, run.seed, run.folder)
    outcome = run_simulation(
        made.workload,
        run.costs,
        run.settings,
        names=run.setup.workload.names,
        own_durations=run.durations == "trace",
    )
    return document(run, to_json(outcome), made.facts)


def document(run: Run, found: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """Turn a document in the form of ``results.json`` into the result of a run."""
    for function in found["runs"][0]["functions"].values():
        # Functions keep only their figures: with a thousand functions, histograms would be most of the file.
        del function["e2e_histogram_ms"], function["startup_histogram_ms"]
    return {**found, "experiment": {"id": run.id, "described": run.described}, "workload": facts}


def valid(found: Any, run_id: str) -> bool:
    """Return whether a document read from a file is the result of this run by this version of the code."""
    return (
        isinstance(found, dict)
        and found.get("version") == __version__
        and isinstance(found.get("experiment"), dict)
        and found["experiment"].get("id") == run_id
        and isinstance(found.get("workload"), dict)
        and isinstance(found.get("runs"), list)
        and len(found["runs"]) == 1
        and "startup_histogram_ms" in found["runs"][0]
    )


def _costs(name: str, folder: Path) -> CostSet:
    if name in cost_sets.NAMED:
        return cost_sets.load(name)
    return cost_sets.load(str(folder / name))
