"""Containers that are created ahead of calls, where the keep-alive policy spends memory that nobody uses."""

from __future__ import annotations

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Failure, FailureKind, Profile, StartKind, function_template_key
from instainfer.core.ports import KeepAlive
from instainfer.policy.keepalive.by_namespace import ByNamespace
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.preload.opportunistic import Opportunistic

LARGE_MIB = 400
"""Of two such functions, each needs a container of its own."""


def new_node(budget_mib: int, keepalive: KeepAlive | None = None, **settings: object) -> CheckedNode:
    """A node that knows no function yet."""
    policies = {"keepalive": keepalive or Objective(), "preloader": Opportunistic()}
    return CheckedNode(budget_mib, keys=(), max_loads=2, **policies, **settings)  # type: ignore[arg-type]


def register(node: CheckedNode, at: float, key: str, calls: tuple[float, ...] = ()) -> list[d.Decision]:
    return node.tell(e.FunctionRegistered(at, function(key, estimate_mib=LARGE_MIB), None, None, calls))


def owners(node: CheckedNode, decisions: list[d.Decision]) -> list[str | None]:
    """The functions that containers are created for."""
    containers = node.node.books.pool.containers
    return [containers[each.container].owner for each in decisions if isinstance(each, d.StartContainer)]


def test_a_container_is_created_ahead_and_the_first_call_finds_its_function_there() -> None:
    node = new_node(1024)
    start = only(register(node, 0.0, A), d.StartContainer)
    assert (start.namespace, start.limit_bytes) == ("t", 512 * MIB)
    load = only(node.started(0.5, start.container), d.Load)
    assert (load.container, load.function) == (start.container, A)
    node.loaded(2.0, start.container, A)
    run = only(node.call(60.0, "a1", A), d.Run)
    assert (run.container, run.start_kind) == (start.container, StartKind.PRELOADED)


def test_they_are_created_one_at_a_time_as_long_as_there_is_memory() -> None:
    node = new_node(1024)
    assert owners(node, register(node, 0.0, A)) == [A]
    assert owners(node, [*register(node, 0.1, B), *register(node, 0.2, C), *node.advance(0.4)]) == []
    assert owners(node, node.started(0.5, "node-c1")) == [B]
    assert owners(node, [*node.started(1.0, "node-c2"), *node.loaded(2.0, "node-c1", A, mib=LARGE_MIB)]) == []
    assert owners(node, [*node.loaded(2.5, "node-c2", B, mib=LARGE_MIB), *node.advance(600.0)]) == []
    assert {c.owner for c in node.node.books.pool.containers.values()} == {A, B}


def test_what_has_room_in_a_container_gets_no_other() -> None:
    node = new_node(2048)
    register(node, 0.0, A)
    node.started(0.5, "node-c1")
    node.loaded(2.0, "node-c1", A, mib=100)
    load = only(node.tell(e.FunctionRegistered(3.0, function(B))), d.Load)
    assert (load.container, load.function) == ("node-c1", B)
    none(node.loaded(5.0, "node-c1", B), d.StartContainer)
    none(node.advance(600.0), d.StartContainer)


def test_none_is_created_for_a_function_that_is_larger_than_what_is_free() -> None:
    node = new_node(1000)
    register(node, 0.0, A)
    node.started(0.5, "node-c1")
    node.loaded(2.0, "node-c1", A, mib=LARGE_MIB)
    assert owners(node, [*register(node, 3.0, B), *node.advance(600.0)]) == []
    small = e.FunctionRegistered(601.0, function(C, memory_mib=450, estimate_mib=450))
    assert owners(node, node.tell(small)) == [C]


@pytest.mark.parametrize("keepalive", [Fixed(), Objective(0.001)], ids=["fixed", "memory has a price"])
def test_none_is_created_where_keep_alive_does_not_spend_memory(keepalive: KeepAlive) -> None:
    node = new_node(4096, keepalive)
    decisions = [*register(node, 0.0, A), *register(node, 0.1, B, calls=(-20.0, -10.0)), *node.advance(100.0)]
    none(decisions, d.StartContainer)
    node.serve(100.0, "node-c1", "a1", A)
    none(node.advance(160.0), d.StartContainer)


def test_each_namespace_has_its_own_way() -> None:
    node = new_node(4096, ByNamespace(Fixed(), {"u": Objective()}))
    assert owners(node, register(node, 0.0, A)) == []
    assert owners(node, register(node, 0.1, "u/a@1")) == ["u/a@1"]


