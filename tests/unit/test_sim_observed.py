"""Tests of deriving costs from stories: the story of a simulation gives back the cost set it was simulated with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import msgspec
import pytest

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core import decisions, events
from instainfer.core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    GIB,
    MIB,
    EndCause,
    Failure,
    FailureKind,
    Function,
    Phases,
    StartKind,
    function_template_key,
)
from instainfer.core.story import Entry
from instainfer.errors import BadInput
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from instainfer.sim.observed import FunctionFacts, Observer
from instainfer.sim.run import Watchers, run_simulation
from instainfer.sim.settings import Settings
from instainfer.traces.percall import PerCall
from instainfer.traces.workload import Arrival, Row

COSTS = CostSet(
    name="as simulated",
    source="a test",
    container_s=0.41,
    stop_s=0.05,
    end_s=0.004,
    end_s_per_gib=0.08,
    handoff_s=0.002,
    load_handoff_s=0.003,
    cores=8.0,  # enough for ends beside loads: then each takes as long as it takes alone
    environments={
        "torch": EnvironmentCosts(library_s=1.31, template_bytes=200 * MIB),
        "onnx": EnvironmentCosts(library_s=0.23, template_bytes=50 * MIB),
    },
    functions={
        "a": FunctionCosts(
            environment="torch",
            memory_bytes=GIB,
            library_s=1.37,
            fork_s=0.021,
            model_s=0.53,
            compute_s=0.083,
            resident_bytes=300 * MIB,
            forked_bytes=120 * MIB,
            fast_model_s=0.07,
            forked_compute_s=0.091,
            first_compute_s=0.11,
            forked_first_compute_s=0.12,
            warmup_s=0.13,
            estimate_bytes=500 * MIB,
            load_cores=1.2,
            compute_cores=2.0,
            beside_call=2.2,
            beside_load=1.4,
            function_template=FunctionTemplateCosts(
                bytes=130 * MIB, fork_s=0.006, forked_bytes=9 * MIB, make_s=0.17, first_compute_s=0.1
            ),
        ),
        "b": FunctionCosts(
            environment="onnx",
            memory_bytes=GIB,
            library_s=0.29,
            fork_s=0.013,
            model_s=0.11,
            compute_s=0.031,
            resident_bytes=200 * MIB,
            forked_bytes=90 * MIB,
            forked_compute_s=0.033,
            first_compute_s=0.061,
            forked_first_compute_s=0.062,
            estimate_bytes=300 * MIB,
        ),
    },
)
LOST = Failure(FailureKind.CONTAINER_LOST, "")
KNOWN = {
    "a": FunctionFacts(GIB, fast=True, load_cores=1.2, compute_cores=2.0, beside_call=2.2, beside_load=1.4),
    "b": FunctionFacts(GIB),
}
FROM_NOTHING = Settings(
    preload=PreloadConfig(policy="none"),
    keepalive=KeepAliveConfig(policy="fixed", ttl_s=50.0),
    templates=False,
    function_templates=False,
    fast_init=False,
    memory_bytes=GIB,
)
FROM_TEMPLATES = replace(FROM_NOTHING, templates=True, fast_init=True)
FORKED = replace(FROM_TEMPLATES, function_templates=True, preload=PreloadConfig(policy="templates"))
PRELOADING = replace(FROM_TEMPLATES, preload=PreloadConfig())


def story(settings: Settings, costs: CostSet = COSTS) -> list[Entry]:
    """Calls of both in turn, far enough from each other, and silences in which the container ends."""
    at_s = [10.0 * n for n in range(1, 9)] + [10.0 * n for n in range(20, 28)]
    arrivals = [Arrival(at, n % 4 // 2) for n, at in enumerate(at_s)]
    rows = [Row("o", "p", name) for name in costs.functions]
    workload = PerCall("a test", arrivals, functions=rows, duration_s=400.0)
    entries: list[Entry] = []
    run_simulation(workload, costs, settings, Watchers(entry=entries.append))
    return entries


def observed(stories: Sequence[tuple[Settings, bool]], costs: CostSet = COSTS) -> CostSet:
    observer = Observer()
    for settings, fast in stories:
        observer.read(story(settings, costs), fast=fast)
    return observer.costs(KNOWN, name=COSTS.name, source=COSTS.source, cores=8.0)


ALL = ((FROM_NOTHING, False), (FROM_TEMPLATES, True), (FORKED, True), (PRELOADING, True))


def numbers(value: object, where: str = "") -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from numbers(inner, f"{where}.{key}")
    else:
        yield where, value


def test_costs_are_read_back_from_what_they_led_to() -> None:
    found = dict(numbers(msgspec.to_builtins(observed(ALL))))
    wanted = dict(numbers(msgspec.to_builtins(COSTS)))
    # The straight line through the ends goes exactly through them, but for rounding to microseconds.
    assert found == pytest.approx(wanted, abs=2e-6)


def test_a_function_without_a_warm_up_is_told_by_its_first_call_after_a_pre_load() -> None:
    found = observed(ALL).functions
    assert (found["a"].warmup_s, found["b"].warmup_s) == (pytest.approx(0.13), None)


def test_the_spread_of_what_was_measured_is_the_noise() -> None:
    noisy = msgspec.structs.replace(COSTS, noise_sigma=0.2)
    seen = [observed([(replace(each, seed=seed), fast) for each, fast in ALL], noisy) for seed in range(1, 7)]
    assert fmean(found.noise_sigma for found in seen) == pytest.approx(0.2, rel=0.2)
    assert fmean(found.functions["a"].library_s for found in seen) == pytest.approx(1.37, rel=0.1)
    assert observed(ALL).noise_sigma == 0.0


def test_a_template_that_was_never_made_is_none_to_count_on() -> None:
    found = observed(((FROM_NOTHING, False),))
    assert not found.functions["a"].templated
    assert found.functions["a"].fork_s == found.functions["a"].library_s == pytest.approx(1.37)
    assert found.functions["a"].forked_bytes == 300 * MIB
    assert found.functions["a"].fast_model_s is None
    assert found.functions["a"].function_template is None
    assert found.environments["torch"] == EnvironmentCosts(library_s=1.37, template_bytes=0)


def test_what_cannot_be_done_without_is_named() -> None:
    observer = Observer()
    observer.read(story(FROM_NOTHING), fast=False)
    with pytest.raises(BadInput, match="c is in none of the stories"):
        observer.costs({"c": FunctionFacts(GIB)}, name="", source="")
    with pytest.raises(BadInput, match="a is larger than its memory limit"):
        observer.costs({"a": FunctionFacts(MIB)}, name="", source="")
    empty = Observer()
    empty.read(story(FROM_NOTHING)[:2], fast=False)
    with pytest.raises(BadInput, match="the stories lack a call of a"):
        empty.costs(KNOWN, name="", source="")


def test_a_forked_resident_is_charged_with_what_it_adds() -> None:
    """The node charges shared pages in parts: the template falls from 150 to 90 as 105 come."""
    function = Function("guest/f@0.0.1", "guest", "env", GIB, 60.0, GIB)
    key, template = function.key, function.template
    ended = decisions.Reply("1", key, "c1", StartKind.PRELOADED, Phases(handoff=0.001, compute=0.1))
    entries = [
        Entry(events.FunctionRegistered(0.0, function), (decisions.StartContainer("c1", "guest", GIB, ""),)),
        Entry(events.ContainerStarted(1.0, "c1"), (decisions.Load("c1", key, ""),)),
        Entry(events.LoadFinished(3.0, "c1", template, 2.0, 0.0, 150 * MIB), ()),
        Entry(events.MemoryMeasured(3.4, "c1", ((template, 90 * MIB),)), ()),
        Entry(events.LoadFinished(3.5, "c1", key, 0.1, 0.2, 100 * MIB, source=FROM_LIBRARIES), ()),
        Entry(events.RequestArrived(4.0, "1", key), (decisions.Run("c1", "1", key, StartKind.PRELOADED),)),
        Entry(events.RunFinished(4.1, "c1", "1", 0.1, 105 * MIB), (ended,)),
        Entry(events.TimerFired(5.0), (decisions.Offload("c1", key, "", EndCause.ROOM),)),
        Entry(events.ResidentGone(5.01, "c1", key), ()),
    ]
    observer = Observer()
    observer.read(entries, fast=False)
    found = observer.costs({"f": FunctionFacts(GIB)}, name="", source="")
    costs = found.functions["f"]
    assert costs.forked_bytes == 45 * MIB
    assert found.environments["env"] == EnvironmentCosts(library_s=2.0, template_bytes=150 * MIB)
    # From the moment its template was there.
    assert costs.warmup_s == pytest.approx(0.2)
    assert found.end_s == pytest.approx(0.01)


def test_what_a_function_template_and_its_residents_add_is_the_growth_of_the_sum() -> None:
    """Shared pages are charged in parts, and measured a moment after the load: the libraries have 150, the function's
    template adds 60 and what is forked from it 7."""
    function = Function("guest/f@0.0.1", "guest", "env", GIB, 60.0, GIB)
    key, library, own = function.key, function.template, function_template_key(function.key)
    other = Function("guest/g@0.0.1", "guest", "another", GIB, 60.0, GIB)
    replies = [decisions.Reply(str(n), key, "c1", StartKind.FORKED, Phases(compute=0.1)) for n in range(3)]

    def measured(at: float, *sizes: tuple[str, int]) -> Entry:
        return Entry(events.MemoryMeasured(at, "c1", tuple((each, size * MIB) for each, size in sizes)), ())

    def loaded(at: float, which: str, size: int, **more: Any) -> Entry:
        return Entry(events.LoadFinished(at, "c1", which, 0.1, 0.2, size * MIB, **more), ())

    run, forked = (decisions.Run("c1", str(n), key, kind) for n, kind in ((0, StartKind.COLD), (1, StartKind.FORKED)))
    between = decisions.Run("c1", "2", other.key, StartKind.PREWARMED, (key,))
    entries = [
        Entry(events.FunctionRegistered(0.0, other), ()),
        Entry(events.FunctionRegistered(0.0, function), (decisions.StartContainer("c1", "guest", GIB, ""),)),
        Entry(events.ContainerStarted(1.0, "c1"), (run,)),
        loaded(2.0, library, 150),
        measured(2.4, (library, 80)),
        loaded(2.5, key, 120, source=FROM_LIBRARIES),
        Entry(events.RunFinished(3.0, "c1", "0", 0.1, 120 * MIB), (replies[0], decisions.Load("c1", own, ""))),
        loaded(4.0, own, 110, source=FROM_LIBRARIES),
        measured(4.2, (library, 60), (key, 100), (own, 100)),
        Entry(events.TimerFired(5.0), (between,)),
        Entry(events.ResidentGone(5.0, "c1", key), ()),
        measured(5.1, (library, 80), (own, 130)),
        Entry(events.RunFinished(5.2, "c1", "2", 0.1, MIB), (replies[2],)),
        Entry(events.TimerFired(6.0), (forked,)),
        loaded(6.1, key, 70, source=FROM_FUNCTION),
        Entry(events.RunFinished(6.2, "c1", "1", 0.125, 75 * MIB), (replies[1],)),
        measured(6.5, (library, 55), (own, 85), (key, 77)),
        Entry(events.TimerFired(7.0), (between,)),
    ]
    observer = Observer()
    observer.read(entries, fast=False)
    for whose, what in (("", "handoff"), ("f", "forked")):  # from another platform; here the first one shares
        observer.sample(whose, what, 0.0)
    found = observer.costs({"f": FunctionFacts(GIB)}, name="", source="").functions["f"].function_template
    wanted = FunctionTemplateCosts(60 * MIB, 0.3, 7 * MIB, make_s=0.7, first_compute_s=0.125)
    assert found == wanted


def test_a_container_that_is_lost_tells_nothing_of_ends() -> None:
    function = Function("guest/f@0.0.1", "guest", "env", GIB, 60.0, GIB)
    failed = decisions.Reply("1", function.key, "c1", StartKind.COLD, Phases(handoff=9.0), LOST)
    entries = [
        Entry(events.FunctionRegistered(0.0, function), (decisions.StartContainer("c1", "guest", GIB, ""),)),
        Entry(events.ContainerStarted(1.0, "c1"), (decisions.Run("c1", "1", function.key, StartKind.COLD),)),
        Entry(events.LoadFinished(3.0, "c1", function.key, 1.5, 0.5, MIB), ()),
        Entry(events.ContainerGone(9.0, "c1", LOST), (failed,)),
    ]
    observer = Observer()
    observer.read(entries, fast=False)
    with pytest.raises(BadInput, match="the stories lack a call of f"):
        observer.costs({"f": FunctionFacts(GIB)}, name="", source="")
    observer.read(story(FROM_NOTHING), fast=False)
    found = observer.costs({"a": KNOWN["a"]}, name="", source="")
    assert found.stop_s == pytest.approx(COSTS.stop_s, abs=2e-6)


def test_ends_that_would_take_less_than_nothing_are_in_proportion_to_their_memory() -> None:
    observer = Observer()
    observer.registered(Function("guest/f@0.0.1", "guest", "env", GIB, 60.0, GIB))
    for whose, what, value in (
        ("", "container", 1.0),
        ("", "handoff", 0.001),
        ("f", "library", 1.0),
        ("f", "model", 1.0),
        ("f", "compute", 0.1),
        ("f", "resident", GIB),
    ):
        observer.sample(whose, what, value)
    observer.ended("f", 0.3, False, GIB)
    observer.ended("env", 0.1, False, GIB // 2)
    found = observer.costs({"f": FunctionFacts(GIB)}, name="", source="")
    # The line through both begins at -0.1 s; the best one from zero rises by (0.5 x 0.1 + 1 x 0.3) / (0.25 + 1).
    assert (found.end_s, found.end_s_per_gib) == (0.0, pytest.approx(0.28))
