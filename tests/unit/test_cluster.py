"""Admission and routing, as plain events and decisions."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instainfer.core.cluster import (
    ClusterDecision,
    ClusterEvent,
    ClusterState,
    Dispatch,
    DrainAsked,
    Limits,
    Lost,
    NodeJoined,
    NodeLeft,
    NodeLost,
    NodeView,
    RefusalKind,
    Refuse,
    RequestArrived,
    RequestFinished,
    Route,
)
from instainfer.core.errors import IllegalEvent
from instainfer.policy.routing.home import HomeRouting

AMPLE = Limits(concurrent=1000, per_minute=1000)


class Fixed:
    """Routes to the node it is told."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.seen: Sequence[NodeView] = ()

    def route(self, namespace: str, function: str, nodes: Sequence[NodeView]) -> Route:
        self.seen = nodes
        return Route(self.node, "told to")


def cluster(limits: Limits = AMPLE, *nodes: str) -> ClusterState:
    state = ClusterState(limits, HomeRouting())
    for node in nodes:
        assert state.handle(NodeJoined(0.0, node)) == []
    return state


def ask(state: ClusterState, activation: str, at: float = 0.0, namespace: str = "guest") -> ClusterDecision:
    (decision,) = state.handle(RequestArrived(at, activation, namespace, f"{namespace}/f@0.0.1"))
    state.check()
    return decision


def test_a_request_goes_to_the_only_node() -> None:
    assert ask(cluster(AMPLE, "n1"), "a") == Dispatch("a", "n1", "home")


def test_without_a_node_it_is_refused_and_the_caller_may_try_again() -> None:
    decision = ask(cluster(), "a")
    assert isinstance(decision, Refuse)
    assert decision.kind is RefusalKind.NO_NODE
    assert not decision.kind.is_throttle


def test_too_many_at_once_are_refused_until_one_has_finished() -> None:
    state = cluster(Limits(concurrent=2, per_minute=100), "n1")
    ask(state, "a")
    ask(state, "b")
    refused = ask(state, "c")
    text = "Too many concurrent requests in flight (count: 2, allowed: 2)."
    assert refused == Refuse("c", RefusalKind.CONCURRENCY, text)
    state.handle(RequestFinished(1.0, "a"))
    assert isinstance(ask(state, "d", at=1.0), Dispatch)


def test_too_many_in_a_minute_are_refused_until_the_next_minute_begins() -> None:
    state = cluster(Limits(concurrent=100, per_minute=2), "n1")
    ask(state, "a", at=58.0)
    ask(state, "b", at=59.0)
    refused = ask(state, "c", at=59.5)
    text = "Too many requests in the last minute (count: 3, allowed: 2)."
    assert refused == Refuse("c", RefusalKind.RATE, text)
    assert isinstance(ask(state, "d", at=60.0), Dispatch)


def test_namespaces_have_limits_of_their_own() -> None:
    state = cluster(Limits(concurrent=1, per_minute=100), "n1")
    ask(state, "a", namespace="one")
    assert isinstance(ask(state, "b", namespace="one"), Refuse)
    assert isinstance(ask(state, "c", namespace="two"), Dispatch)


def test_a_node_that_left_gets_nothing_and_finishes_what_it_had() -> None:
    state = cluster(AMPLE, "n1", "n2")
    first = ask(state, "a")
    assert isinstance(first, Dispatch)
    state.handle(NodeLeft(1.0, first.node))
    second = ask(state, "b", at=1.0)
    assert isinstance(second, Dispatch)
    assert second.node != first.node
    assert second.reason == f"home {first.node} is away"
    state.handle(RequestFinished(2.0, "a"))
    state.check()
    state.handle(NodeJoined(3.0, first.node))
    assert ask(state, "c", at=3.0) == Dispatch("c", first.node, "home")


def test_a_routing_sees_slots_in_joining_order_with_their_load() -> None:
    routing = Fixed("n2")
    state = ClusterState(AMPLE, routing)
    for node in ("n2", "n1"):
        state.handle(NodeJoined(0.0, node))
    ask(state, "a")
    ask(state, "b")
    assert routing.seen == (NodeView("n2", True, 1), NodeView("n1", True, 0))


