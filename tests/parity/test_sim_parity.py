"""The same scenario live (driver and memory backend on a clock moved by hand) and simulated: event for event the same.

Both are built from the same costs. What is compared is everything that a node was told and decided, notes included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from support.specs import spec

from instainfer.backends.base import Call, TemplateSpec
from instainfer.backends.clock import ManualClock
from instainfer.backends.memory import Costs, MemoryBackend
from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.decisions import Load, Offload, Refuse, ResizeContainer, Run, StartContainer, StopContainer
from instainfer.core.events import LoadFinished, RequestArrived
from instainfer.core.model import (
    FROM_NOTHING,
    MIB,
    StartKind,
    function_template_key,
    is_function_template,
    is_template,
)
from instainfer.core.story import Entry, dump_entry
from instainfer.invoker.driver import Invoker
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from instainfer.sim.run import Watchers, run_simulation, simulated
from instainfer.sim.settings import Settings
from instainfer.traces.workload import Arrival, Row

DURATION_S = 600.0

COSTS = CostSet(
    name="test",
    container_s=0.41,
    stop_s=0.103,
    end_s=0.0117,
    environments={
        "torch": EnvironmentCosts(library_s=1.31, template_bytes=200 * MIB),
        "onnx": EnvironmentCosts(library_s=0.23, template_bytes=50 * MIB),
    },
    functions={
        "a": FunctionCosts("torch", 1024 * MIB, 1.37, 0.021, 0.53, 0.083, 300 * MIB, 300 * MIB),
        "b": FunctionCosts("torch", 1024 * MIB, 1.39, 0.023, 2.09, 0.217, 500 * MIB, 500 * MIB),
        "c": FunctionCosts("onnx", 512 * MIB, 0.29, 0.013, 0.11, 0.031, 200 * MIB, 200 * MIB),
    },
)
"""Function c is unfit for a function template."""
OWN = {
    "a": FunctionTemplateCosts(bytes=290 * MIB, fork_s=0.0053, forked_bytes=7 * MIB),
    "b": FunctionTemplateCosts(bytes=510 * MIB, fork_s=0.0047, forked_bytes=9 * MIB),
}
COSTS = msgspec.structs.replace(
    COSTS,
    functions={
        name: msgspec.structs.replace(each, function_template=OWN.get(name)) for name, each in COSTS.functions.items()
    },
)


@dataclass
class Script:
    """A workload that says exactly when what is called."""

    calls_at: Sequence[tuple[float, str]]
    source: str = "a test"
    duration_s: float = DURATION_S
    functions: Sequence[Row] = field(default_factory=lambda: [Row("o", "p", name) for name in COSTS.functions])

    @property
    def calls(self) -> int:
        return len(self.calls_at)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        names = [row.name for row in self.functions]
        for at_s, name in self.calls_at:
            yield Arrival(at_s, names.index(name))


def busy() -> Script:
    """Three functions in turns, bursts and silences, with no two things at the same moment."""
    gaps = [0.37, 0.05, 3.3, 0.011, 0.7, 11.9, 1.7, 0.13, 29.3, 0.019, 5.1, 2.3]
    calls, at_s = [], 0.5
    for number in range(90):
        calls.append((at_s, "abcabbac"[number % 8]))
        at_s += gaps[(number * 5 + number // 12) % len(gaps)] + number * 0.00013
    return Script(calls)


FIXED = KeepAliveConfig(policy="fixed")
PLAIN = Settings(
    keepalive=FIXED,
    preload=PreloadConfig(policy="none"),
    templates=False,
    function_templates=False,
    memory_bytes=2048 * MIB,
)
LITTLE = Settings(keepalive=FIXED, memory_bytes=1024 * MIB)
AHEAD = Settings(keepalive=KeepAliveConfig(policy="objective"), memory_bytes=4096 * MIB)
"""Containers are created ahead of calls."""
SCENARIOS = {
    "keep-alive": PLAIN,
    "short keep-alive": replace(PLAIN, keepalive=KeepAliveConfig(policy="fixed", ttl_s=7.3)),
    "stateless": replace(PLAIN, retain=False),
    "one container and a queue": replace(PLAIN, memory_bytes=1024 * MIB),
    "a full queue": replace(PLAIN, memory_bytes=1024 * MIB, max_queue=1),
    "pre-loading": replace(PLAIN, preload=PreloadConfig(), keepalive=KeepAliveConfig(policy="fixed", ttl_s=47.0)),
    "pre-loading as published": replace(PLAIN, preload=PreloadConfig(policy="published")),
    "templates": replace(PLAIN, templates=True),
    "pre-loading and templates": replace(PLAIN, preload=PreloadConfig(max_loads=2), templates=True),
    "pre-loading and templates in little room": replace(LITTLE, function_templates=False),
    "function templates": replace(PLAIN, preload=PreloadConfig(policy="templates"), function_templates=True),
    "both kinds of templates": replace(
        PLAIN, preload=PreloadConfig(policy="templates"), templates=True, function_templates=True
    ),
    "function templates in little room": LITTLE,
    "everything": replace(LITTLE, preload=PreloadConfig(max_loads=2), memory_bytes=2048 * MIB),
    "created ahead": AHEAD,
    "created ahead, without templates": replace(AHEAD, templates=False, function_templates=False),
    "created ahead for function templates": replace(AHEAD, preload=PreloadConfig(policy="templates")),
    "created ahead in little room": replace(AHEAD, memory_bytes=2048 * MIB),
    "sizes are learned": replace(AHEAD, auto_memory=True),
    "sizes are learned in little room": replace(LITTLE, auto_memory=True),
    "sizes are learned without templates": replace(PLAIN, auto_memory=True),
    "memory has its price": replace(AHEAD, keepalive=KeepAliveConfig(policy="objective", memory_price_s=0.05)),
}


def live(script: Script, settings: Settings) -> list[Entry]:
    """The invoker's story of a script."""
    entries: list[Entry] = []

    async def scene() -> None:
        clock = ManualClock()
        backend = MemoryBackend(clock, start_s=COSTS.container_s, stop_s=COSTS.stop_s, end_s=COSTS.end_s)
        invoker = Invoker(settings.node_state("node"), backend, clock, on_entry=entries.append)
        functions = {each.name: each.function for each in simulated(script, COSTS, settings, ())}
        for name, function in functions.items():
            each, environment = COSTS.functions[name], COSTS.environments[function.environment]
            costs = Costs(each.library_s, each.fork_s, each.model_s, each.compute_s, each.resident_bytes)
            backend.costs[function.key] = costs
            if (own := each.function_template) is not None:
                backend.costs[function.key] = replace(costs, forked_s=own.fork_s, forked_bytes=own.forked_bytes)
                backend.costs[function_template_key(function.key)] = replace(costs, resident_bytes=own.bytes)
            backend.costs[function.template] = Costs(environment.library_s, resident_bytes=environment.template_bytes)
            template = TemplateSpec(function.template, Path("python"))
            invoker.register(function, replace(spec(function.key), template=template))
        for number, (at_s, name) in enumerate(script.calls_at):
            clock.advance_to(at_s)
            invoker.invoke(Call(str(number), functions[name].key, b"{}"))
        clock.advance_to(script.duration_s)
        assert not invoker.state.books.requests

    asyncio.run(scene())
    return entries


