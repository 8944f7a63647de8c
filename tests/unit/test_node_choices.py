"""Which container takes a call, and what it is told about its start."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.errors import IllegalEvent
from instainfer.core.model import MIB, Failure, FailureKind, Profile, StartKind
from instainfer.core.ports import FunctionView, Idle, KeptContainer, NodeView, PreloadPlan, SuggestLoad, Use
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.objective import Valued

KNOWN = Profile(loads=1, library_s=1.0, model_s=0.5, resident_bytes=100 * MIB, runs=1, compute_s=0.1)


def test_a_first_call_is_cold_and_its_phases_add_up() -> None:
    node = CheckedNode()
    reply = node.serve(0.0, "node-c1", "a1", A)
    assert reply.start_kind is StartKind.COLD
    phases = reply.phases
    assert phases.container == pytest.approx(0.4)
    assert phases.libraries == pytest.approx(1.0)
    assert phases.model == pytest.approx(0.5)
    assert phases.compute == pytest.approx(0.1)
    assert phases.queue == 0.0
    assert phases.handoff == pytest.approx(0.0)
    assert phases.total == pytest.approx(2.0)


def test_a_second_call_is_warm() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    run = only(node.call(5.0, "a2", A), d.Run)
    assert (run.container, run.start_kind, run.ends) == ("node-c1", StartKind.WARM, ())
    reply = only(node.ran(5.2, "node-c1", "a2"), d.Reply)
    assert reply.phases.startup == pytest.approx(0.1)


def test_without_retaining_the_container_stays_and_the_process_ends() -> None:
    node = CheckedNode(retain=False)
    only(node.call(0.0, "a1", A), d.StartContainer)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    decisions = node.ran(2.0, "node-c1", "a1")
    only(decisions, d.Reply)
    assert only(decisions, d.Offload).function == A
    assert node.node.books.pool.idle == {}, "not usable before the process is gone"
    node.gone(2.1, "node-c1", A)
    run = only(node.call(3.0, "a2", A), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.PREWARMED)


def test_another_function_gets_its_own_container_while_there_is_memory() -> None:
    node = CheckedNode(budget_mib=1024)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(10.0, "node-c2", "b1", B)
    assert len(node.node.books.pool.idle) == 2


def test_without_memory_the_longest_idle_container_is_taken_over() -> None:
    node = CheckedNode(budget_mib=1024)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(10.0, "node-c2", "b1", B)
    run = only(node.call(20.0, "c1", C), d.Run)
    assert (run.container, run.start_kind, run.ends) == ("node-c1", StartKind.PREWARMED, (A,))


def test_user_code_waits_for_the_end_of_others_and_their_memory_is_freed_by_their_end_only() -> None:
    node = CheckedNode(budget_mib=512)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(20.0, "b1", B)
    ledger = node.node.books.pool.ledger
    assert ledger.charged("node-c1", A) == 100 * MIB
    node.gone(20.1, "node-c1", A)
    assert ledger.charged("node-c1", A) == 0


def test_a_larger_function_stops_idle_containers_of_others_and_waits_for_their_end() -> None:
    node = CheckedNode(budget_mib=1024)
    node.tell(e.FunctionRegistered(0.0, function("u/big@1", 1024)))
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(10.0, "node-c2", "b1", B)
    stops = [x for x in node.call(20.0, "g1", "u/big@1") if isinstance(x, d.StopContainer)]
    assert [stop.container for stop in stops] == ["node-c1", "node-c2"]
    none(node.tell(e.ContainerGone(20.1, "node-c1")), d.StartContainer)
    start = only(node.tell(e.ContainerGone(20.2, "node-c2")), d.StartContainer)
    assert (start.namespace, start.limit_bytes) == ("u", 1024 * MIB)
    only(node.started(20.6, start.container), d.Run)
    node.loaded(21.0, start.container, "u/big@1")
    reply = only(node.ran(21.5, start.container, "g1"), d.Reply)
    assert reply.phases.queue == pytest.approx(0.2)
    assert reply.phases.container == pytest.approx(0.4)


def test_the_wait_for_a_load_that_fails_is_not_our_hand_off() -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    failure = Failure(FailureKind.TIMED_OUT, "not loaded in time")
    node.tell(e.LoadFailed(3.4, "node-c1", A, failure))
    ended = node.tell(e.RunFinished(3.4, "node-c1", "a1", 0.0, 0, failure, alive=False))
    phases = only(ended, d.Reply).phases
    assert phases.container == pytest.approx(0.4)
    assert phases.libraries == pytest.approx(3.0)
    assert phases.handoff == phases.compute == 0.0


def test_containers_are_never_shared_between_namespaces() -> None:
    node = CheckedNode(budget_mib=512)
    node.tell(e.FunctionRegistered(0.0, function("u/a@1")))
    node.serve(0.0, "node-c1", "a1", A)
    decisions = node.call(20.0, "u1", "u/a@1")
    none(decisions, d.Run)
    assert only(decisions, d.StopContainer).container == "node-c1"


def test_a_call_waits_for_a_busy_copy_when_that_is_sooner_than_a_new_start() -> None:
    node = CheckedNode(profile=KNOWN)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    none(node.call(5.05, "a3", A), d.StartContainer, d.Run)
    run = only(node.ran(5.1, "node-c1", "a2"), d.Run)
    assert (run.activation, run.start_kind) == ("a3", StartKind.WARM)


def test_a_new_start_needs_no_new_container_where_the_functions_own_is_idle() -> None:
    """Waiting for the busy copy would be sooner than a container and a load, but not than a load alone."""
    node = CheckedNode(profile=replace(KNOWN, compute_s=1.7), templates=False)
    both = (("node-c1", "a1"), ("node-c2", "a2"))
    for container, activation in both:
        assert only(node.call(0.0, activation, A), d.StartContainer).container == container
    for container, _ in both:
        node.started(0.4, container)
    for container, _ in both:
        node.loaded(1.9, container, A)
    for container, activation in both:
        node.ran(3.6, container, activation, compute_s=1.7)
    node.tell(e.ResidentGone(5.0, "node-c2", A, Failure(FailureKind.CONTAINER_LOST, "its process has died")))
    assert only(node.call(10.0, "a3", A), d.Run).container == "node-c1"
    run = only(node.call(10.0, "a4", A), d.Run)
    assert (run.container, run.start_kind) == ("node-c2", StartKind.PREWARMED)


class Scripted(Valued):
    """Suggests one load when it is told to; everybody is worth the same, half a second at first."""

    active = True

    def __init__(self) -> None:
        self.next: SuggestLoad | None = None
        self.worth_s = 0.5

    def worth(self, function: FunctionView, at: float) -> float:
        return self.worth_s

    def plan(self, view: NodeView) -> PreloadPlan:
        suggestion, self.next = self.next, None
        return PreloadPlan(() if suggestion is None else (suggestion,))


def joinable(*, waits_for_s: float) -> CheckedNode:
    """A runs in the first container, is being loaded beside B in the second, and is called once more."""
    known = Profile(loads=1, library_s=1.0, resident_bytes=MIB, models=1, model_s=1.0, runs=1, compute_s=waits_for_s)
    plan = Scripted()
    node = CheckedNode(1024, profile=known, preloader=plan, templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(3.0, "node-c2", "b1", B)
    plan.next = SuggestLoad("node-c2", A, MIB, 1.0, (), "a spare one")
    only(node.tell(e.FunctionRegistered(6.0, function("u/other@1"))), d.Load)
    assert only(node.call(6.1, "a2", A), d.Run).container == "node-c1"
    return node


def test_a_call_waits_for_a_busy_copy_when_that_is_sooner_than_the_end_of_a_load() -> None:
    node = joinable(waits_for_s=0.2)
    none(node.call(6.2, "a3", A), d.Run)
    run = only(node.ran(6.3, "node-c1", "a2"), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.WARM)


def test_a_call_joins_a_load_when_that_is_sooner_than_the_end_of_a_busy_copy() -> None:
    node = joinable(waits_for_s=30.0)
    run = only(node.call(6.2, "a3", A), d.Run)
    assert (run.container, run.start_kind, run.ends) == ("node-c2", StartKind.JOINED, (B,))


def test_who_has_waited_as_long_as_the_load_should_take_joins_it_after_all() -> None:
    node = joinable(waits_for_s=0.2)
    wake = only(node.call(6.2, "a3", A), d.WakeAt)
    assert only(node.tell(e.TimerFired(wake.when)), d.Run).start_kind is StartKind.JOINED


def test_a_call_waits_for_a_busy_copy_rather_than_end_a_neighbour_who_is_worth_more() -> None:
    node = joinable(waits_for_s=0.2)
    node.loaded(6.15, "node-c2", A)
    none(node.call(6.2, "a3", A), d.Run)
    assert only(node.ran(6.3, "node-c1", "a2"), d.Run).container == "node-c1"


def test_it_does_not_wait_for_ever_when_that_expectation_was_wrong() -> None:
    node = CheckedNode(profile=KNOWN)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    wake = only(node.call(5.05, "a3", A), d.WakeAt)
    assert 6.0 < wake.when < 8.0
    assert only(node.tell(e.TimerFired(wake.when)), d.StartContainer).container == "node-c2"


def test_two_calls_share_one_load() -> None:
    node = CheckedNode(profile=KNOWN)
    only(node.call(0.0, "a1", A), d.StartContainer)
    node.started(0.4, "node-c1")
    none(node.call(0.6, "a2", A), d.StartContainer)
    node.loaded(1.9, "node-c1", A)
    assert only(node.ran(2.0, "node-c1", "a1"), d.Run).activation == "a2"


def test_the_queue_is_bounded_and_says_so() -> None:
    node = CheckedNode(budget_mib=512, max_queue=1)
    node.call(0.0, "a1", A)
    node.call(0.1, "b1", B)
    refuse = only(node.call(0.2, "b2", B), d.Refuse)
    assert refuse.failure.kind is FailureKind.QUEUE_FULL


def waits_for_two(overtake_s: float = 5.0) -> CheckedNode:
    """A function of another namespace waits since 20 s for the memory of two containers; a runs in one of them."""
    node = CheckedNode(budget_mib=1024, overtake_s=overtake_s)
    node.tell(e.FunctionRegistered(0.0, function("u/big@1", 1024)))
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(10.0, "node-c2", "b1", B)
    node.call(20.0, "a2", A)
    node.call(20.0, "big", "u/big@1")
    return node


def test_who_waits_for_memory_is_overtaken_by_those_who_need_none() -> None:
    node = waits_for_two()
    only(node.call(20.1, "b2", B), d.Run)
    node.ran(20.2, "node-c1", "a2")
    only(node.call(20.3, "a3", A), d.Run)


def test_who_has_waited_for_memory_for_long_gets_that_of_the_calls_that_end_next() -> None:
    node = waits_for_two()
    only(node.call(20.1, "b2", B), d.Run)
    none(node.tell(e.TimerFired(25.0)), d.StopContainer)
    assert set(node.node.books.claims) == {"node-c1", "node-c2"}
    assert only(node.ran(25.2, "node-c2", "b2"), d.Reply).activation == "b2"
    only(node.call(25.3, "b3", B), d.Run)  # its memory alone would be of no use as long as a2 runs
    decisions = node.ran(25.4, "node-c1", "a2")
    none(decisions, d.Run)
    assert only(decisions, d.StopContainer).container == "node-c1"
    none(node.call(25.5, "b4", B), d.Run)
    node.tell(e.ContainerGone(25.6, "node-c1"))
    decisions = node.ran(25.7, "node-c2", "b3")
    none(decisions, d.Run)
    assert only(decisions, d.StopContainer).container == "node-c2"
    assert only(node.tell(e.ContainerGone(25.8, "node-c2")), d.StartContainer).limit_bytes == 1024 * MIB
    assert node.node.books.claims == {}


def test_a_claim_takes_no_more_than_it_needs_and_leaves_warm_calls_alone() -> None:
    """One function that waits for memory blocks nobody: not even another tenant's calls of a container of its own."""
    node = CheckedNode(4096, keys=("u/g@1",), templates=False)
    for key in ("t/f1@1", "t/f2@1"):
        node.tell(e.FunctionRegistered(0.0, function(key, 3072)))
    node.serve(0.0, "node-c1", "g0", "u/g@1")
    assert only(node.call(10.0, "f1", "t/f1@1"), d.StartContainer).container == "node-c2"
    only(node.started(10.5, "node-c2"), d.Run)
    node.loaded(12.0, "node-c2", "t/f1@1")
    none(node.call(13.0, "f2", "t/f2@1"), d.Run, d.StartContainer, d.StopContainer)
    none(node.tell(e.TimerFired(18.0)), d.StopContainer)
    assert set(node.node.books.claims) == {"node-c2"}
    for n in range(30):
        at = 20.0 + n
        assert only(node.call(at, f"g{n + 1}", "u/g@1"), d.Run).start_kind is StartKind.WARM
        assert only(node.ran(at + 0.1, "node-c1", f"g{n + 1}"), d.Reply).phases.queue == 0.0
    assert only(node.ran(60.0, "node-c2", "f1"), d.Run).activation == "f2"
    assert node.node.books.claims == {}


