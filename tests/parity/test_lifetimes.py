"""The same calls with and without pre-loading: where the lives of containers are the same, event for event.

Pre-loading changes what is in containers, and keep-alive looks at calls and containers only. Still their lives differ
as a rule, for two reasons that are what pre-loading is for: a call that finds its function ends sooner, so that its
container falls idle sooner; and a call goes to the container that holds its function, though that be another's, so that
none has to be created for it, and nothing to be waited for. Lives are the same where neither can be. That is when

1. loading and ending take no time, so that every call ends when it would have ended;
2. no two calls of a function overlap, so that it never has two containers, one of which holds it; and
3. there is one container that can take a call: because the node has memory for one (*shared*: all functions take turns
   in it), or because each function has a namespace of its own (*apart*), with memory for a container each. What is
   loaded then is what keep-alive has ended, or the call's end.

Where namespaces compete for memory (*crowded*) a call may wait for others to be stopped. One that finds an idle
container of its own does not, whether that holds it or not; but a zygote is nobody's own, so that there the policy
Pagurus is left out.

The pre-loader is one that loads whatever there is room for, worth it or not: what takes no time to load is worth
nothing to the real ones. To the policy *objective*, memory has its price; without one, containers are given up in the
order of what they hold, which is what pre-loading changes. Everything that happens to containers is compared: when each
is created, for whom, which call it serves when, when it is stopped and for what reason, and when it is gone. What holds
without conditions is in `tests/property/test_keepalive_lifetimes.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.decisions import Load, Run, StartContainer, StopContainer
from instainfer.core.events import ContainerGone, ContainerStarted
from instainfer.core.model import GIB, MIB, StartKind
from instainfer.core.ports import (
    ContainerView,
    FunctionView,
    NodeView,
    Policies,
    PreloadPlan,
    SuggestLoad,
    SuggestOffload,
)
from instainfer.core.story import Entry
from instainfer.policy.objective import Valued
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts
from instainfer.sim.run import Outcome, Watchers, run_simulation
from instainfer.sim.settings import Settings
from instainfer.traces.azure2019 import Trace
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate
from instainfer.traces.workload import Arrival

LEAST_GAP_S = 3.0
"""Longer than the creation of a container and a call together."""
FUNCTIONS = 8
COSTS = CostSet(
    name="loads take no time",
    container_s=0.41,
    stop_s=0.103,
    handoff_s=0.0031,
    environments={"torch": EnvironmentCosts(0.0, 200 * MIB), "onnx": EnvironmentCosts(0.0, 50 * MIB)},
    functions={
        "a": FunctionCosts("torch", GIB, 0.0, 0.0, 0.0, 0.283, 300 * MIB, 100 * MIB),
        "b": FunctionCosts("torch", GIB, 0.0, 0.0, 0.0, 0.717, 500 * MIB, 300 * MIB),
        "c": FunctionCosts("onnx", GIB, 0.0, 0.0, 0.0, 0.131, 200 * MIB, 150 * MIB),
    },
)
#: So quick that containers come and go all the time.
QUICK = {"ttl_s": 17.0, "bin_s": 2.0, "range_s": 60.0, "zygote_s": 5.0, "lifetime_s": 21.0, "memory_price_s": 0.05}
OFF = Settings(preload=PreloadConfig(policy="none"), templates=False, function_templates=False)
APART = replace(OFF, memory_bytes=FUNCTIONS * GIB, owners_apart=True)
CROWDED = replace(APART, memory_bytes=4 * GIB)
CONDITIONS = {
    "shared": replace(OFF, memory_bytes=GIB),
    "apart": APART,
    "apart, processes end with their calls": replace(APART, retain=False),
    "crowded": CROWDED,
    "crowded, processes end with their calls": replace(CROWDED, retain=False),
}
#: Whether they are used without pre-loading, and with it.
TEMPLATES = {"no templates": (False, False), "templates": (True, True), "templates with pre-loading": (False, True)}
POLICIES = ("fixed", "histogram", "greedy_dual", "pagurus", "objective")
NOTHING_TO_LOAD = {("apart", "fixed"), ("apart", "greedy_dual"), ("crowded", "fixed"), ("crowded", "greedy_dual")}
"""Every container holds the one function that it may hold, for as long as it is there."""
CASES = [
    (condition, policy, templates)
    for condition in CONDITIONS
    for policy in POLICIES
    for templates in (["no templates"] if "processes end" in condition else TEMPLATES)
    if not (policy == "pagurus" and condition.startswith("crowded")) and (condition, policy) not in NOTHING_TO_LOAD
]


class Eager(Valued):
    """Loads whatever there is room for, in turns, and ends something now and then."""

    active = True

    def __init__(self) -> None:
        self._turn = 0
        self._ended_at = 0.0

    def plan(self, view: NodeView) -> PreloadPlan:
        suggestions = tuple(s for container in view.containers if (s := self._for(container, view)) is not None)
        return PreloadPlan(suggestions[: view.load_slots], wake_at=view.at + LEAST_GAP_S)

    def _for(self, container: ContainerView, view: NodeView) -> SuggestLoad | SuggestOffload | None:
        self._turn += 1
        there = {resident.function for resident in container.residents}
        if there and view.at >= self._ended_at + LEAST_GAP_S:
            self._ended_at = view.at
            return SuggestOffload(container.id, sorted(there)[self._turn % len(there)], "a test")
        sizes = {key: f.resident_bytes for key, f in view.known.functions.items() if f.namespace == container.namespace}
        sizes |= {
            key: t.resident_bytes for key, t in view.known.templates.items() if t.namespace == container.namespace
        }
        fitting = sorted(key for key in sizes.keys() - there if sizes[key] <= container.free_bytes)
        if not fitting:
            return None
        key = fitting[self._turn % len(fitting)]
        return SuggestLoad(container.id, key, sizes[key], 0.0, (), "a test")

    def worth(self, function: FunctionView, at: float) -> float:
        return 1.0


class Eagerly(Settings):
    """The same settings, with that pre-loader."""

    __slots__ = ()

    def policies(self) -> Policies:
        return replace(super().policies(), preloader=Eager())


class Sparse(Counts):
    """A trace whose functions have an owner each, without calls that might overlap with another one of theirs."""

    def __init__(self, trace: Trace) -> None:
        super().__init__(replace(trace, functions=tuple(replace(each, owner=each.name) for each in trace.functions)))

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        latest: dict[int, float] = {}
        for arrival in super().arrivals(seed):
            if arrival.at_s - latest.get(arrival.function, -math.inf) >= LEAST_GAP_S:
                latest[arrival.function] = arrival.at_s
                yield arrival


def simulated(settings: Settings, seed: int) -> tuple[list[Entry], Outcome]:
    entries: list[Entry] = []
    trace = Sparse(generate(10, FUNCTIONS, seed))
    outcome = run_simulation(trace, COSTS, replace(settings, seed=seed), Watchers(entry=entries.append))
    return entries, outcome


def lives(entries: list[Entry]) -> list[tuple[float, tuple[object, ...]]]:
    """Everything that happened to containers, in order; a container's owner is the function that it served last."""
    found: list[tuple[float, tuple[object, ...]]] = []
    owners: dict[str, str] = {}
    for entry in entries:
        at, event = entry.event.at, entry.event
        if isinstance(event, ContainerStarted | ContainerGone):
            found.append((at, (type(event), event.container, owners.get(event.container))))
        for decision in entry.decisions:
            match decision:
                case StartContainer(container, namespace, limit_bytes, reason):
                    found.append((at, (StartContainer, container, namespace, limit_bytes, reason)))
                case Run(container, activation, function):
                    owners[container] = function
                    found.append((at, (Run, container, activation, function)))
                case StopContainer(container, reason):
                    found.append((at, (StopContainer, container, owners.get(container), reason)))
    return found


def loads(entries: list[Entry]) -> int:
    return sum(isinstance(decision, Load) for entry in entries for decision in entry.decisions)


def with_preloading(settings: Settings) -> Settings:
    return Eagerly(**{each.name: getattr(settings, each.name) for each in fields(settings)})


def assert_same_lives(off: list[Entry], on: list[Entry]) -> None:
    for number, (one, other) in enumerate(zip(lives(off), lives(on), strict=False)):
        assert one == other, f"step {number}"
    assert len(lives(off)) == len(lives(on))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(("condition", "policy", "templates"), CASES)
def test_containers_live_the_same_lives_with_and_without_pre_loading(
    condition: str, policy: str, templates: str, seed: int
) -> None:
    before, after = TEMPLATES[templates]
    keepalive = KeepAliveConfig.model_validate({**QUICK, "policy": policy})
    without = replace(CONDITIONS[condition], keepalive=keepalive, templates=before)
    off, _ = simulated(without, seed)
    on, outcome = simulated(with_preloading(replace(without, templates=after)), seed)
    assert loads(off) == 0
    assert loads(on) > 0
    assert outcome.overall.start_kinds[StartKind.PRELOADED] > 0
    assert_same_lives(off, on)
