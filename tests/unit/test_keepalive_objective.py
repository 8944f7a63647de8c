"""Keep-alive by the objective: what memory costs decides how long containers are kept."""

from __future__ import annotations

import math

import pytest
from support.nodes import A, B, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import GIB, MIB, Profile, StartKind, template_key
from instainfer.core.ports import KeptContainer, Preloader, Remembered, Use
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.objective import WINDOW, Objective
from instainfer.policy.preload.opportunistic import Opportunistic


def use(at: float, owner: str | None = A, *, size_bytes: int = 2 * GIB, cost_s: float = 2.0) -> Use:
    return Use(at, "c1", owner, owner is not None, size_bytes, cost_s)


def kept_until(
    price_s: float, calls: list[float], at: float, *, size_bytes: int = 2 * GIB, cost_s: float = 2.0
) -> float:
    policy = Objective(price_s)
    for call in calls:
        policy.called(A, call)
    return policy.idle(use(at, size_bytes=size_bytes, cost_s=cost_s)).expires_at


def test_the_worked_example() -> None:
    five_in_a_minute = [100.0, 115.0, 130.0, 145.0, 160.0]
    assert kept_until(0.001, five_in_a_minute, 161.0) == pytest.approx(100.0 + 5000.0)
    assert kept_until(0.001, [100.0], 101.0) == pytest.approx(100.0 + 1000.0)


def test_it_is_kept_the_longer_the_dearer_a_start_and_the_shorter_the_dearer_its_memory() -> None:
    assert kept_until(0.001, [0.0], 1.0, cost_s=4.0) == pytest.approx(2000.0)
    assert kept_until(0.001, [0.0], 1.0, size_bytes=4 * GIB) == pytest.approx(500.0)
    assert kept_until(0.002, [0.0], 1.0) == pytest.approx(500.0)


def test_only_the_latest_calls_count() -> None:
    long_ago = [float(n) for n in range(20)]
    lately = [5000.0 + n for n in range(WINDOW)]
    assert kept_until(0.001, [*long_ago, *lately], 5010.0) == pytest.approx(5000.0 + WINDOW * 1000.0)


def test_what_is_not_worth_its_memory_is_given_up_at_once_and_never_in_the_past() -> None:
    assert kept_until(0.001, [0.0], 5000.0) == 5000.0
    assert kept_until(0.001, [], 5000.0) == 5000.0
    policy = Objective(0.001)
    policy.called(A, 0.0)
    assert policy.idle(use(1.0, B)).expires_at == 1.0, "the calls of others do not count"
    assert policy.idle(use(1.0, None)).expires_at == 1.0


def test_memory_that_costs_nothing_is_kept_until_it_is_needed_and_may_be_spent() -> None:
    free, priced = Objective(), Objective(0.001)
    free.called(A, 0.0)
    for owner in (A, B, None):
        assert free.idle(use(1.0, owner)).expires_at == math.inf
    assert free.spends("t")
    assert not priced.spends("t")
    assert not Fixed(600.0).spends("t")


def test_no_container_is_kept_for_its_function_alone_or_created_again_by_itself() -> None:
    for policy in (Objective(), Objective(0.001)):
        policy.called(A, 0.0)
        idle = policy.idle(use(1.0))
        assert (idle.shared_at, idle.prewarm_at) == (math.inf, None)


def test_it_forgets_functions_that_are_gone() -> None:
    policy = Objective(0.001)
    policy.called(A, 0.0)
    policy.called(B, 0.0)
    assert set(policy.remembered().functions) == {A, B}
    policy.forget(A)
    policy.forget("t/never-called@1")
    assert set(policy.remembered().functions) == {B}
    assert policy.idle(use(1.0)).expires_at == 1.0
    free = Objective()
    free.called(A, 0.0)
    assert (set(free.remembered().functions), free.remembered().containers) == (set(), Remembered().containers)