def test_nothing_is_claimed_as_long_as_all_that_could_be_would_not_do() -> None:
    """The container whose memory is needed most is still being created: the others' memory alone would be of no use."""
    node = CheckedNode(4096, keys=("u/g@1",), templates=False)
    for key, memory_mib in (("t/f1@1", 3072), ("t/f2@1", 3584)):
        node.tell(e.FunctionRegistered(0.0, function(key, memory_mib)))
    node.serve(0.0, "node-c1", "g0", "u/g@1")
    node.call(10.0, "f1", "t/f1@1")
    node.call(11.0, "f2", "t/f2@1")
    only(node.call(15.5, "g1", "u/g@1"), d.Run)
    none(node.tell(e.TimerFired(16.0)), d.StopContainer)
    none(node.ran(16.1, "node-c1", "g1"), d.StopContainer)
    assert only(node.call(16.2, "g2", "u/g@1"), d.Run).start_kind is StartKind.WARM
    only(node.started(17.0, "node-c2"), d.Run)
    none(node.ran(17.1, "node-c1", "g2"), d.StopContainer)
    assert only(node.call(17.2, "g3", "u/g@1"), d.Run).start_kind is StartKind.WARM
    node.ran(17.3, "node-c1", "g3")
    node.loaded(18.0, "node-c2", "t/f1@1")
    assert only(node.ran(60.0, "node-c2", "f1"), d.StopContainer).container == "node-c2"


