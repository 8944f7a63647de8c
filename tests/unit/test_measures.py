"""What a node counts for /metrics, from its events and decisions, and what it tells of the present."""

from __future__ import annotations

from collections import Counter

import pytest
from support.nodes import A, B, CheckedNode

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import (
    BY_PRELOAD,
    MIB,
    WARM,
    EndCause,
    Failure,
    FailureKind,
    function_template_key,
    template_key,
)
from instainfer.invoker.measures import KINDS, Tally, kind_of, measures
from instainfer.policy.preload.opportunistic import Opportunistic

TEMPLATE = template_key("t", "env")
CRASH = Failure(FailureKind.CRASHED, "it died")
NOTHING = e.TimerFired(1.0)


class Counted(CheckedNode):
    """A node whose events and decisions are counted."""

    def __init__(self, **settings: object) -> None:
        self.tally = Tally()
        super().__init__(**settings)  # type: ignore[arg-type]

    def tell(self, event: e.Event) -> list[d.Decision]:
        decisions = super().tell(event)
        self.tally.note(event, decisions)
        return decisions


def counted(*steps: e.Event | d.Decision) -> Tally:
    """What is counted of these, in this order."""
    tally = Tally()
    for step in steps:
        if isinstance(step, e.Event):
            tally.note(step, ())
        else:
            tally.note(NOTHING, (step,))
    return tally


def test_the_kinds_are_those_of_the_keys() -> None:
    assert tuple(map(kind_of, (A, TEMPLATE, function_template_key(A)))) == KINDS


@pytest.mark.parametrize("cause", EndCause)
def test_each_cause_is_counted_once(cause: EndCause) -> None:
    tally = counted(
        d.StopContainer("c1", "words", cause),
        e.ResidentGone(2.0, "c1", B),
        e.ContainerGone(2.0, "c1"),
        d.Offload("c2", A, "words", cause),
        e.ResidentGone(2.0, "c2", A, CRASH),
    )
    assert tally.containers_ended == {(cause.value,): 1}
    assert tally.residents_ended == {("function", cause.value): 1}


def test_a_run_ends_the_others_and_counts_only_those_that_were_not_ending() -> None:
    tally = counted(
        d.Offload("c1", B, "words", EndCause.ROOM),
        d.Run("c1", "a1", A, WARM, ends=(B, "t/c@1")),
        e.ResidentGone(2.0, "c1", B),
        e.ResidentGone(2.0, "c1", "t/c@1"),
    )
    assert tally.residents_ended == {("function", "room"): 1, ("function", "taken"): 1}


def test_what_nobody_asked_for_has_died() -> None:
    tally = counted(
        e.ResidentGone(1.0, "c1", A, CRASH),
        e.ResidentGone(1.0, "c1", TEMPLATE, CRASH),
        e.ContainerGone(2.0, "c1", CRASH),
        e.ContainerStartFailed(2.0, "c2", CRASH),
    )
    assert tally.containers_ended == {("died",): 2}
    assert tally.residents_ended == {("function", "died"): 1, ("library_template", "died"): 1}


def test_an_end_that_was_never_reported_hides_no_later_one() -> None:
    tally = counted(
        d.Offload("c1", A, "its load fails first", EndCause.ROOM),
        e.LoadFailed(2.0, "c1", A, CRASH),
        e.ResidentGone(3.0, "c1", A, CRASH),
        d.Offload("c1", B, "its container goes first", EndCause.ROOM),
        e.ContainerGone(4.0, "c1", CRASH),
        e.ResidentGone(5.0, "c1", B, CRASH),
    )
    assert tally.residents_ended == {("function", "room"): 2, ("function", "died"): 2}


def test_loads_are_counted_by_what_was_loaded() -> None:
    tally = counted(
        d.StartContainer("c1", "t", 512 * MIB, "words"),
        e.LoadFinished(1.0, "c1", TEMPLATE, 1.0, 0.0, MIB),
        e.LoadFinished(2.0, "c1", A, 1.0, 1.0, MIB),
        e.LoadFailed(3.0, "c1", B, CRASH),
        e.LoadFailed(3.0, "c1", function_template_key(A), CRASH),
    )
    assert tally.created == 1
    assert tally.loads == {
        ("library_template", "finished"): 1,
        ("function", "finished"): 1,
        ("function", "failed"): 1,
        ("function_template", "failed"): 1,
    }


def test_a_node_names_the_cause_of_each_end() -> None:
    node = Counted(budget_mib=512, ttl_s=60.0)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "b1", B)
    node.gone(5.1, "node-c1", A)
    node.loaded(6.0, "node-c1", B)
    node.ran(6.1, "node-c1", "b1")
    node.advance(100.0)
    node.tell(e.ContainerGone(100.1, "node-c1"))
    node.serve(101.0, "node-c2", "a2", A)
    node.tell(e.FunctionRemoved(104.0, A))
    node.gone(104.1, "node-c2", A)
    node.tell(e.DrainAsked(105.0))
    assert node.tally.residents_ended == {("function", "taken"): 1, ("function", "obsolete"): 1}
    assert node.tally.containers_ended == {("expired",): 1, ("shutdown",): 1}


def test_what_somebody_asked_for_is_told_from_what_is_of_no_use() -> None:
    own = function_template_key(A)
    node = Counted(function_templates=True)
    node.serve(0.0, "node-c1", "a1", A)
    node.node.books.add_resident(node.node.books.pool.containers["node-c1"], own, BY_PRELOAD, "a test")
    node.loaded(3.0, "node-c1", own)
    node.tell(e.OffloadAsked(4.0, A))
    assert node.tally.residents_ended == {("function", "asked"): 1, ("function_template", "asked"): 1}


def test_the_present_agrees_with_the_books() -> None:
    node = Counted(preloader=Opportunistic())
    node.serve(0.0, "node-c1", "a1", A)
    now = measures(node.node, node.tally, 10.0)
    books = node.node.books
    residents = [each for container in books.pool.containers.values() for each in container.residents.values()]
    found = Counter((kind_of(each.function), each.state.value) for each in residents)
    assert {labels: count for labels, count in now["residents"].items() if count} == dict(found)
    assert len(residents) > 1
    assert sum(now["resident_bytes"].values()) == books.pool.ledger.used_in("node-c1")
    assert now["containers"] == {("starting",): 0, ("idle",): 1, ("busy",): 0, ("stopping",): 0}
    assert now["memory_committed_bytes"] == {(): 512 * MIB}
    assert now["memory_committed_byte_seconds"] == {(): 10.0 * 512 * MIB}
    assert now["queue_length"] == {(): 0}
    assert (now["functions"], now["forecasts"]) == ({(): 3}, {(): 1})
    assert now["forecast_calls_per_second"][()] == pytest.approx(books.rate_of(books.functions[A]))
    assert now["preloads"]["started",] == books.preloads.started > 0


def test_a_policy_that_fails_is_counted_by_its_role() -> None:
    class Broken(Opportunistic):
        def plan(self, *_: object) -> object:  # type: ignore[override]
            raise ZeroDivisionError

    node = Counted(preloader=Broken(), policies_fail=True)
    node.serve(0.0, "node-c1", "a1", A)
    failures = measures(node.node, node.tally, 2.0)["policy_failures"]
    assert failures.keys() == {("pre-loading",)}
    assert failures["pre-loading",] > 0
