"""Opportunistic pre-loading through the one door."""

from __future__ import annotations

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Failure, FailureKind, StartKind
from instainfer.core.ports import FunctionView, NodeView, PreloadPlan, SuggestLoad
from instainfer.policy.objective import Valued
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.policy.preload.published import Published


def preloading(budget_mib: int = 512, **settings: object) -> CheckedNode:
    return CheckedNode(budget_mib, preloader=Opportunistic(), **settings)  # type: ignore[arg-type]


def test_an_idle_container_takes_what_was_never_called_yet_and_a_call_finds_it_there() -> None:
    node = preloading(keys=(A, B))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    load = only(node.ran(2.0, "node-c1", "a1"), d.Load)
    assert (load.container, load.function) == ("node-c1", B)
    node.loaded(3.5, "node-c1", B)
    run = only(node.call(5.0, "b1", B), d.Run)
    assert (run.start_kind, run.ends) == (StartKind.PRELOADED, (A,))
    node.gone(5.01, "node-c1", A)
    assert only(node.ran(5.1, "node-c1", "b1"), d.Reply).phases.startup < 0.05
    assert node.node.books.preloads.hits == 1


def test_a_call_joins_a_load_and_waits_for_its_rest_only() -> None:
    node = preloading(keys=(A, B))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    only(node.ran(2.0, "node-c1", "a1"), d.Load)
    run = only(node.call(3.0, "b1", B), d.Run)
    assert run.start_kind is StartKind.JOINED
    node.gone(3.01, "node-c1", A)
    node.loaded(3.5, "node-c1", B)
    reply = only(node.ran(3.6, "node-c1", "b1"), d.Reply)
    assert reply.phases.model == pytest.approx(0.5)
    assert reply.phases.libraries == 0.0
    assert reply.start_kind is StartKind.JOINED


def test_nothing_is_loaded_while_a_request_waits() -> None:
    node = preloading(keys=(A, B, C), budget_mib=512)
    node.tell(e.FunctionRegistered(0.0, function("u/big@1", 512)))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    node.call(1.95, "g", "u/big@1")
    none(node.ran(2.0, "node-c1", "a1"), d.Load)


OTHER = "u/other@1"


def two_containers(**settings: object) -> CheckedNode:
    """One of A and one of another tenant's function, which runs; whatever is new to A's tenant may go to A's."""
    node = preloading(keys=(A, OTHER), budget_mib=1024, **settings)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(2.0, "node-c2", "o1", OTHER)
    only(node.call(10.0, "o2", OTHER), d.Run)
    return node


def test_loads_are_put_off_until_no_call_runs() -> None:
    node = two_containers(calls_beside=0)
    none(node.tell(e.FunctionRegistered(10.1, function(C))), d.Load)
    load = only(node.ran(10.5, "node-c2", "o2"), d.Load)
    assert (load.container, load.function) == ("node-c1", C)


def test_a_call_that_takes_long_puts_them_off_for_a_while_only() -> None:
    node = two_containers(calls_beside=0, put_off_s=2.0)
    none(node.tell(e.FunctionRegistered(10.1, function(C))), d.Load)
    early = node.tell(e.TimerFired(12.0))
    none(early, d.Load)
    assert only(early, d.WakeAt).when == 12.1
    assert only(node.tell(e.TimerFired(12.1)), d.Load).function == C


def test_each_load_is_put_off_and_not_only_the_first_of_a_busy_time() -> None:
    node = two_containers(calls_beside=0, put_off_s=2.0)
    none(node.tell(e.FunctionRegistered(10.1, function(C))), d.Load)
    assert only(node.tell(e.TimerFired(12.1)), d.Load).function == C
    node.loaded(13.0, "node-c1", C)
    none(node.tell(e.FunctionRegistered(14.0, function("t/d@1"))), d.Load)
    none(node.advance(14.9), d.Load)
    assert only(node.advance(15.1), d.Load).function == "t/d@1", "two seconds after the load before"


@pytest.mark.parametrize("allowed", [1, None])
def test_where_there_are_processors_for_both_they_are_not_put_off(allowed: int | None) -> None:
    node = two_containers(calls_beside=allowed)
    assert only(node.tell(e.FunctionRegistered(10.1, function(C))), d.Load).function == C


def test_pre_loading_never_starts_a_container_and_never_prolongs_one() -> None:
    node = CheckedNode(1024, preloader=Opportunistic(), ttl_s=60.0, keys=(A, B))
    none(node.tell(e.TimerFired(1.0)), d.StartContainer)
    node.serve(2.0, "node-c1", "a1", A)
    expiry = node.node.books.pool.containers["node-c1"].expires_at
    node.loaded(6.0, "node-c1", B)
    assert node.node.books.pool.containers["node-c1"].expires_at == expiry == 64.0
    assert only(node.tell(e.TimerFired(64.0)), d.StopContainer).container == "node-c1"


def test_only_so_many_loads_at_a_time() -> None:
    node = preloading(keys=(A, B, C), budget_mib=512, max_loads=1)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    first = only(node.ran(2.0, "node-c1", "a1"), d.Load)
    second = only(node.loaded(3.0, "node-c1", first.function), d.Load)
    assert {first.function, second.function} == {B, C}