def test_free_memory_that_is_of_no_use_to_who_waits_is_for_others() -> None:
    node = CheckedNode(3584, keys=(), templates=False)
    for key, memory_mib in (("t/f1@1", 3072), ("t/f2@1", 3072), ("u/g@1", 512)):
        node.tell(e.FunctionRegistered(0.0, function(key, memory_mib)))
    node.call(0.0, "f1", "t/f1@1")
    only(node.started(0.5, "node-c1"), d.Run)
    none(node.call(1.0, "f2", "t/f2@1"), d.StartContainer)
    assert only(node.call(2.0, "g1", "u/g@1"), d.StartContainer).limit_bytes == 512 * MIB


def test_a_full_queue_refuses_nobody_who_need_not_wait() -> None:
    node = CheckedNode(2048, profile=KNOWN, max_queue=0)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    only(node.call(5.05, "a3", A), d.StartContainer)


def test_no_container_is_stopped_for_a_call_that_is_then_refused() -> None:
    node = CheckedNode(512, max_queue=0)
    node.tell(e.FunctionRegistered(0.0, function("u/a@1")))
    node.serve(0.0, "node-c1", "a1", A)
    decisions = node.call(20.0, "u1", "u/a@1")
    assert only(decisions, d.Refuse).failure.kind is FailureKind.QUEUE_FULL
    none(decisions, d.StopContainer)


