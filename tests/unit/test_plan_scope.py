"""What the next plan looks at, on a node that is too large for looking at everything every time."""

from __future__ import annotations

from support.nodes import CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Profile
from instainfer.core.plan_scope import SMALL_NODE, PlanScope
from instainfer.core.ports import NodeView, PreloadPlan
from instainfer.core.registry import CANDIDATES
from instainfer.core.views import container_view
from instainfer.policy.preload.opportunistic import Opportunistic

MANY = tuple(f"t/f{n}@1" for n in range(SMALL_NODE[1] + 1))


def large(keys: tuple[str, ...] = MANY, budget_mib: int = 2048) -> CheckedNode:
    known = Profile(loads=1, library_s=1.0, resident_bytes=300 * MIB, models=1, model_s=0.5)
    return CheckedNode(budget_mib, keys=keys, preloader=Opportunistic(), profile=known, templates=False)


def view(*, thorough: bool) -> NodeView:
    return NodeView(1.0, (), (), {}, {}, 1, thorough=thorough)


def test_it_looks_at_everything_again_after_a_look_that_found_nothing_to_do() -> None:
    """Else everything would be looked at never again: whoever is missed later has to set it off."""
    keys = MANY[:2]
    node = large((*keys, *(f"u/f{n}@1" for n in range(SMALL_NODE[1]))))
    node.serve(0.0, "node-c1", "a1", keys[0])
    scope = node.node.books.plan_scope
    scope.thorough_at = None
    node.call(30.0, "b1", keys[1])
    node.gone(30.01, "node-c1", keys[0])
    node.loaded(31.5, "node-c1", keys[1], mib=300)
    node.ran(31.6, "node-c1", "b1", mib=300)
    assert scope.thorough_at == 41.6


def test_an_empty_container_that_falls_idle_is_looked_at() -> None:
    node = large()
    node.serve(0.0, "node-c1", "a1", MANY[0])
    node.loaded(3.0, "node-c1", "t/f10@1", mib=300)  # what was loaded since memory was idle
    books = node.node.books
    books.prewarm_at[MANY[1]] = 9.0
    books.timers.arm(9.0, f"prewarm {MANY[1]}")
    only(node.tell(e.TimerFired(9.0)), d.StartContainer)
    books.plan_scope.thorough_at, books.plan_scope.waiting = None, MANY[2:3]
    load = only(node.started(9.4, "node-c2"), d.Load)
    assert (load.container, load.function) == ("node-c2", MANY[2])


def test_whose_place_has_to_become_free_first_is_the_first_to_be_tried_then() -> None:
    scope = PlanScope(waiting=("old",))
    scope.note_plan(view(thorough=True), PreloadPlan(waiting=("b", "c"), wake_at=9.0), ["a"])
    assert (scope.waiting, scope.thorough_at) == (("a", "b", "c"), 9.0)
    scope.note_plan(view(thorough=False), PreloadPlan(waiting=("c",), wake_at=12.0), ["b"])
    assert (scope.waiting, scope.thorough_at) == (("b", "c"), 9.0)


def test_a_load_follows_when_those_it_displaces_are_gone() -> None:
    """On a large node the next look is at what has changed: the newcomer must not be forgotten meanwhile."""
    rare, busy = MANY[:2]
    node = large(budget_mib=512)
    node.call(0.0, "r0", rare)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", rare, mib=300)
    node.ran(2.0, "node-c1", "r0", mib=300)
    only(node.call(300.0, "b0", busy), d.Run)
    node.gone(300.01, "node-c1", rare)
    node.loaded(301.5, "node-c1", busy, mib=300)
    node.ran(301.6, "node-c1", "b0", mib=300)
    for at in (302.0, 302.5, 303.0, 303.5):
        only(node.call(at, f"b{at}", busy), d.Run)
        node.ran(at + 0.1, "node-c1", f"b{at}", mib=300)
    only(node.call(304.0, "r1", rare), d.Run)
    node.gone(304.01, "node-c1", busy)
    node.loaded(305.5, "node-c1", rare, mib=300)
    displaced = node.ran(305.6, "node-c1", "r1", mib=300)
    assert only(displaced, d.Offload).function == rare
    none(displaced, d.Load)
    assert only(node.gone(305.7, "node-c1", rare), d.Load).function == busy


def test_what_has_fallen_due_is_seen_by_a_thorough_look_though_it_was_called_long_ago() -> None:
    """A rare periodic function is never among those that were called latest."""
    keys = tuple(f"t/f{n}@1" for n in range(CANDIDATES + 10))
    node = large(keys)
    books = node.node.books
    for n, key in enumerate(keys):
        books.functions.called(key, float(n))
        books.functions[key].concurrency.answered()
    books.at = 100.0
    books.pool.new_candidates = {keys[0]: None}
    seen = books.plan_scope.next_view(books.functions, books.pool, 100.0, 1)
    assert seen.thorough
    assert keys[0] in {function.key for function in seen.absent}
    assert keys[1] not in {function.key for function in seen.absent}
    assert books.pool.new_candidates == {}


def test_a_container_that_is_kept_for_nobody_any_longer_is_seen_so() -> None:
    node = large()
    node.serve(0.0, "node-c1", "a1", MANY[0])
    books = node.node.books
    container = books.pool.containers["node-c1"]
    assert container_view(container, books.pool).owner == MANY[0]
    books.pool.disown(container)
    assert container_view(container, books.pool).owner is None
    assert "node-c1" in books.pool.changed
