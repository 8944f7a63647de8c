"""The asyncio driver on the memory backend and a clock moved by hand."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from support.nodes import function
from support.specs import spec

from instainfer.backends.base import Call, TemplateSpec
from instainfer.backends.clock import ManualClock
from instainfer.backends.memory import Costs, MemoryBackend
from instainfer.config import Config, PreloadConfig
from instainfer.core.errors import InternalError
from instainfer.core.events import ContainerStarted, FunctionRegistered
from instainfer.core.model import MIB, Failure, FailureKind, Profile, StartKind, Verdict, template_key
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import Policies
from instainfer.core.story import Entry, dump_entry, load_entry
from instainfer.embedded import policies
from instainfer.errors import BadInput
from instainfer.invoker.driver import Invoker
from instainfer.invoker.snapshot import snapshot
from instainfer.links.local import LocalLink
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.none import NoPreloading
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.wire.bounds import cost_bytes

A, B = "t/a@1", "t/b@1"
COSTS = {
    A: Costs(library_s=1.0, model_s=0.5, compute_s=0.1, result=b'{"who":"a"}', logs=("hello",)),
    B: Costs(library_s=1.0, model_s=2.0, compute_s=0.2, result=b'{"who":"b"}'),
}


class Stage:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.backend = MemoryBackend(self.clock, COSTS, start_s=0.4, stop_s=0.1, end_s=0.01)
        self.entries: list[Entry] = []
        self.profiles: dict[str, Profile] = {}
        self.invoker = Invoker(
            new_state(), self.backend, self.clock, on_entry=self.entries.append, on_profile=self.profiles.__setitem__
        )
        for key in (A, B):
            self.invoker.register(replace(function(key), templated=False), spec(key))


def new_state() -> NodeState:
    return NodeState(NodeSettings(512 * MIB), Policies(Fixed(60.0), Poisson(), Opportunistic()))


def test_a_cold_call_then_a_pre_loaded_one() -> None:
    async def scene() -> None:
        stage = Stage()
        first = stage.invoker.invoke(Call("a1", A, b"{}"))
        stage.clock.advance(2.0)
        outcome = first.result()
        assert (outcome.result, outcome.logs, outcome.start_kind) == (b'{"who":"a"}', ("hello",), StartKind.COLD)
        assert outcome.phases.container == pytest.approx(0.4)
        stage.clock.advance(5.0)
        second = stage.invoker.invoke(Call("b1", B, b"{}"))
        stage.clock.advance(0.3)
        outcome = second.result()
        assert (outcome.result, outcome.start_kind) == (b'{"who":"b"}', StartKind.PRELOADED)
        assert outcome.phases.startup == pytest.approx(0.0)
        assert stage.profiles[B].model_s == 2.0
        residents = snapshot(stage.invoker.state, stage.clock.now())["containers"][0]["residents"]
        assert [(r["function"], r["state"]) for r in residents] == [(B, "loaded"), (A, "loading")]

    asyncio.run(scene())


@pytest.mark.parametrize(("called_ago_s", "loaded"), [((), A), ((150.0, 90.0, 30.0), B)])
def test_what_was_called_before_the_node_was_started_is_loaded_ahead_of_what_never_was(
    called_ago_s: tuple[float, ...], loaded: str
) -> None:
    """There is room for one of two functions, which else are alike."""

    async def scene() -> None:
        clock = ManualClock()
        clock.advance(1000.0)
        backend = MemoryBackend(clock, dict.fromkeys((A, B), replace(COSTS[A], resident_bytes=200 * MIB)))
        state = NodeState(NodeSettings(256 * MIB), Policies(Objective(), Poisson(), Opportunistic()))
        entries: list[Entry] = []
        invoker = Invoker(state, backend, clock, on_entry=entries.append)
        link = LocalLink(invoker)
        for key, ago_s in ((A, ()), (B, called_ago_s)):
            described = replace(function(key, 256, 200), templated=False)
            link.register(described, spec(key), None, None, ago_s)
        told = [entry.event for entry in entries if isinstance(entry.event, FunctionRegistered)]
        assert [event.calls for event in told] == [(), tuple(1000.0 - ago_s for ago_s in called_ago_s)]
        clock.advance(20.0)
        call = invoker.invoke(Call("1", loaded, b"{}"))
        clock.advance(5.0)
        assert call.result().start_kind is StartKind.PRELOADED
        link.stop_sampling()

    asyncio.run(scene())


def test_a_container_that_is_kept_until_its_memory_is_wanted_has_no_time_left_to_tell() -> None:
    async def scene() -> None:
        stage = Stage()
        for keepalive, wanted in ((Fixed(60.0), pytest.approx(55.0)), (Objective(), None)):
            state = NodeState(NodeSettings(512 * MIB), Policies(keepalive, Poisson(), NoPreloading()))
            invoker = Invoker(state, MemoryBackend(stage.clock, COSTS), stage.clock)
            invoker.register(replace(function(A), templated=False), spec(A))
            invoker.invoke(Call("a1", A, b"{}"))
            stage.clock.advance(1.6)
            stage.clock.advance(5.0)
            (told,) = snapshot(state, stage.clock.now())["containers"]
            assert told["state"] == "idle"
            assert told["expires_in_s"] == wanted

    asyncio.run(scene())


def test_the_container_proves_a_function_once_and_the_verdict_is_handed_on() -> None:
    async def scene() -> None:
        clock = ManualClock()
        unfit = Failure(FailureKind.LOAD_FAILED, "a thread")
        backend = MemoryBackend(clock, {A: COSTS[A], B: replace(COSTS[B], unfit=unfit)})
        state = NodeState(
            NodeSettings(4096 * MIB, function_templates=True), Policies(Fixed(60.0), Poisson(), Opportunistic())
        )
        verdicts: list[tuple[str, Verdict]] = []
        invoker = Invoker(state, backend, clock, on_verdict=lambda *told: verdicts.append(told))
        invoker.register(function(A), spec(A))
        invoker.register(function(B), spec(B))
        invoker.register(function("t/c@1"), spec("t/c@1"), None, Verdict(False, "it has a connection"))
        for number in range(3):
            for key in (A, B, "t/c@1"):
                call = invoker.invoke(Call(f"{key}{number}", key, b"{}"))
                clock.advance(10.0)
                assert call.result().failure is None
        assert verdicts == [(A, Verdict(True)), (B, Verdict(False, "a thread"))]
        assert backend.proven == [A, B]

    asyncio.run(scene())


def test_a_recorded_story_replays_to_the_same_decisions() -> None:
    async def scene() -> None:
        stage = Stage()
        for n in range(20):
            stage.invoker.invoke(Call(f"x{n}", (A, B)[n % 3 == 0], b"{}"))
            stage.clock.advance(1.7)
        stage.clock.advance(30.0)
        lines = [dump_entry(entry) for entry in stage.entries]
        again = new_state()
        for line in lines:
            entry = load_entry(line)
            assert tuple(again.handle(entry.event)) == entry.decisions
        assert len(lines) > 60

    asyncio.run(scene())


def test_drain_waits_for_what_runs_and_leaves_nothing() -> None:
    async def scene() -> None:
        stage = Stage()
        running = stage.invoker.invoke(Call("a1", A, b"{}"))
        stage.clock.advance(1.0)
        waiting = stage.invoker.invoke(Call("b1", B, b"{}"))
        draining = asyncio.create_task(stage.invoker.drain())
        await asyncio.sleep(0)
        failure = waiting.result().failure
        assert failure is not None
        assert failure.kind is FailureKind.DRAINING
        assert not draining.done()
        stage.clock.advance(3.0)
        assert running.result().failure is None
        await asyncio.wait_for(draining, 1.0)
        assert stage.backend.containers == {}

    asyncio.run(scene())


def test_a_dying_container_answers_its_call() -> None:
    async def scene() -> None:
        stage = Stage()
        call = stage.invoker.invoke(Call("a1", A, b"{}"))
        stage.clock.advance(1.0)
        lost = Failure(FailureKind.CONTAINER_LOST, "manager killed")
        stage.backend.containers["node-c1"].lose(lost)
        stage.clock.advance(0.0)
        assert call.result().failure == lost

    asyncio.run(scene())


def test_an_impossible_report_is_logged_and_the_node_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    async def scene() -> None:
        stage = Stage()
        stage.invoker.feed(ContainerStarted(0.0, "nowhere"))
        assert "an event was refused" in caplog.text
        call = stage.invoker.invoke(Call("a1", A, b"{}"))
        stage.clock.advance(2.0)
        assert call.result().failure is None

    asyncio.run(scene())


def test_an_unknown_policy_is_named_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"no policy 'nonsense' among the preloaders; there are: .*opportunistic"):
        policies(Config(preload=PreloadConfig(policy="nonsense")))


def test_of_a_thousand_versions_the_driver_keeps_the_one_that_is_there() -> None:
    async def scene() -> None:
        stage = Stage()
        for n in range(1000):
            key = f"t/c@{n}"
            stage.invoker.register(function(key), spec(key))
            call = stage.invoker.invoke(Call(f"c{n}", key, b"{}"))
            stage.clock.advance(3.0)
            assert call.result().failure is None
            stage.invoker.unregister(key)
            stage.clock.advance(0.1)
        invoker = stage.invoker
        assert set(invoker._specs) == {A, B}
        assert set(invoker._complete) <= {A, B}
        assert len(invoker._templates) <= 1

    asyncio.run(scene())


def test_all_functions_of_a_template_name_the_same_one_which_may_read_the_folders_of_all() -> None:
    async def scene() -> None:
        stage = Stage()
        template = TemplateSpec(template_key("u", "env"), Path("python"), ("json",))
        keys = ("u/a@1", "u/b@1")
        for key in keys:
            stage.invoker.register(function(key), replace(spec(key), folder=Path("/", key), template=template))
        specs = [stage.invoker._spec(key) for key in keys]
        assert specs[0].template is specs[1].template
        assert specs[0].template is not None
        assert specs[0].template.folders == (Path("/u/a@1"), Path("/u/b@1"))
        assert specs[0].template.modules == ("json",)
        assert stage.invoker._spec(keys[0]) is specs[0], "told once only"
        stage.invoker.unregister(keys[0])
        again = stage.invoker._spec(keys[1])
        assert again.template is not None
        assert again.template.folders == (Path("/u/b@1"),)

    asyncio.run(scene())


def test_a_bug_in_the_middle_of_an_event_loses_no_answer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def scene() -> None:
        stage = Stage()
        call = stage.invoker.invoke(Call("a1", A, b"{}"))
        stage.clock.advance(1.95)

        def fails(books: object) -> None:
            raise InternalError("a bug")

        monkeypatch.setattr("instainfer.core.node.preload", fails)
        stage.clock.advance(0.1)
        assert call.result().failure is None
        assert "could not be handled to its end" in caplog.text

    asyncio.run(scene())


def test_values_of_a_call_come_before_its_outcome_and_what_is_taken_goes_down() -> None:
    async def scene() -> None:
        stage = Stage()
        large = b'"' + b"x" * (200 << 10) + b'"'
        stage.backend.costs[A] = Costs(compute_s=0.1, values=[large] * 4)
        values: list[bytes] = []
        waiting = stage.invoker.invoke(Call("a1", A, b"{}", on_value=values.append))
        stage.clock.advance(10.0)
        assert (len(values), waiting.done()) == (2, False)
        stage.invoker.taken("a1", 2 * cost_bytes(large))
        stage.clock.advance(10.0)
        assert (len(values), waiting.result().result) == (4, b"")
        stage.invoker.taken("a1", 5)
        stage.invoker.enough("a1")
        assert not stage.invoker._unwanted

    asyncio.run(scene())


def test_a_call_that_nobody_wants_when_it_begins_is_cancelled_then() -> None:
    async def scene() -> None:
        stage = Stage()
        stage.backend.costs[A] = Costs(compute_s=0.1, values=[b"1"], value_s=5.0)
        values: list[bytes] = []
        waiting = stage.invoker.invoke(Call("a1", A, b"{}", on_value=values.append))
        stage.invoker.enough("a1")
        assert not waiting.done()
        stage.clock.advance(2.0)
        failure = waiting.result().failure
        assert failure is not None
        assert (failure.kind, values) == (FailureKind.CANCELLED, [])

    asyncio.run(scene())
