"""What may be done with a call, what that costs, and that the cheapest is done (core.options, core.placement)."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from support.nodes import A, B, C, CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import (
    AWAIT,
    CREATE,
    MAKE_ROOM,
    MIB,
    TAKE,
    WAIT,
    Function,
    Option,
    Profile,
    StartKind,
)
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.options import options
from instainfer.core.ports import Cheapest, Policies
from instainfer.core.requests import Request
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.none import NoPreloading

MEASURED = Profile(loads=1, library_s=1.0, resident_bytes=100 * MIB, models=1, model_s=0.5, runs=1, compute_s=0.1)


def found(node: CheckedNode, key: str, *, ahead: int = 0, may_wait: bool = True) -> list[Option]:
    """The options of a new request now."""
    request = Request("x", key, node.node.books.at)
    return options(node.node.books, request, ahead=ahead, starved=None, may_wait=may_wait)


def test_a_first_call_costs_the_container_and_the_load() -> None:
    node = CheckedNode(profile=MEASURED)
    assert found(node, A) == [Option(CREATE, 0.5 + 1.5)]


def test_a_call_that_finds_its_function_in_its_own_container_has_nothing_to_choose() -> None:
    node = CheckedNode(profile=MEASURED)
    assert node.serve(0.0, "node-c1", "a1", A).options == (Option(CREATE, 2.0),)
    node.call(5.0, "a2", A)
    assert only(node.ran(5.1, "node-c1", "a2"), d.Reply).options == ()


def test_a_busy_container_of_the_function_costs_the_rest_of_its_call_and_the_calls_ahead() -> None:
    node = CheckedNode(512, profile=MEASURED)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    (wait,) = found(node, A, ahead=2)
    assert (wait.action, wait.container) == (WAIT, "node-c1")
    assert wait.start_s == pytest.approx(0.1 + 2 * 0.1)
    assert found(node, A, may_wait=False) == []


def test_a_container_that_is_being_created_ahead_costs_the_rest_of_its_creation() -> None:
    node = CheckedNode(profile=MEASURED)
    node.node.books.create(node.node.books.functions[A].function, None, "for the test")
    node.tell(e.TimerFired(0.2))
    awaits, creates = found(node, A)
    assert awaits == Option(AWAIT, 0.3 + 1.5, 0.0, "node-c1")
    assert creates.action is CREATE
    node.call(0.2, "a1", A)
    assert node.node.books.requests["a1"].options[0] == awaits


def test_others_containers_are_offered_only_where_there_is_no_memory_for_a_new_one() -> None:
    node = CheckedNode(1024, profile=MEASURED)
    node.serve(0.0, "node-c1", "a1", A)
    assert [option.action for option in found(node, B)] == [CREATE]
    node.serve(5.0, "node-c2", "b1", B)
    taken = found(node, C)
    assert {(option.action, option.container) for option in taken} == {(TAKE, "node-c1"), (TAKE, "node-c2")}
    assert {option.start_kind for option in taken} == {StartKind.PREWARMED}


def test_containers_that_are_too_small_are_stopped_and_the_option_names_them() -> None:
    node = CheckedNode(1024, profile=MEASURED)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(5.0, "node-c2", "b1", B)
    large = "t/large@1"
    node.tell(e.FunctionRegistered(8.0, Function(large, "t", "env", 1024 * MIB, 60.0, 150 * MIB), MEASURED))
    start_s = node.node.books.container_start_s + 1.5
    assert found(node, large) == [Option(MAKE_ROOM, start_s, 0.0, stops=("node-c1", "node-c2"))]
    assert found(node, large, may_wait=False) == []


def test_the_choice_comes_first_and_the_others_by_what_they_cost() -> None:
    node = CheckedNode(2048, profile=MEASURED)
    node.serve(0.0, "node-c1", "a1", A)
    node.call(5.0, "a2", A)
    none(node.call(5.05, "a3", A), d.StartContainer)
    waits = node.node.books.requests["a3"].options
    assert [option.action for option in waits] == [WAIT, CREATE]
    assert waits[0].cost_s < waits[1].cost_s


def test_containers_where_nothing_can_cost_less_are_not_looked_at() -> None:
    node = CheckedNode(1024, profile=MEASURED)
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(5.0, "node-c2", "b1", B)
    assert [option.start_kind for option in found(node, A)] == [StartKind.WARM]


class Broken(Cheapest):
    """Raises, or chooses what nobody offered."""

    def __init__(self, answer: Option | None) -> None:
        self.answer = answer

    def choose(self, options: Sequence[Option]) -> Option:
        if self.answer is None:
            raise RuntimeError("no idea")
        return self.answer


@pytest.mark.parametrize("answer", [None, Option(TAKE, 0.0, container="node-c9", start_kind=StartKind.WARM)])
def test_a_placement_policy_that_fails_harms_no_call(answer: Option | None) -> None:
    node = NodeState(NodeSettings(512 * MIB), Policies(Fixed(60.0), Poisson(), NoPreloading(), Broken(answer)))
    node.handle(e.FunctionRegistered(0.0, Function(A, "t", "env", 256 * MIB, 60.0, 100 * MIB)))
    only(node.handle(e.RequestArrived(1.0, "a1", A)), d.StartContainer)
    assert node.books.guard.failures["placement"].count == 1


class Contrary(Cheapest):
    def choose(self, options: Sequence[Option]) -> Option:
        return max(options, key=lambda option: option.cost_s)


def test_another_placement_policy_is_obeyed() -> None:
    node = NodeState(NodeSettings(2048 * MIB), Policies(Fixed(60.0), Poisson(), NoPreloading(), Contrary()))
    node.handle(e.FunctionRegistered(0.0, Function(A, "t", "env", 256 * MIB, 60.0, 100 * MIB), MEASURED))
    only(node.handle(e.RequestArrived(1.0, "a1", A)), d.StartContainer)
    none(node.handle(e.RequestArrived(1.0, "a2", A)), d.StartContainer)


def test_calls_at_once_share_a_load_where_processors_are_short() -> None:
    """On two processors six loads at once take three times as long as one, and six calls in a row do not."""
    node = CheckedNode(4096, profile=MEASURED, processors=2.0)
    decisions = [each for number in range(6) for each in node.call(0.0, f"a{number}", A)]
    created = [each for each in decisions if isinstance(each, d.StartContainer)]
    assert len(created) == 2
    assert [len(node.node.books.queue), node.node.books.starved] == [4, None]


def test_calls_at_once_get_more_containers_where_waiting_costs_more_than_a_start() -> None:
    slow = Profile(loads=1, library_s=0.2, resident_bytes=100 * MIB, models=1, model_s=0.1, runs=1, compute_s=1.0)
    node = CheckedNode(8 * 512, profile=slow, processors=4.0)
    decisions = [each for number in range(16) for each in node.call(0.0, f"a{number}", A)]
    assert len([each for each in decisions if isinstance(each, d.StartContainer)]) == 8


def test_who_waits_for_a_container_that_is_created_gets_it_when_its_call_has_ended() -> None:
    node = CheckedNode(4096, profile=MEASURED, processors=1.0)
    node.call(0.0, "a1", A)
    none(node.call(0.0, "a2", A), d.StartContainer)
    assert node.node.books.requests["a2"].options[0].container == "node-c1"
    node.started(0.5, "node-c1")
    node.loaded(2.0, "node-c1", A)
    assert only(node.ran(2.1, "node-c1", "a1"), d.Run).activation == "a2"


def test_who_waits_for_a_load_begins_no_other_however_long_it_takes() -> None:
    node = CheckedNode(4096, processors=1.0)
    node.call(0.0, "a1", A)
    none(node.call(0.0, "a2", A), d.StartContainer)
    node.started(0.5, "node-c1")
    none(node.advance(60.0), d.StartContainer)
    assert node.node.books.starved is None
    node.loaded(60.5, "node-c1", A)
    # From now on it waits for a run, and no longer than a start takes: what that run takes is not known.
    assert only(node.advance(600.0), d.StartContainer)


def test_who_waits_for_a_load_that_is_lost_begins_one_itself() -> None:
    node = CheckedNode(4096, processors=1.0)
    node.call(0.0, "a1", A)
    none(node.call(0.0, "a2", A), d.StartContainer)
    started = only(node.tell(e.ContainerGone(3.0, "node-c1")), d.StartContainer)
    assert node.node.books.pool.containers[started.container].running == "a2"
