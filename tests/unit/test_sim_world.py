"""Tests of one node's simulated containers: warm-ups, first calls, ends by size, and processors that are short."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.decisions import Decision, Load, Offload, Run, StartContainer, StopContainer
from instainfer.core.events import Event, LoadFinished, ResidentGone, TimerFired
from instainfer.core.model import FROM_FUNCTION, GIB, MIB, EndCause, Function, StartKind, function_template_key
from instainfer.core.node import NodeState
from instainfer.core.story import Entry
from instainfer.report.records import CallRecord
from instainfer.sim.costs import CostSet, EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from instainfer.sim.cpu import BACKGROUND_SHARE
from instainfer.sim.engine import Engine
from instainfer.sim.run import Watchers, run_simulation
from instainfer.sim.settings import Settings
from instainfer.sim.world import END_CORES, Durations, World
from instainfer.traces.percall import PerCall
from instainfer.traces.workload import Arrival, Row

FUNCTION = FunctionCosts(
    environment="env",
    memory_bytes=GIB,
    library_s=4.0,
    fork_s=0.5,
    model_s=2.0,
    compute_s=1.0,
    resident_bytes=512 * MIB,
    forked_bytes=256 * MIB,
    first_compute_s=1.5,
    forked_first_compute_s=1.25,
    warmup_s=3.0,
)
COSTS = CostSet(
    name="round figures",
    container_s=0.5,
    functions={"a": FUNCTION, "b": FUNCTION},
    environments={"env": EnvironmentCosts(library_s=4.0, template_bytes=128 * MIB)},
)
FIXED = KeepAliveConfig(policy="fixed")
PLAIN = Settings(keepalive=FIXED, preload=PreloadConfig(policy="none"), templates=False, memory_bytes=GIB)
PRELOADING = replace(PLAIN, preload=PreloadConfig())


def simulate(
    settings: Settings, *calls: tuple[float, str], costs: CostSet = COSTS
) -> tuple[list[CallRecord], list[Entry]]:
    names = list(costs.functions)
    arrivals = [Arrival(at_s, names.index(name)) for at_s, name in calls]
    workload = PerCall("a test", arrivals, functions=[Row("o", "p", name) for name in names], duration_s=200.0)
    records: list[CallRecord] = []
    entries: list[Entry] = []
    run_simulation(workload, costs, settings, Watchers(record=records.append, entry=entries.append))
    return sorted(records, key=lambda record: record.sent_s), entries


def loads(entries: Sequence[Entry]) -> list[LoadFinished]:
    return [entry.event for entry in entries if isinstance(entry.event, LoadFinished)]


def with_function(**changes: object) -> CostSet:
    function = msgspec.structs.replace(FUNCTION, **changes)
    return msgspec.structs.replace(COSTS, functions={"a": function, "b": function})


def test_the_first_call_after_a_load_takes_as_long_as_first_calls_do() -> None:
    records, _ = simulate(PLAIN, (10.0, "a"), (30.0, "a"))
    assert [record.phases.compute for record in records] == [1.5, 1.0]
    records, _ = simulate(replace(PLAIN, templates=True), (10.0, "a"), (30.0, "b"), (50.0, "b"))
    assert [record.start_kind for record in records] == [StartKind.COLD, StartKind.TEMPLATED, StartKind.WARM]
    assert [record.phases.compute for record in records] == [1.25, 1.25, 1.0]


def test_a_pre_load_ends_with_its_warm_up_and_its_first_call_is_like_any() -> None:
    records, entries = simulate(PRELOADING, (10.0, "a"), (60.0, "b"))
    assert records[1].start_kind is StartKind.PRELOADED
    assert records[1].phases.compute == 1.0
    pre_load = loads(entries)[1]
    assert (pre_load.library_s, pre_load.model_s) == (4.0, 2.0)
    # The first call ends at 18 s.
    assert pre_load.at == 18.0 + 4.0 + 2.0 + 3.0


def test_without_a_warm_up_a_pre_loaded_function_has_its_first_call_before_it() -> None:
    records, entries = simulate(PRELOADING, (10.0, "a"), (60.0, "b"), costs=with_function(warmup_s=None))
    assert records[1].phases.compute == 1.5
    assert loads(entries)[1].at == 18.0 + 4.0 + 2.0


@pytest.mark.parametrize(("at_s", "waited_s", "compute_s"), [(19.0, 5.0, 1.5), (25.0, 2.0, 1.0)])
def test_a_call_that_joins_a_load_does_without_the_warm_up_unless_that_has_begun(
    at_s: float, waited_s: float, compute_s: float
) -> None:
    records, _ = simulate(PRELOADING, (10.0, "a"), (at_s, "b"))
    assert records[1].start_kind is StartKind.JOINED
    assert records[1].startup_s == pytest.approx(waited_s)
    assert records[1].phases.compute == compute_s


def test_what_ends_takes_as_long_as_its_memory_wants() -> None:
    costs = msgspec.structs.replace(COSTS, end_s=0.25, end_s_per_gib=2.0, stop_s=0.5)
    records, entries = simulate(PLAIN, (10.0, "a"), (30.0, "b"), costs=costs)
    assert records[1].phases.handoff == 0.0, "nobody waits for memory"
    # Half a GB.
    assert [entry.event.at for entry in entries if isinstance(entry.event, ResidentGone)] == [31.25]
    short = replace(PLAIN, keepalive=PLAIN.keepalive.model_copy(update={"ttl_s": 5.0}))
    _, entries = simulate(short, (10.0, "a"), costs=costs)
    assert entries[-1].event.at == pytest.approx(18.0 + 5.0 + 0.5 + 1.0)


def test_calls_that_want_the_same_cores_take_longer() -> None:
    costs = msgspec.structs.replace(with_function(compute_cores=2.0), cores=2.0)
    two = replace(PLAIN, memory_bytes=2 * GIB)
    calls = ((10.0, "a"), (30.0, "b"), (60.0, "a"), (60.5, "b"))
    alone, _ = simulate(two, *calls, costs=msgspec.structs.replace(costs, cores=0.0))
    assert [record.phases.compute for record in alone] == [1.5, 1.5, 1.0, 1.0]
    records, _ = simulate(two, *calls, costs=costs)
    assert [record.phases.compute for record in records] == pytest.approx([1.5, 1.5, 1.5, 1.5])


def test_loads_that_are_slowed_down_say_so() -> None:
    costs = msgspec.structs.replace(COSTS, cores=1.0)
    records, entries = simulate(replace(PLAIN, memory_bytes=2 * GIB), (10.0, "a"), (10.0, "b"), costs=costs)
    assert [(event.library_s, event.model_s) for event in loads(entries)] == [(8.0, 4.0)] * 2
    assert [record.phases.libraries for record in records] == [8.0, 8.0]


OWN = FunctionTemplateCosts(bytes=200 * MIB, fork_s=0.25, forked_bytes=8 * MIB, make_s=3.0, first_compute_s=1.125)
FUNCTION_TEMPLATES_ONLY = replace(PLAIN, preload=PreloadConfig(policy="templates"))
TEMPLATES = replace(FUNCTION_TEMPLATES_ONLY, templates=True)


def test_what_is_forked_from_a_function_template_takes_a_fork_and_is_warm() -> None:
    records, entries = simulate(
        TEMPLATES, (10.0, "a"), (40.0, "b"), (70.0, "a"), (100.0, "a"), costs=with_function(function_template=OWN)
    )
    assert [record.start_kind for record in records] == [
        *(StartKind.COLD, StartKind.TEMPLATED, StartKind.FORKED, StartKind.WARM)
    ]
    assert records[2].startup_s == pytest.approx(0.25)
    assert [record.phases.compute for record in records] == [1.25, 1.25, 1.125, 1.0]
    made = next(event for event in loads(entries) if event.function == function_template_key("guest/a@0.0.1"))
    # The first call ends at 18.25 s; then the template is forked, loaded and made fit.
    assert made.at == pytest.approx(10.0 + 0.5 + 4.0 + 0.5 + 2.0 + 1.25 + 0.5 + 2.0 + 3.0)
    assert (made.library_s, made.model_s, made.resident_bytes) == (0.5, 2.0, 200 * MIB)
    forked = next(event for event in loads(entries) if event.source is FROM_FUNCTION)
    assert (forked.library_s, forked.model_s, forked.resident_bytes) == (0.25, 0.0, 8 * MIB)


def test_the_first_call_after_a_fork_is_like_any_unless_it_is_said() -> None:
    own = msgspec.structs.replace(OWN, first_compute_s=None, make_s=0.0)
    calls = ((10.0, "a"), (40.0, "b"), (70.0, "a"))
    records, _ = simulate(TEMPLATES, *calls, costs=with_function(function_template=own, forked_compute_s=1.0625))
    assert (records[2].start_kind, records[2].phases.compute) == (StartKind.FORKED, 1.0625)


def test_a_call_of_another_function_cuts_the_making_of_a_template() -> None:
    costs = with_function(function_template=OWN)
    records, entries = simulate(TEMPLATES, (10.0, "a"), (19.0, "b"), (60.0, "a"), costs=costs)
    template = function_template_key("guest/a@0.0.1")
    gone = [entry.event.at for entry in entries if getattr(entry.event, "function", "") == template]
    assert gone[0] == 19.0
    assert records[1].startup_s == pytest.approx(0.5 + 2.0), "the call waits for nothing of it"


def test_without_a_library_template_the_libraries_are_in_the_function_template() -> None:
    _, entries = simulate(FUNCTION_TEMPLATES_ONLY, (10.0, "a"), costs=with_function(function_template=OWN))
    made = loads(entries)[-1]
    assert made.function == function_template_key("guest/a@0.0.1")
    assert (made.library_s, made.resident_bytes) == (4.0, (200 + 512 - 256) * MIB)


@pytest.mark.parametrize("settings", [TEMPLATES, replace(TEMPLATES, function_templates=False)])
def test_a_function_whose_costs_are_not_known_is_not_forked_nor_any_if_that_is_off(settings: Settings) -> None:
    costs = COSTS if settings.function_templates else with_function(function_template=OWN)
    records, _ = simulate(settings, (10.0, "a"), (40.0, "b"), (70.0, "a"), costs=costs)
    assert [record.start_kind for record in records] == [StartKind.COLD, StartKind.TEMPLATED, StartKind.TEMPLATED]


class Script:
    """In the place of a node: decides what it is given, and remembers what it is told."""

    def __init__(self) -> None:
        self.books = SimpleNamespace(
            functions=SimpleNamespace(
                template_of=lambda function: function.template, own_template_of=lambda function: None
            )
        )
        self.decisions: list[Decision] = []
        self.told: list[Event] = []

    def handle(self, event: Event) -> list[Decision]:
        self.told.append(event)
        decisions, self.decisions = self.decisions, []
        return decisions


class Scene:
    def __init__(self, costs: CostSet) -> None:
        self.engine = Engine()
        self.script = Script()
        self.world = World(self.engine, cast(NodeState, self.script), costs, Durations(0.0, ""))
        for name, each in costs.functions.items():
            function = Function(f"guest/{name}", "guest", "env", GIB, 60.0, GIB)
            self.template = function.template
            self.world.register(function, each)
        for container in ("c1", "c2"):
            self.decide(0.0, StartContainer(container, "guest", GIB, ""))

    def decide(self, at_s: float, *decisions: Decision) -> None:
        self.engine.advance(at_s)
        self.script.decisions = list(decisions)
        self.world.feed(TimerFired(at_s))

    def finish(self) -> list[Event]:
        while self.engine.step():
            pass
        return self.script.told


def test_a_pre_load_gives_way_to_a_call_and_is_brought_forward_by_its_own() -> None:
    costs = msgspec.structs.replace(with_function(fork_s=0.0, forked_first_compute_s=None), cores=1.0)
    scene = Scene(costs)
    scene.decide(1.0, Load("c1", "guest/a", ""))
    # The template is there at 5 s. b's run in c2 waits for one of its own, loads and computes for 7.5 s from now on.
    scene.decide(6.0, Run("c2", "1", "guest/b", StartKind.PREWARMED))
    scene.engine.advance(13.4)
    loaded = [event.function for event in scene.script.told if isinstance(event, LoadFinished)]
    assert loaded == [scene.template, scene.template, "guest/b"]
    # Of a's 2 s one was done; beside b it got next to nothing; from here on each has half the core.
    scene.decide(13.4, Run("c1", "2", "guest/a", StartKind.JOINED))
    finished = {e.function: e.at for e in scene.finish() if isinstance(e, LoadFinished)}
    assert finished["guest/b"] == pytest.approx(6.0 + 4.0 + 2.0)
    done_s = 1.0 + BACKGROUND_SHARE * 7.4
    # b ends at 13.6 s, since its last 0.1 s takes twice as long.
    assert finished["guest/a"] == pytest.approx(13.6 + (2.0 - done_s - 0.1), abs=1e-6)


def test_of_several_that_end_at_once_each_wants_processors() -> None:
    costs = msgspec.structs.replace(
        COSTS, functions=dict.fromkeys("abcd", msgspec.structs.replace(FUNCTION, templated=False)), end_s=0.2, cores=2.0
    )
    scene = Scene(costs)
    for name in "abc":
        scene.decide(1.0, Load("c1", f"guest/{name}", ""))
    ends = ("guest/a", "guest/b", "guest/c")
    scene.decide(100.0, Run("c1", "1", "guest/d", StartKind.PREWARMED, ends))
    gone = [event.at for event in scene.finish() if isinstance(event, ResidentGone)]
    # The load that the call waits for keeps one of the two cores.
    assert gone == pytest.approx([100.0 + 0.2 * 3 * END_CORES / 1.0] * 3)


def test_a_load_has_a_hand_off_and_a_warm_up_has_it_within() -> None:
    scene = Scene(msgspec.structs.replace(COSTS, load_handoff_s=0.25))
    scene.decide(1.0, Run("c1", "1", "guest/a", StartKind.PREWARMED), Load("c2", "guest/b", ""))
    told = [(event.function, event.at) for event in scene.finish() if isinstance(event, LoadFinished)]
    template = (scene.template, 5.25)
    assert told == [template, template, ("guest/a", 5.25 + 0.5 + 2.0 + 0.25), ("guest/b", 5.25 + 0.5 + 2.0 + 3.0)]


def test_a_function_that_waits_for_a_template_gets_another_when_that_is_ended() -> None:
    scene = Scene(msgspec.structs.replace(COSTS, end_s=0.25))
    scene.decide(1.0, Load("c1", "guest/a", ""))
    scene.decide(3.0, Offload("c1", scene.template, "", EndCause.ROOM))
    told = [(type(event), event.at) for event in scene.finish() if isinstance(event, LoadFinished | ResidentGone)]
    # The next template is there 4 s after the end of the first; forking, the model and the warm-up take 5.5 s more.
    assert told == [(ResidentGone, 3.25), (LoadFinished, 7.25), (LoadFinished, 12.75)]


def test_what_a_stopped_container_was_loading_keeps_no_processor() -> None:
    scene = Scene(msgspec.structs.replace(with_function(fork_s=0.0), cores=1.0))
    scene.decide(1.0, Load("c1", "guest/a", ""))
    scene.decide(2.0, StopContainer("c1", "", EndCause.EXPIRED))
    scene.decide(3.0, Load("c2", "guest/b", ""))
    finished = [event.at for event in scene.finish() if isinstance(event, LoadFinished)]
    assert finished == [7.0, 12.0]