def test_a_waiting_call_takes_the_copy_that_has_become_ready_elsewhere() -> None:
    """It had chosen to wait for two seconds at most, since the copy there was still being loaded."""
    node = joinable(waits_for_s=0.2)
    none(node.call(6.2, "a3", A), d.Run)
    assert isinstance(node.preloader, Scripted)
    node.preloader.worth_s = 0.01  # nobody is missed much there
    decisions = node.loaded(6.21, "node-c2", A)
    assert only(decisions, d.Run).container == "node-c2"


def test_a_call_takes_the_container_that_is_being_created_for_its_function() -> None:
    node = with_windows(Windows(Idle(0.0, prewarm_at=100.0), Idle(30.0)))
    node.serve(0.0, "node-c1", "a1", A)
    node.tell(e.TimerFired(2.0))
    node.tell(e.ContainerGone(2.1, "node-c1"))
    start = only(node.advance(102.0), d.StartContainer)
    none(node.call(102.1, "a2", A), d.StartContainer)
    run = only(node.started(102.4, start.container), d.Run)
    assert (run.activation, run.start_kind) == ("a2", StartKind.PREWARMED)
    node.loaded(103.9, start.container, A)
    phases = only(node.ran(104.0, start.container, "a2"), d.Reply).phases
    assert phases.container == pytest.approx(0.3)
    assert phases.libraries + phases.model == pytest.approx(1.5)