def test_the_longest_idle_is_given_up_first() -> None:
    idle = [KeptContainer("c2", "t", A, GIB), KeptContainer("c1", "t", None, GIB)]
    assert list(Objective().eviction_order(idle)) == idle


KNOWN = Profile(loads=1, library_s=1.0, resident_bytes=100 * MIB, models=1, model_s=0.5)


def node(price_s: float, budget_mib: int, *keys: str, preloader: Preloader | None = None) -> CheckedNode:
    return CheckedNode(
        budget_mib, keys=keys, keepalive=Objective(price_s), preloader=preloader, profile=KNOWN, templates=False
    )


def test_on_a_node_free_memory_is_never_given_back() -> None:
    kept = node(0.0, 1024, A)
    kept.serve(0.0, "node-c1", "a1", A)
    none(kept.advance(1e6), d.StopContainer)
    assert only(kept.call(1e6, "a2", A), d.Run).start_kind is StartKind.WARM


def test_on_a_node_memory_with_a_price_is_given_back_when_it_has_not_paid() -> None:
    kept = node(0.1, 1024, A)
    kept.serve(0.0, "node-c1", "a1", A)
    none(kept.advance(5.0), d.StopContainer)
    assert only(kept.advance(60.0), d.StopContainer).container == "node-c1"


def test_on_a_node_containers_are_created_ahead_of_calls_only_where_free_memory_costs_nothing() -> None:
    saves = node(0.1, 1024, preloader=Opportunistic())
    none(saves.tell(e.FunctionRegistered(0.0, function(A), KNOWN)), d.StartContainer)
    spends = node(0.0, 1024, preloader=Opportunistic())
    created = only(spends.tell(e.FunctionRegistered(0.0, function(A), KNOWN)), d.StartContainer)
    assert (created.container, created.limit_bytes) == ("node-c1", 512 * MIB)
    assert only(spends.started(0.4, "node-c1"), d.Load).function == A
    none(spends.loaded(1.9, "node-c1", A), d.StartContainer)
    run = only(spends.call(10.0, "a1", A), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.PRELOADED)


def test_on_a_node_no_more_containers_are_created_than_there_is_memory_for() -> None:
    keys = [f"t/f{n}@1" for n in range(5)]
    spends = node(0.0, 1024, *keys, preloader=Opportunistic())
    for n, at in ((1, 1.0), (2, 10.0)):
        assert len(spends.node.books.pool.containers) == n, "one at a time"
        load = only(spends.started(at, f"node-c{n}"), d.Load)
        spends.loaded(at + 1.5, f"node-c{n}", load.function, mib=500)
    assert (len(spends.node.books.pool.containers), spends.node.books.pool.ledger.free_bytes) == (2, 0)
    none(spends.advance(1000.0), d.StartContainer, d.StopContainer)


def test_containers_are_not_created_again_and_again_for_what_fits_in_none_of_them() -> None:
    """With the library template that it shares its memory with, a function template is larger than a container of its
    function."""
    spends = CheckedNode(8 * 512, keys=(A,), keepalive=Objective(), preloader=Opportunistic(), function_templates=True)
    books = spends.node.books
    library = template_key("t", "env")
    books.functions.templates[library].profile = Profile(loads=1, library_s=1.0, resident_bytes=300 * MIB)
    only(spends.started(1.0, "node-c1"), d.Load)
    spends.call(2.0, "a1", A)
    pending = [*spends.loaded(3.0, "node-c1", A, mib=300), *spends.ran(4.0, "node-c1", "a1", mib=300)]
    at = 4.0
    while pending and at < 100.0:
        at += 1.0
        each = pending.pop(0)
        if isinstance(each, d.StartContainer):
            pending += spends.started(at, each.container)
        elif isinstance(each, d.Load):
            pending += spends.loaded(at, each.container, each.function, mib=300)
    assert len(books.pool.containers) <= 3
