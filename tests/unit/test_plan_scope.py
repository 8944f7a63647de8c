"""What the next plan looks at, on a node that is too large for looking at everything every time."""

from __future__ import annotations

from typing import Any

from support.nodes import CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Profile, function_template_key
from instainfer.core.plan_scope import MAX_CHANGED, MAX_NEW, MAX_OTHERS, MAX_WAITING, SMALL_NODE, PlanScope, Scope
from instainfer.core.ports import NodeView, Preloader, PreloadPlan
from instainfer.core.registry import CANDIDATES
from instainfer.core.views import container_view
from instainfer.policy.objective import Valued
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.policy.preload.published import Published

MANY = tuple(f"t/f{n}@1" for n in range(SMALL_NODE[1] + 1))


KNOWN = Profile(loads=1, library_s=1.0, resident_bytes=300 * MIB, models=1, model_s=0.5)


def large(
    keys: tuple[str, ...] = MANY, budget_mib: int = 2048, preloader: Preloader | None = None, **settings: Any
) -> CheckedNode:
    policy = preloader or Opportunistic()
    return CheckedNode(budget_mib, keys=keys, preloader=policy, profile=KNOWN, templates=False, **settings)


def scope(*, thorough: bool) -> Scope:
    return Scope((), (), (), (), thorough)


def look(node: CheckedNode) -> Scope:
    books = node.node.books
    return books.plan_scope.next(books.functions, books.pool, books.at)


def test_it_looks_at_everything_again_when_the_policy_asks_for_that() -> None:
    """A look that found nothing to do must not be the last one: whoever is missed later has to set it off."""
    keys = MANY[:2]
    others = tuple(f"u/f{n}@1" for n in range(SMALL_NODE[1]))
    node = large((*keys, *others), budget_mib=512, preloader=Published())
    node.serve(0.0, "node-c1", "a1", keys[0])
    plan_scope = node.node.books.plan_scope
    plan_scope.thorough_at = None
    node.call(30.0, "b1", keys[1])
    node.gone(30.01, "node-c1", keys[0])
    node.loaded(31.5, "node-c1", keys[1], mib=300)
    node.ran(31.6, "node-c1", "b1", mib=300)
    due_at = node.node.books.timers.plan_at
    assert due_at is not None
    assert due_at > 31.6
    assert not look(node).thorough
    node.node.books.at = due_at
    assert look(node).thorough


def test_it_looks_at_everything_once_functions_have_been_registered() -> None:
    node = large()
    node.serve(0.0, "node-c1", "a1", MANY[0])
    assert not look(node).thorough
    books = node.node.books
    assert books.plan_scope.thorough_at is None
    node.tell(e.FunctionRegistered(10.0, function("t/new@1"), KNOWN))
    books.plan_scope.thorough_at = 10.0  # as it was before the plan that follows
    seen = look(node)
    assert seen.thorough
    assert "t/new@1" in {each.key for each in seen.candidates}


def test_who_loses_its_resident_is_seen_by_the_next_look_though_nobody_asks_for_everything() -> None:
    node = large(budget_mib=512)
    node.serve(0.0, "node-c1", "a1", MANY[0])
    look(node)
    assert look(node).candidates == ()
    assert MANY[0] in only(node.call(30.0, "b1", MANY[1]), d.Run).ends
    node.gone(30.01, "node-c1", MANY[0])
    assert MANY[0] in {each.key for each in look(node).candidates}


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
    plan_scope = PlanScope(waiting=("old",))
    plan_scope.note_plan(scope(thorough=True), PreloadPlan(waiting=("b", "c"), wake_at=9.0), ["a"])
    assert (plan_scope.waiting, plan_scope.thorough_at) == (("a", "b", "c"), 9.0)
    plan_scope.note_plan(scope(thorough=False), PreloadPlan(waiting=("c",), wake_at=12.0), ["b"])
    assert (plan_scope.waiting, plan_scope.thorough_at) == (("b", "c"), 9.0)
    plan_scope.note_plan(scope(thorough=False), PreloadPlan(wake_at=8.0), [])
    assert (plan_scope.waiting, plan_scope.thorough_at) == ((), 8.0)
    plan_scope.note_plan(scope(thorough=True), PreloadPlan(), [])
    assert plan_scope.thorough_at is None


def test_who_has_waited_too_long_for_a_place_to_be_tried_keeps_its_turn() -> None:
    many = tuple(f"f{n}" for n in range(3 * MAX_WAITING))
    plan_scope = PlanScope(waiting=many)
    tried = many[:MAX_WAITING]
    plan_scope.note_plan(scope(thorough=False), PreloadPlan(waiting=tried[2:]), [])
    assert plan_scope.waiting == many[2:]
    for n in range(10):
        plan_scope.note_plan(scope(thorough=False), PreloadPlan(waiting=tuple(f"g{n}{m}" for m in range(8))), [])
    assert len(plan_scope.waiting) <= 4 * MAX_WAITING, "the others are found again when something happens to them"


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
    books.plan_scope.thorough_at = 100.0
    seen = look(node)
    assert seen.thorough
    assert keys[0] in {each.key for each in seen.candidates}
    assert keys[1] not in {each.key for each in seen.candidates}
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