def test_none_is_created_while_a_call_waits() -> None:
    """Here it waits for a running call, and memory is free."""
    node = new_node(4096)
    known = Profile(
        loads=1, library_s=5.0, resident_bytes=LARGE_MIB * MIB, models=1, model_s=5.0, runs=1, compute_s=0.1
    )
    node.tell(e.FunctionRegistered(0.0, function(A, estimate_mib=LARGE_MIB), known))
    node.started(0.5, "node-c1")
    node.loaded(2.0, "node-c1", A, mib=LARGE_MIB)
    only(node.call(10.0, "a1", A), d.Run)
    none(node.call(10.01, "a2", A), d.Run, d.StartContainer)
    none(register(node, 10.02, B), d.StartContainer)
    decisions = node.ran(10.1, "node-c1", "a1", mib=LARGE_MIB)
    assert only(decisions, d.Run).activation == "a2"
    assert owners(node, decisions) == [B]


def test_a_call_takes_the_container_that_is_being_created_ahead_for_its_function() -> None:
    node = new_node(4096)
    start = only(register(node, 0.0, A), d.StartContainer)
    none(node.call(0.3, "a1", A), d.StartContainer)
    run = only(node.started(0.5, start.container), d.Run)
    assert (run.activation, run.start_kind) == ("a1", StartKind.PREWARMED)


def test_one_that_was_created_ahead_gives_way_to_a_call() -> None:
    node = new_node(512)
    register(node, 0.0, A)
    node.started(0.5, "node-c1")
    node.loaded(2.0, "node-c1", A, mib=LARGE_MIB)
    register(node, 3.0, "u/a@1")
    assert only(node.call(60.0, "u1", "u/a@1"), d.StopContainer).container == "node-c1"
    only(node.tell(e.ContainerGone(60.1, "node-c1")), d.StartContainer)


def test_one_that_could_not_be_created_is_not_tried_again_and_again() -> None:
    node = new_node(4096)
    register(node, 0.0, A)
    failure = Failure(FailureKind.CONTAINER_START_FAILED, "no such file: python")
    begun = []
    for second in range(1, 60):
        for id_ in list(node.node.books.pool.containers):
            begun += owners(node, node.tell(e.ContainerStartFailed(float(second), id_, failure)))
        begun += owners(node, node.advance(second + 0.5))
    assert len(begun) < 10


def test_past_calls_make_a_functions_template_ready_before_its_first_call_here() -> None:
    node = new_node(1024, function_templates=True)
    own = function_template_key(A)
    assert owners(node, register(node, 0.0, A, calls=(-300.0, -200.0, -100.0))) == [A]
    load = only(node.started(0.5, "node-c1"), d.Load)
    assert (load.container, load.function, load.proves) == ("node-c1", own, True)
    node.tell(e.LoadFinished(2.0, "node-c1", own, 1.0, 0.5, 100 * MIB))
    assert only(node.call(60.0, "a1", A), d.Run).start_kind is StartKind.FORKED


def test_without_past_calls_it_has_none_before_its_first_call() -> None:
    node = new_node(1024, function_templates=True)
    assert owners(node, register(node, 0.0, A)) == [A]
    assert only(node.started(0.5, "node-c1"), d.Load).function == A
    none([*node.loaded(2.0, "node-c1", A, mib=100), *node.advance(60.0)], d.Load)


def test_past_calls_say_when_a_function_is_due() -> None:
    """It is called once an hour. By the fourth minute after its last call, six in a hundred would have come."""
    node = new_node(1024)
    hourly = (-14_400.0, -10_800.0, -7200.0, -3600.0, 0.0)
    assert owners(node, register(node, 0.0, A, calls=hourly)) == []
    assert owners(node, node.advance(170.0)) == []
    assert owners(node, node.advance(240.0)) == [A]


def test_past_calls_of_a_function_that_is_known_are_no_news() -> None:
    node = new_node(1024)
    register(node, 0.0, A, calls=(-10.0,))
    register(node, 1.0, A, calls=(-30.0, -20.0, -10.0))
    assert list(node.node.books.functions[A].arrivals) == [-10.0]


def test_the_container_whose_contents_save_least_makes_room_for_a_larger_one() -> None:
    node = new_node(1536)
    for at, key in ((0.0, A), (10.0, B)):
        node.tell(e.FunctionRegistered(at, function(key, memory_mib=512, estimate_mib=LARGE_MIB)))
        node.started(at + 0.5, f"node-c{1 if key == A else 2}")
        node.loaded(at + 2.0, f"node-c{1 if key == A else 2}", key, mib=LARGE_MIB)
    for n in range(8):
        node.call(20.0 + n, f"a{n}", A)
        node.ran(20.1 + n, "node-c1", f"a{n}", mib=LARGE_MIB)
    node.call(29.0, "b1", B)
    node.ran(29.1, "node-c2", "b1", mib=LARGE_MIB)
    node.tell(e.FunctionRegistered(30.0, function(C, memory_mib=1024, estimate_mib=LARGE_MIB)))
    stopped = only(node.call(30.5, "c1", C), d.StopContainer)
    assert stopped.container == "node-c2", "the other one is longer idle, but its function was called more often"
