"""How long pre-load plans take: everything from nothing, and what a single event sets off on a node in use.

    python benchmarks/planning.py [--functions 1000] [--containers 100] [--calls N] [--json FILE]

*From nothing*: all functions want a place, all containers are empty, and every load may begin at once. *In use*: calls
simulated on a node with so many functions and containers (the workload of ``benchmarks/simulator.py``, the paper's
costs, templates on), where every plan that is made on the way is timed; those that look at everything are counted
apart from those that look at what an event has changed.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from simulator import workload

from instainfer.core.model import GIB, MIB
from instainfer.core.ports import (
    ContainerView,
    Contents,
    FunctionView,
    Known,
    NodeView,
    Policies,
    Preloader,
    PreloadPlan,
)
from instainfer.policy.predict.poisson import PoissonForecast
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.report.results import this_machine
from instainfer.sim.costs import load
from instainfer.sim.run import run_simulation
from instainfer.sim.settings import Settings

AT = 100_000.0
REPEATS = 10


class Timed:
    """A pre-loading policy, and how long its plans took."""

    active = True

    def __init__(self, policy: Preloader) -> None:
        self.policy = policy
        self.took_s: dict[bool, list[float]] = {True: [], False: []}
        """By whether everything was looked at."""

    def plan(self, view: NodeView) -> PreloadPlan:
        began = time.perf_counter()
        plan = self.policy.plan(view)
        self.took_s[view.thorough].append(time.perf_counter() - began)
        return plan

    def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        return self.policy.contents(container, known, at)

    def worth(self, function: FunctionView, at: float) -> float:
        return self.policy.worth(function, at)


@dataclass(frozen=True, slots=True)
class TimedSettings(Settings):
    timed: ClassVar[list[Timed]] = []

    def policies(self) -> Policies:
        policies = Settings.policies(self)
        self.timed.append(Timed(policies.preloader))
        return replace(policies, preloader=self.timed[-1])


def from_nothing(functions: int, containers: int) -> list[float]:
    draw = random.Random(1)
    views = {}
    for n in range(functions):
        gap_s = 20.0 * 150.0 ** draw.random()
        size_bytes = draw.randint(400, 1700) * MIB
        forecast = PoissonForecast(5, AT - 4.5 * gap_s, AT - 0.3 * gap_s, 5 * gap_s)
        key = f"t/f{n}@1"
        views[key] = FunctionView(key, "t", draw.uniform(0.5, 5.0), size_bytes, size_bytes, forecast, 0)
    places = tuple(ContainerView(f"c{n}", "t", 2 * GIB, 2 * GIB, 0, ()) for n in range(containers))
    timed, known = Timed(Opportunistic()), Known(views, {})
    contents = {place.id: timed.contents(place, known, AT) for place in places}
    """A node keeps them, too, as long as nothing changes."""
    for _ in range(REPEATS):
        timed.plan(
            NodeView(
                AT,
                places,
                tuple(views.values()),
                known,
                load_slots=functions,
                contents=lambda place: contents[place.id],
            )
        )
    return timed.took_s[True]


def in_use(functions: int, containers: int, calls: int) -> dict[bool, list[float]]:
    settings = TimedSettings(memory_bytes=containers * 2 * GIB, function_templates=False)
    run_simulation(workload(functions, calls), load("paper"), settings)
    return settings.timed[-1].took_s


def figures(took_s: list[float]) -> dict[str, float]:
    ordered = sorted(took_s)
    if not ordered:
        return {"plans": 0}
    return {
        "plans": len(ordered),
        "p50_ms": 1000 * statistics.median(ordered),
        "p99_ms": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
        "max_ms": 1000 * ordered[-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--functions", type=int, default=1000)
    parser.add_argument("--containers", type=int, default=100)
    parser.add_argument("--calls", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    used = in_use(options.functions, options.containers, options.calls)
    results: dict[str, dict[str, float]] = {
        "from nothing": figures(from_nothing(options.functions, options.containers)),
        "in use, everything": figures(used[True]),
        "in use, after an event": figures(used[False]),
    }
    print(f"{options.functions} functions, {options.containers} containers")
    for name, row in results.items():
        print(f"{name:>24}: " + ", ".join(f"{key} {value:,.3g}" for key, value in row.items()))
    if options.json is not None:
        document: dict[str, Any] = {"machine": this_machine(), "options": vars(options) | {"json": None}, **results}
        options.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
