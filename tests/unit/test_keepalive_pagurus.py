"""The worked example of Pagurus, and which container becomes a zygote."""

from __future__ import annotations

import math

import pytest
from support.nodes import A, B, CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core.model import MIB, ContainerId, FunctionKey, StartKind
from instainfer.core.ports import Idle, KeptContainer, Use
from instainfer.policy.keepalive.pagurus import LEAST_ARRIVALS, SHORTEST_S, Pagurus

NOON = 43_200.0


def use(at: float, container: ContainerId = "c1", owner: FunctionKey | None = A) -> Use:
    return Use(at, container, owner, True, 256 * MIB, 1.0)


def gone(container: ContainerId, owner: FunctionKey | None = A) -> KeptContainer:
    return KeptContainer(container, "t", owner, 256 * MIB)


def test_the_worked_example() -> None:
    policy = Pagurus()
    policy.called(A, NOON - 1.0)
    assert policy.idle(use(NOON)) == Idle(NOON + 960.0, shared_at=NOON + 60.0)
    policy.called(B, NOON + 300.0)
    assert policy.idle(use(NOON + 302.0, owner=B)) == Idle(NOON + 302.0 + 900.0)
    for n in range(21):
        policy.called(A, NOON + 3600.0 + 30.0 * n)
    assert policy.idle(use(NOON + 4202.0, "c2")).shared_at == NOON + 4202.0 + 60.0
    policy.called(A, NOON + 4500.0)
    assert policy.idle(use(NOON + 4502.0, "c2")) == Idle(NOON + 4502.0 + 930.0, shared_at=NOON + 4502.0 + 30.0)


@pytest.mark.parametrize(
    ("gaps_s", "zygote_s"),
    [
        ([30.0] * (LEAST_ARRIVALS - 2), 60.0),
        ([20.0] * 19 + [200.0], 20.0),
        ([20.0] * 18 + [200.0] * 2, 200.0),
        ([0.1] * 50, SHORTEST_S),
    ],
    ids=["too few calls", "the 19th of 20", "the 19th is one of two long ones", "no oftener than it is looked at"],
)
def test_the_time_until_a_zygote_is_learned_from_a_period(gaps_s: list[float], zygote_s: float) -> None:
    policy = Pagurus()
    at = 0.0
    policy.called(A, at)
    for gap_s in gaps_s:
        at += gap_s
        policy.called(A, at)
    assert at < 900.0
    policy.called(A, 1000.0)
    assert policy.idle(use(1001.0)).shared_at == pytest.approx(1001.0 + zygote_s)


def test_what_was_learned_stays_through_periods_with_few_calls() -> None:
    policy = Pagurus()
    for n in range(21):
        policy.called(A, 10.0 * n)
    for at in (1000.0, 2000.0, 3000.0):
        policy.called(A, at)
    assert policy.idle(use(3001.0)).shared_at == 3011.0


def test_a_function_has_one_zygote_at_a_time() -> None:
    policy = Pagurus()
    assert policy.idle(use(0.0, "c1")).shared_at == 60.0
    assert policy.idle(use(1.0, "c2")) == Idle(901.0)
    assert policy.idle(use(2.0, "c1")).shared_at == 62.0
    policy.ended(gone("c1"))
    assert policy.idle(use(3.0, "c2")).shared_at == 63.0


def test_when_the_zygote_helps_another_function_there_can_be_a_new_one() -> None:
    policy = Pagurus()
    policy.idle(use(0.0, "c1"))
    policy.idle(use(70.0, "c1", owner=B))
    assert policy.idle(use(80.0, "c2")).shared_at == 140.0


def test_a_zygote_that_its_own_function_takes_is_its_own_again() -> None:
    policy = Pagurus()
    policy.idle(use(0.0, "c1"))
    assert policy.idle(use(100.0, "c1")) == Idle(100.0 + 960.0, shared_at=160.0)


def test_a_container_taken_over_for_lack_of_memory_is_the_new_functions_own() -> None:
    policy = Pagurus()
    policy.idle(use(0.0, "c1"))
    policy.evicted(gone("c1"))
    assert policy.idle(use(10.0, "c1", owner=B)).shared_at == 70.0
    assert policy.idle(use(20.0, "c2")).shared_at == 80.0


def test_a_function_called_less_often_than_containers_live_has_no_zygote() -> None:
    assert Pagurus(zygote_s=900.0).idle(use(0.0)) == Idle(900.0, shared_at=math.inf)


def test_on_a_node_an_idle_container_helps_another_function_and_then_lives_its_time() -> None:
    node = CheckedNode(2048, templates=False, keepalive=Pagurus())
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.advance(62.0), d.Offload).function == A
    node.gone(62.1, "node-c1", A)
    run = only(node.call(100.0, "b1", B), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.PREWARMED), "though there is memory for a new one"
    node.loaded(101.0, "node-c1", B)
    node.ran(102.0, "node-c1", "b1")
    none(node.advance(1001.0), d.StopContainer, d.Offload)
    assert only(node.advance(1002.0), d.StopContainer).container == "node-c1"
