"""A container that does not say what became of what it was told to do is given up, and its call is answered."""

from __future__ import annotations

import pytest
from support.nodes import A, B, CheckedNode, none, only
from test_node_choices import Scripted

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, FailureKind, template_key
from instainfer.core.ports import SuggestLoad, SuggestOffload
from instainfer.core.residents import TEMPLATE_LIMIT_S

LIMIT_S, GRACE_S = 60.0, 15.0
"""Of the functions, and of the node, in these tests."""


def test_a_call_of_a_loaded_function_ends_within_its_limit_and_the_grace() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    only(node.call(100.0, "a2", A), d.Run)
    none(node.advance(100.0 + LIMIT_S + GRACE_S - 0.1), d.Reply, d.StopContainer)
    decisions = node.advance(100.0 + LIMIT_S + GRACE_S)
    reply = only(decisions, d.Reply)
    assert reply.failure is not None
    assert (reply.activation, reply.failure.kind) == ("a2", FailureKind.CONTAINER_LOST)
    assert "15 s beyond the time limit" in reply.failure.message
    assert only(decisions, d.StopContainer).container == "node-c1"


def test_a_call_that_has_to_load_has_its_limit_for_the_load_and_again_for_the_run() -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    node.started(1.0, "node-c1")
    none(node.advance(1.0 + 2 * LIMIT_S + GRACE_S - 0.1), d.Reply)
    only(node.advance(1.0 + 2 * LIMIT_S + GRACE_S), d.Reply)


def test_when_it_is_loaded_the_run_has_its_limit_from_then_on() -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    node.started(1.0, "node-c1")
    node.loaded(31.0, "node-c1", A)
    none(node.advance(31.0 + LIMIT_S + GRACE_S - 0.1), d.Reply)
    only(node.advance(31.0 + LIMIT_S + GRACE_S), d.Reply)


def test_what_a_container_says_after_it_was_given_up_changes_nothing() -> None:
    node = CheckedNode()
    node.serve(0.0, "node-c1", "a1", A)
    node.call(100.0, "a2", A)
    only(node.advance(175.0), d.Reply)
    none(node.ran(175.1, "node-c1", "a2"), d.Reply)
    node.tell(e.ContainerGone(180.0, "node-c1"))
    assert node.node.books.pool.ledger.committed_bytes == 0
    assert node.serve(200.0, "node-c2", "a3", A).failure is None


def test_calls_that_waited_for_it_go_elsewhere() -> None:
    node = CheckedNode(512, templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(100.0, "a2", A)
    none(node.call(101.0, "b1", B), d.Run, d.StartContainer)
    only(node.advance(175.0), d.Reply)
    assert only(node.tell(e.ContainerGone(180.0, "node-c1")), d.StartContainer).container == "node-c2"


def test_a_pre_load_that_nobody_hears_of_again_does_not_stop_pre_loading_for_ever() -> None:
    plan = Scripted()
    node = CheckedNode(preloader=plan, templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    plan.next = SuggestLoad("node-c1", B, MIB, 1.0, (), "a test")
    only(node.tell(e.FunctionRegistered(6.0, node.node.books.functions[B].function)), d.Load)
    none(node.advance(6.0 + LIMIT_S + GRACE_S - 0.1), d.StopContainer)
    assert only(node.advance(6.0 + LIMIT_S + GRACE_S), d.StopContainer).container == "node-c1"
    node.tell(e.ContainerGone(90.0, "node-c1"))
    assert node.node.books.pool.loading == 0


def test_a_template_may_take_longer_since_it_may_be_made_anew() -> None:
    plan = Scripted()
    node = CheckedNode(preloader=plan)
    node.serve(0.0, "node-c1", "a1", A)
    plan.next = SuggestLoad("node-c1", template_key("t", "env"), MIB, 1.0, (), "a test")
    node.node.books.opportunity = True
    only(node.tell(e.TimerFired(6.0)), d.Load)
    none(node.advance(6.0 + TEMPLATE_LIMIT_S + GRACE_S - 0.1), d.StopContainer)
    only(node.advance(6.0 + TEMPLATE_LIMIT_S + GRACE_S), d.StopContainer)


def test_an_end_that_is_never_reported_keeps_no_memory_for_ever() -> None:
    plan = Scripted()
    node = CheckedNode(preloader=plan, templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    plan.next = SuggestOffload("node-c1", A, "a test")  # type: ignore[assignment]
    node.node.books.opportunity = True
    only(node.tell(e.TimerFired(6.0)), d.Offload)
    none(node.advance(6.0 + GRACE_S - 0.1), d.StopContainer)
    only(node.advance(6.0 + GRACE_S), d.StopContainer)


def test_memory_of_neighbours_may_follow_a_run_that_is_over() -> None:
    """The run waits until they cannot run any more, not until their memory is free."""
    plan = Scripted()
    node = CheckedNode(preloader=plan, templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    plan.next = SuggestLoad("node-c1", B, MIB, 1.0, (), "a test")
    node.node.books.opportunity = True
    only(node.tell(e.TimerFired(6.0)), d.Load)
    node.loaded(7.0, "node-c1", B)
    assert only(node.call(8.0, "b1", B), d.Run).ends == (A,)
    reply = only(node.ran(8.1, "node-c1", "b1"), d.Reply)
    assert reply.phases.handoff == pytest.approx(0.0)
    assert node.node.books.pool.freeing_in(node.node.books.pool.containers["node-c1"]) > 0
    node.gone(8.2, "node-c1", A)
    assert node.node.books.pool.freeing_in(node.node.books.pool.containers["node-c1"]) == 0