def test_unknown_and_oversized_functions_are_refused() -> None:
    node = CheckedNode(budget_mib=1024)
    assert only(node.call(0.0, "x1", "t/x@1"), d.Refuse).failure.kind is FailureKind.UNKNOWN_FUNCTION
    node.tell(e.FunctionRegistered(0.0, function("t/huge@1", 2048)))
    refuse = only(node.call(0.0, "x2", "t/huge@1"), d.Refuse)
    assert refuse.failure.kind is FailureKind.TOO_LARGE
    assert refuse.failure.fault == "platform"


@pytest.mark.parametrize("failed", [e.ContainerStartFailed, e.ContainerGone])
def test_a_container_that_does_not_come_ends_its_call_with_a_reason(
    failed: type[e.ContainerStartFailed | e.ContainerGone],
) -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    failure = Failure(FailureKind.CONTAINER_START_FAILED, "no such file: python")
    refuse = only(node.tell(failed(0.5, "node-c1", failure)), d.Refuse)
    assert refuse.failure == failure
    assert refuse.phases.container == pytest.approx(0.5)
    only(node.call(1.0, "a2", A), d.StartContainer)


def test_a_lost_container_ends_its_running_call() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    failure = Failure(FailureKind.CONTAINER_LOST, "its manager was killed by SIGKILL")
    assert only(node.tell(e.ContainerGone(5.1, "node-c1", failure)), d.Reply).failure == failure


def test_a_crash_during_a_run_is_its_answer_and_the_container_lives_on() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    crash = Failure(FailureKind.CRASHED, "killed by SIGSEGV")
    reply = only(node.tell(e.RunFinished(5.1, "node-c1", "a2", 0.0, 0, crash, alive=False)), d.Reply)
    assert reply.failure == crash
    node.tell(e.ResidentGone(5.1, "node-c1", A, crash))
    assert only(node.call(6.0, "a3", A), d.Run).start_kind is StartKind.PREWARMED


def test_a_resident_that_dies_while_a_call_is_on_its_way_is_loaded_anew_by_it() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.call(5.0, "a2", A), d.Run).start_kind is StartKind.WARM
    none(node.tell(e.ResidentGone(5.01, "node-c1", A, Failure(FailureKind.CRASHED, "SIGSEGV"))), d.Run)
    node.loaded(6.5, "node-c1", A)
    reply = only(node.ran(6.6, "node-c1", "a2"), d.Reply)
    assert reply.start_kind is StartKind.PREWARMED
    assert reply.phases.libraries + reply.phases.model > 1.0


def test_keep_alive_stops_an_idle_container_and_use_prolongs_it() -> None:
    node = CheckedNode(ttl_s=60.0)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(50.0, "a2", A)
    node.ran(50.1, "node-c1", "a2")
    none(node.advance(62.0), d.StopContainer)
    assert only(node.advance(110.2), d.StopContainer).container == "node-c1"


def test_memory_cost_is_the_integral_of_the_limits() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    assert node.node.books.pool.ledger.committed_byte_s(10.0) == 10 * 512 * MIB