def test_by_the_papers_rule_a_resident_that_was_not_called_in_time_is_off_loaded() -> None:
    node = CheckedNode(1024, preloader=Published(p_load=0.06, p_offload=0.94), keys=(A, B))
    node.call(0.0, "b0", B)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", B, mib=400)
    node.ran(2.0, "node-c1", "b0", mib=400)
    for n in range(4):
        at = 10.0 + 10 * n
        only(node.call(at, f"b{n + 1}", B), d.Run)
        node.ran(at + 0.1, "node-c1", f"b{n + 1}", mib=400)
    # B's container is taken away; B comes back as a pre-load beside A.
    node.serve(41.0, "node-c2", "a1", A)
    load = only(node.tell(e.ContainerGone(44.0, "node-c1", Failure(FailureKind.CONTAINER_LOST, "x"))), d.Load)
    assert (load.container, load.function) == ("node-c2", B)
    node.loaded(45.5, "node-c2", B)
    # Five arrivals in 40 s: P(call) passes 0.94 after 22.5 s of silence.
    none(node.tell(e.TimerFired(62.0)), d.Offload)
    offload = only(node.tell(e.TimerFired(62.6)), d.Offload)
    assert offload.function == B
    assert "0.94" in offload.reason


def test_a_failed_pre_load_is_not_tried_again_and_hurts_nobody() -> None:
    node = preloading(keys=(A, B), budget_mib=512)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    only(node.ran(2.0, "node-c1", "a1"), d.Load)
    failure = Failure(FailureKind.LOAD_FAILED, "ModuleNotFoundError: torch")
    none(node.tell(e.LoadFailed(2.5, "node-c1", B, failure)), d.Load)
    assert only(node.call(3.0, "a2", A), d.Run).start_kind is StartKind.WARM


def test_measured_memory_above_the_limit_ends_what_is_worth_least() -> None:
    node = preloading(keys=(A, B), budget_mib=512)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    node.ran(2.0, "node-c1", "a1")
    offload = only(node.loaded(3.5, "node-c1", B, mib=450), d.Offload)
    assert offload.function == B
    assert "limit" in offload.reason


def test_room_is_made_for_a_more_valuable_function_and_the_load_waits_for_the_memory() -> None:
    node = CheckedNode(1024, preloader=Opportunistic(), keys=(A,))
    node.serve(0.0, "node-c1", "a1", A)
    node.tell(e.FunctionRegistered(3.0, function(B, estimate_mib=300)))
    node.loaded(5.0, "node-c1", B, mib=300)
    node.tell(e.FunctionRegistered(6.0, function(C, estimate_mib=300)))
    node.serve(10.0, "node-c2", "c1", C)
    node.call(12.0, "c2", C)
    node.ran(12.0, "node-c2", "c2", mib=300)
    node.tell(e.MemoryMeasured(12.0, "node-c2", ((C, 300 * MIB),)))
    decisions = node.tell(e.ContainerGone(14.0, "node-c2", Failure(FailureKind.CONTAINER_LOST, "x")))
    assert only(decisions, d.Offload).function == B
    none(decisions, d.Load)
    assert "waits until the memory of others is free" in node.node.story.last.notes[0]
    load = only(node.gone(14.1, "node-c1", B), d.Load)
    assert load.function == C


class Undecided(Valued):
    """Wants B in A's place, and A first wherever there is room."""

    active = True

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0

    def plan(self, view: NodeView) -> PreloadPlan:
        if not view.containers:
            return PreloadPlan()
        (container,) = view.containers
        if any(each.function == A for each in container.residents):
            load = SuggestLoad(container.id, B, 300 * MIB, 1.0, (A,), "better")
        else:
            load = SuggestLoad(container.id, A, 300 * MIB, 1.0, (), "first")
        return PreloadPlan((load,)) if view.load_slots > 0 else PreloadPlan()


def undecided() -> CheckedNode:
    node = CheckedNode(512, preloader=Undecided(), keys=(A, B))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A, mib=400)
    assert only(node.ran(2.0, "node-c1", "a1", mib=400), d.Offload).function == A
    return node


def test_room_is_used_by_whom_it_was_made_for() -> None:
    """Else the one that left is loaded again, has to leave again, and so on for ever."""
    node = undecided()
    assert only(node.gone(2.1, "node-c1", A), d.Load).function == B


def test_a_call_goes_before_whom_room_was_made_for() -> None:
    node = undecided()
    none(node.call(2.05, "a2", A), d.Run, d.StartContainer)  # in a moment the container is free for it
    decisions = node.gone(2.1, "node-c1", A)
    assert only(decisions, d.Run).start_kind is StartKind.PREWARMED
    none(decisions, d.Load)
    node.loaded(3.6, "node-c1", A, mib=400)
    assert only(node.ran(3.7, "node-c1", "a2", mib=400), d.Offload).function == A
    assert only(node.gone(3.8, "node-c1", A), d.Load).function == B


def test_a_call_that_takes_the_container_breaks_the_promise() -> None:
    node = CheckedNode(512, preloader=Undecided(), keys=(A, B, C))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A, mib=400)
    assert only(node.ran(2.0, "node-c1", "a1", mib=400), d.Offload).function == A
    only(node.call(2.05, "c1", C), d.Run)
    assert node.node.books.promises == {}


def test_whoever_was_removed_meanwhile_does_not_use_the_room_made_for_it() -> None:
    node = undecided()
    node.tell(e.FunctionRemoved(2.05, B))
    assert [each for each in node.gone(2.1, "node-c1", A) if isinstance(each, d.Load) and each.function == B] == []
