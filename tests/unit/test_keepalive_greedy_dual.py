"""The worked example of FaasCache, and whose calls count."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import GIB, ContainerId, FunctionKey
from instainfer.core.ports import Idle, KeptContainer, Use
from instainfer.policy.keepalive.greedy_dual import GreedyDual


def container(name: ContainerId, owner: FunctionKey | None, size_gib: float) -> KeptContainer:
    return KeptContainer(name, "t", owner, int(size_gib * GIB))


def used(policy: GreedyDual, of: KeptContainer, cost_s: float, times: int = 1, *, after_call: bool = True) -> Idle:
    idle = Idle(0.0)
    for _ in range(times):
        idle = policy.idle(Use(0.0, of.id, of.owner, after_call, of.limit_bytes, cost_s))
    return idle


def test_the_worked_example() -> None:
    policy = GreedyDual()
    a, b, c = container("a", A, 0.5), container("b", B, 1.0), container("c", C, 0.5)
    used(policy, a, 2.0, times=3)
    used(policy, b, 5.0)
    assert (policy.priority(a), policy.priority(b)) == (12.0, 5.0)
    assert policy.eviction_order([a, b]) == [b, a]
    policy.evicted(b)
    assert policy.clock == 5.0
    used(policy, c, 1.0)
    assert policy.priority(c) == 7.0
    assert policy.eviction_order([a, c]) == [c, a]
    policy.evicted(c)
    assert policy.clock == 7.0
    again = container("b2", B, 1.0)
    used(policy, again, 5.0)
    assert policy.priority(again) == policy.priority(a) == 12.0
    assert policy.eviction_order([a, again]) == [a, again]


def test_nothing_expires() -> None:
    assert used(GreedyDual(), container("a", A, 1.0), 1.0) == Idle(math.inf)


def test_the_calls_of_all_live_containers_of_a_function_count() -> None:
    policy = GreedyDual()
    first, second = container("a1", A, 1.0), container("a2", A, 1.0)
    used(policy, first, 1.0, times=3)
    used(policy, second, 1.0, times=2)
    assert policy.priority(first) == policy.priority(second) == 5.0
    policy.ended(first)
    used(policy, second, 1.0)
    assert policy.priority(second) == 3.0


def test_a_pre_warmed_container_has_served_nobody() -> None:
    policy = GreedyDual()
    a = container("a", A, 1.0)
    used(policy, a, 1.0, after_call=False)
    assert policy.priority(a) == 0.0


def test_the_clock_never_goes_back() -> None:
    policy = GreedyDual()
    a, b = container("a", A, 1.0), container("b", B, 1.0)
    used(policy, a, 9.0)
    used(policy, b, 1.0)
    policy.evicted(a)
    policy.evicted(b)
    assert policy.clock == 9.0


def test_the_clock_counts_as_it_was_at_the_latest_use() -> None:
    policy = GreedyDual()
    a, b = container("a", A, 1.0), container("b", B, 1.0)
    used(policy, a, 1.0)
    used(policy, b, 4.0)
    policy.evicted(b)
    assert policy.priority(a) == 1.0
    used(policy, a, 1.0)
    assert policy.priority(a) == 4.0 + 2.0


def test_what_another_function_has_taken_over_counts_for_that_one_only() -> None:
    policy = GreedyDual()
    first, second = container("c1", A, 1.0), container("c2", A, 1.0)
    used(policy, first, 1.0, times=5)
    used(policy, second, 1.0)
    policy.evicted(first)
    first = replace(first, owner=B)
    used(policy, first, 1.0)
    used(policy, second, 1.0)
    assert policy.priority(first) == 6.0 + 1.0
    assert policy.priority(second) == 6.0 + 2.0


def test_what_nobody_owns_goes_first() -> None:
    policy = GreedyDual()
    a = container("a", A, 1.0)
    used(policy, a, 1.0)
    free = container("free", None, 1.0)
    assert policy.eviction_order([a, free]) == [free, a]


def test_on_a_node_the_least_worth_container_is_given_up_and_a_lost_one_counts_no_longer() -> None:
    policy = GreedyDual()
    node = CheckedNode(1024, templates=False, keepalive=policy)
    node.serve(0.0, "node-c1", "a1", A)
    for n, at in enumerate((10.0, 20.0)):
        node.call(at, f"a{n + 2}", A)
        node.ran(at + 0.1, "node-c1", f"a{n + 2}")
    node.serve(30.0, "node-c2", "b1", B)
    served_thrice = node.node.books.pool.containers["node-c1"]
    worth = policy.priority(served_thrice.as_kept())
    taken = only(node.call(50.0, "c1", C), d.Run)
    assert taken.container == "node-c2", "used once, though it was idle for less long"
    node.tell(e.ContainerGone(51.0, "node-c1"))
    node.serve(60.0, "node-c3", "a9", A)
    served_once = node.node.books.pool.containers["node-c3"]
    assert policy.priority(served_once.as_kept()) - policy.clock == pytest.approx(worth / 3, rel=0.1)