def test_drain_finishes_what_runs_and_refuses_what_waits() -> None:
    node = CheckedNode(budget_mib=512)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.call(0.5, "b1", B)
    assert only(node.tell(e.DrainAsked(0.6)), d.Refuse).activation == "b1"
    node.loaded(1.9, "node-c1", A)
    decisions = node.ran(2.0, "node-c1", "a1")
    assert only(decisions, d.Reply).failure is None
    only(decisions, d.StopContainer)
    assert only(node.call(2.1, "a2", A), d.Refuse).failure.kind is FailureKind.DRAINING
    node.tell(e.ContainerGone(2.2, "node-c1"))
    assert node.node.drained


@pytest.mark.parametrize(
    "event",
    [
        e.ContainerStarted(9.0, "nowhere"),
        e.ContainerStarted(9.0, "node-c1"),
        e.RunFinished(9.0, "node-c1", "other", 0.1, 1),
        e.LoadFinished(9.0, "node-c1", B, 1.0, 1.0, 1),
        e.ResidentGone(9.0, "node-c1", A),
        e.RequestArrived(9.0, "a2", A),
        e.TimerFired(1.0),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_impossible_event_raises_with_the_story_and_changes_nothing(event: e.Event) -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    before = node.node.books.at
    with pytest.raises(IllegalEvent, match="What happened before"):
        node.tell(event)
    assert node.node.books.at == before
    only(node.ran(9.0, "node-c1", "a2"), d.Reply)


class Windows(Fixed):
    """A keep-alive policy with every kind of answer: gone at once, there again later, shared after a while."""

    def __init__(self, idle: Idle, prewarmed: Idle) -> None:
        super().__init__()
        self.answers = {True: idle, False: prewarmed}
        self.given_up: list[str] = []

    def idle(self, use: Use) -> Idle:
        answer = self.answers[use.after_call]
        prewarm_at = None if answer.prewarm_at is None else use.at + answer.prewarm_at
        return Idle(use.at + answer.expires_at, use.at + answer.shared_at, prewarm_at)

    def evicted(self, container: KeptContainer) -> None:
        self.given_up.append(container.id)


def with_windows(keepalive: Windows, budget_mib: int = 1024) -> CheckedNode:
    return CheckedNode(budget_mib, templates=False, keepalive=keepalive)


def test_a_container_can_go_at_once_and_be_pre_warmed_for_the_next_call() -> None:
    node = with_windows(Windows(Idle(0.0, prewarm_at=100.0), Idle(30.0)))
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.tell(e.TimerFired(2.0)), d.StopContainer).container == "node-c1"
    node.tell(e.ContainerGone(2.1, "node-c1"))
    start = only(node.advance(102.0), d.StartContainer)
    assert "pre-warmed" in start.reason
    node.started(102.4, start.container)
    run = only(node.call(110.0, "a2", A), d.Run)
    assert (run.container, run.start_kind) == (start.container, StartKind.PREWARMED)


def test_a_pre_warmed_container_that_nobody_calls_goes_again() -> None:
    node = with_windows(Windows(Idle(0.0, prewarm_at=100.0), Idle(30.0)))
    node.serve(0.0, "node-c1", "a1", A)
    node.tell(e.TimerFired(2.0))
    node.tell(e.ContainerGone(2.1, "node-c1"))
    start = only(node.advance(102.0), d.StartContainer)
    node.started(102.4, start.container)
    assert only(node.advance(132.4), d.StopContainer).container == start.container


def test_after_a_while_a_container_can_be_for_others_and_its_owner_is_ended_in_it() -> None:
    keepalive = Windows(Idle(600.0, shared_at=60.0), Idle(600.0))
    node = with_windows(keepalive)
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.advance(62.0), d.Offload).function == A
    node.gone(62.1, "node-c1", A)
    run = only(node.call(70.0, "b1", B), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.PREWARMED)
    assert keepalive.given_up == []


def test_the_policy_is_told_when_a_container_is_given_up() -> None:
    keepalive = Windows(Idle(600.0), Idle(600.0))
    node = with_windows(keepalive, budget_mib=512)
    node.serve(0.0, "node-c1", "a1", A)
    only(node.call(5.0, "b1", B), d.Run)
    assert keepalive.given_up == ["node-c1"]