def test_a_look_in_between_is_at_a_few_of_each_and_the_others_wait_for_the_next_one() -> None:
    keys = tuple(f"t/f{n}@1" for n in range(60))
    node = large(keys, budget_mib=30 * 512, max_loads=1)
    for n, key in enumerate(keys[:30]):
        node.call(0.0, f"x{n}", key)
    for n in range(30):
        node.started(1.0, f"node-c{n + 1}")
    for n, key in enumerate(keys[:30]):
        node.loaded(2.0, f"node-c{n + 1}", key, mib=300)
    for n in range(30):
        node.ran(3.0, f"node-c{n + 1}", f"x{n}", mib=300)
    books = node.node.books
    idle = list(books.pool.idle)
    assert len(idle) == 30
    books.plan_scope.thorough_at = None
    books.plan_scope.waiting = keys[50:]
    books.pool.changed = dict.fromkeys(reversed(idle))
    books.pool.new_candidates = dict.fromkeys(keys[:40])
    seen = look(node)
    assert not seen.thorough
    assert [each.id for each in seen.containers] == idle[::-1][:MAX_CHANGED]
    assert [each.key for each in seen.candidates] == list(keys[:MAX_NEW])
    assert [each.key for each in seen.waiting] == list(keys[50 : 50 + MAX_WAITING])
    assert [each.id for each in seen.others] == idle[:MAX_OTHERS]
    seen = look(node)
    assert [each.id for each in seen.containers] == idle[::-1][MAX_CHANGED : 2 * MAX_CHANGED]
    assert [each.key for each in seen.candidates] == list(keys[MAX_NEW:40])
    seen = look(node)
    assert (seen.candidates, seen.others) == ((), ()), "other places are only for new candidates"


def with_a_long_call() -> CheckedNode:
    """While a long call of another function runs, nothing is loaded ahead of calls."""
    node = large(function_templates=True, calls_beside=0, put_off_s=1000.0)
    node.call(0.0, "long", MANY[1])
    node.started(0.1, "node-c1")
    node.serve(1.0, "node-c2", "a1", MANY[0])
    return node


def test_who_may_get_a_function_template_is_a_candidate_though_it_is_resident() -> None:
    node = with_a_long_call()
    books, own = node.node.books, function_template_key(MANY[0])
    assert next(iter(books.functions.candidates(books.pool))) == MANY[0]
    books.plan_scope.thorough_at = 3.0
    assert {each.key: each.own_template for each in look(node).candidates}[MANY[0]] == own
    node.loaded(5.0, "node-c1", MANY[1], mib=300)
    assert only(node.ran(6.0, "node-c1", "long", mib=300), d.Load).function == own
    assert MANY[0] not in set(books.functions.candidates(books.pool))


def test_who_has_just_been_called_is_looked_at_again_since_its_function_template_may_be_made_now() -> None:
    node = with_a_long_call()
    assert MANY[0] in {each.key for each in look(node).candidates}
    assert look(node).candidates == ()
    node.call(10.0, "a2", MANY[0])
    node.ran(10.1, "node-c2", "a2")
    seen = look(node)
    assert not seen.thorough
    assert MANY[0] in {each.key for each in seen.candidates}


class FindsNoPlace(Valued):
    """Lets every candidate wait, and remembers what it was asked for since `seen` was emptied."""

    active = True

    def __init__(self) -> None:
        self.seen: list[tuple[list[str], list[str], list[str]]] = []

    def plan(self, view: NodeView) -> PreloadPlan:
        candidates, waiting = [each.key for each in view.candidates], [each.key for each in view.waiting]
        self.seen.append(([each.id for each in view.containers], candidates, waiting))
        return PreloadPlan(waiting=(*candidates, *waiting))


def test_what_waits_is_tried_in_a_container_only_if_it_has_changed_or_something_new_waits() -> None:
    policy = FindsNoPlace()
    node = large(budget_mib=1024, preloader=policy)
    node.serve(0.0, "node-c1", "a1", MANY[0])
    node.serve(10.0, "node-c2", "b1", MANY[1])
    plan_scope = node.node.books.plan_scope
    assert plan_scope.waiting, "functions that were never called"
    policy.seen.clear()
    for n in range(3):
        node.call(20.0 + n, f"a2{n}", MANY[0])
        node.ran(20.5 + n, "node-c1", f"a2{n}")
    assert policy.seen == [], "these warm calls have changed nothing that a plan looks at"
    node.call(30.0, "c1", MANY[2])
    node.gone(30.1, "node-c2", MANY[1])
    node.loaded(31.5, "node-c2", MANY[2])
    node.ran(31.6, "node-c2", "c1")
    containers, candidates, waiting = policy.seen[-1]
    assert containers == ["node-c2"], "another function is there now"
    assert MANY[1] in (*candidates, *waiting)
    policy.seen.clear()
    node.call(40.0, "a3", MANY[0])
    node.ran(40.1, "node-c1", "a3")
    ((containers, candidates, waiting),) = policy.seen
    assert (containers, candidates) == (["node-c1"], []), "it was looked at before that function lost its place"
    assert MANY[1] in waiting


def test_where_no_container_has_changed_nothing_that_waits_is_tried() -> None:
    policy = FindsNoPlace()
    node = large(budget_mib=1024, preloader=policy)
    node.serve(0.0, "node-c1", "a1", MANY[0])
    node.serve(10.0, "node-c2", "b1", MANY[1])
    policy.seen.clear()
    node.call(20.0, "c1", MANY[2])
    node.gone(20.1, "node-c1", MANY[0])
    assert policy.seen == [([], [MANY[0]], [])], "it has lost its resident, in a container that is busy"


def test_a_thorough_look_leaves_out_a_function_whose_template_stands() -> None:
    """A resident beside its template would gain nothing, and the number of candidates is limited."""
    node = large(MANY[:2], function_templates=True)
    functions, pool = node.node.books.functions, node.node.books.pool
    for key in MANY[:2]:
        functions.called(key, 1.0)
    assert list(functions.candidates(pool)) == [MANY[1], MANY[0]]
    pool.copies[function_template_key(MANY[1])] = 1
    assert list(functions.candidates(pool)) == [MANY[0]]