def in_simulation(script: Script, settings: Settings) -> list[Entry]:
    entries: list[Entry] = []
    run_simulation(script, COSTS, settings, Watchers(entry=entries.append))
    return entries


@pytest.mark.parametrize("name", SCENARIOS)
def test_live_and_simulated_nodes_see_and_decide_the_same(name: str) -> None:
    there = [dump_entry(entry) for entry in live(busy(), SCENARIOS[name])]
    here = [dump_entry(entry) for entry in in_simulation(busy(), SCENARIOS[name])]
    for number, (one, other) in enumerate(zip(there, here, strict=False)):
        assert one == other, f"step {number}"
    assert len(there) == len(here)


def test_the_scenarios_show_what_they_are_there_for() -> None:
    stories = {name: in_simulation(busy(), settings) for name, settings in SCENARIOS.items()}
    decided = {name: [d for entry in story for d in entry.decisions] for name, story in stories.items()}

    def kinds(name: str) -> set[StartKind]:
        return {d.start_kind for d in decided[name] if isinstance(d, Run)}

    assert kinds("keep-alive") == {StartKind.COLD, StartKind.PREWARMED, StartKind.WARM}
    assert any(d.reason.startswith("it was idle") for d in decided["short keep-alive"] if isinstance(d, StopContainer))
    assert StartKind.WARM not in kinds("stateless")
    assert any(isinstance(d, Refuse) for d in decided["a full queue"])
    assert {StartKind.PRELOADED, StartKind.JOINED} <= kinds("pre-loading")
    loaded = {d.function for each in decided.values() for d in each if isinstance(d, Load)}
    assert any(is_template(key) and not is_function_template(key) for key in loaded), "for what is yet to be loaded"
    assert any(d.ends for d in decided["pre-loading"] if isinstance(d, Run))
    assert any(isinstance(d, Offload) for d in decided["pre-loading as published"])
    told = [entry.event for entry in stories["templates"]]
    assert any(isinstance(e, LoadFinished) and e.source is not FROM_NOTHING for e in told)
    assert StartKind.TEMPLATED in kinds("templates")
    assert StartKind.FORKED in kinds("function templates")
    assert {StartKind.FORKED, StartKind.TEMPLATED} <= kinds("both kinds of templates")
    assert StartKind.FORKED in kinds("everything")
    assert any(isinstance(d, ResizeContainer) for d in decided["sizes are learned"])
    own = [d for d in decided["function templates in little room"] if is_function_template(getattr(d, "function", ""))]
    assert {Load, Offload} <= {type(d) for d in own}


def ahead(story: Sequence[Entry]) -> list[str]:
    """The containers that were created when no call came, for a call that was yet to come."""
    return [
        decision.container
        for entry in story
        if not isinstance(entry.event, RequestArrived)
        for decision in entry.decisions
        if isinstance(decision, StartContainer) and decision.reason.startswith("there is no place")
    ]


@pytest.mark.parametrize("name", [name for name in SCENARIOS if name.startswith("created ahead")])
def test_where_memory_is_free_containers_are_created_ahead_and_calls_find_them(name: str) -> None:
    story = in_simulation(busy(), SCENARIOS[name])
    created = ahead(story)
    assert created
    runs = [d for entry in story for d in entry.decisions if isinstance(d, Run)]
    assert {run.container for run in runs} & set(created)
    expired = [d for entry in story for d in entry.decisions if isinstance(d, StopContainer) and "idle for" in d.reason]
    assert not expired, "nobody needs their memory"


def test_where_memory_has_a_price_none_is_created_ahead_and_idle_ones_end() -> None:
    story = in_simulation(busy(), SCENARIOS["memory has its price"])
    assert not ahead(story)
    stops = [d.reason for entry in story for d in entry.decisions if isinstance(d, StopContainer)]
    assert any(reason.startswith("it was idle") for reason in stops)