def test_after_draining_was_asked_nothing_is_admitted_and_the_rest_finishes() -> None:
    state = cluster(AMPLE, "n1")
    ask(state, "a")
    state.handle(DrainAsked(1.0))
    refused = ask(state, "b", at=1.0)
    assert isinstance(refused, Refuse)
    assert refused.kind is RefusalKind.DRAINING
    state.handle(RequestFinished(2.0, "a"))
    assert state.in_flight == 0


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(RequestFinished(1.0, "nobody"), id="finished but never dispatched"),
        pytest.param(RequestArrived(1.0, "a", "guest", "guest/f@1"), id="arrived twice"),
        pytest.param(NodeJoined(1.0, "n1"), id="joined twice"),
        pytest.param(NodeLeft(1.0, "n9"), id="left but never there"),
        pytest.param(DrainAsked(0.5), id="time goes backwards"),
    ],
)
def test_what_cannot_have_happened_raises_with_the_story_and_changes_nothing(event: ClusterEvent) -> None:
    state = cluster(AMPLE, "n1")
    state.handle(RequestArrived(1.0, "a", "guest", "guest/f@1"))
    before = state.nodes()
    with pytest.raises(IllegalEvent, match="Dispatch"):
        state.handle(event)
    assert state.nodes() == before
    assert not state.draining
    state.check()


def test_a_routing_that_fails_or_names_no_healthy_node_harms_no_call() -> None:
    class Broken:
        def route(self, namespace: str, function: str, nodes: Sequence[NodeView]) -> Route:
            raise RuntimeError("no idea")

    for routing, words in ((Fixed("n9"), "'n9'"), (Fixed("n3"), "is no healthy node"), (Broken(), "no idea")):
        state = ClusterState(Limits(concurrent=9, per_minute=9), routing)
        for node in ("n1", "n2", "n3"):
            state.handle(NodeJoined(0.0, node))
        state.handle(NodeLeft(0.0, "n3"))
        assert [ask(state, name) for name in "ab"] == [
            Dispatch("a", "n1", f"the quietest node, since the routing failed: {state.routing_failure}"),
            Dispatch("b", "n2", f"the quietest node, since the routing failed: {state.routing_failure}"),
        ]
        assert state.routing_failures == 2
        assert words in state.routing_failure
        state.check()


def test_what_was_in_flight_on_a_node_that_is_lost_counts_no_longer() -> None:
    state = ClusterState(Limits(concurrent=2, per_minute=9), Fixed("n1"))
    for node in ("n1", "n2"):
        state.handle(NodeJoined(0.0, node))
    for name in "ab":
        assert isinstance(ask(state, name), Dispatch)
    assert isinstance(ask(state, "c"), Refuse)
    assert state.handle(NodeLost(1.0, "n1")) == [Lost("a", "n1"), Lost("b", "n1")]
    state.check()
    assert state.in_flight == 0
    assert isinstance(ask(state, "d", at=1.0), Dispatch)
    with pytest.raises(IllegalEvent, match="not in flight"):
        state.handle(RequestFinished(2.0, "a"))


def test_a_node_that_left_may_be_lost_with_what_it_still_had() -> None:
    state = ClusterState(Limits(concurrent=2, per_minute=9), Fixed("n1"))
    state.handle(NodeJoined(0.0, "n1"))
    ask(state, "a")
    state.handle(NodeLeft(1.0, "n1"))
    assert state.handle(NodeLost(2.0, "n1")) == [Lost("a", "n1")]
    with pytest.raises(IllegalEvent, match="is not there"):
        state.handle(NodeLost(3.0, "n1"))
    state.handle(NodeJoined(4.0, "n1"))


NAMESPACES = ("one", "two")
NODES = ("n1", "n2", "n3")


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(NAMESPACES), st.integers(0, 2), st.floats(0, 40))))
def test_every_request_gets_one_decision_and_the_books_stay_right(steps: list[tuple[int, str, int, float]]) -> None:
    limits = Limits(concurrent=3, per_minute=8)
    state = ClusterState(limits, HomeRouting())
    healthy: set[str] = set()
    running: list[tuple[str, str]] = []
    at = 0.0
    for number, (step, namespace, node_number, pause) in enumerate(steps):
        at += pause
        node = NODES[node_number]
        if step == 0 and node not in healthy:
            state.handle(NodeJoined(at, node))
            healthy.add(node)
        elif step == 1 and node in healthy:
            state.handle(NodeLeft(at, node))
            healthy.remove(node)
        elif step == 2 and running:
            state.handle(RequestFinished(at, running.pop(0)[0]))
        else:
            (decision,) = state.handle(RequestArrived(at, f"a{number}", namespace, f"{namespace}/f@1"))
            own = [name for _, name in running].count(namespace)
            if isinstance(decision, Dispatch):
                assert decision.node in healthy
                assert own < limits.concurrent
                running.append((f"a{number}", namespace))
            elif decision.kind is RefusalKind.CONCURRENCY:
                assert own == limits.concurrent
            elif decision.kind is RefusalKind.NO_NODE:
                assert not healthy
            else:
                assert decision.kind is RefusalKind.RATE
        state.check()
        assert state.in_flight == len(running)
