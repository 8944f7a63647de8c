"""Function templates through the one door: how they stand in the books, and which calls are forked from them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.errors import IllegalEvent
from instainfer.core.lifecycle import LOADED, LOADING, UNLOADING
from instainfer.core.model import (
    FROM_FUNCTION,
    MIB,
    Failure,
    FailureKind,
    Profile,
    StartKind,
    function_template_key,
    template_key,
)
from instainfer.core.ports import NodeView, Preloader, PreloadPlan, SuggestLoad
from instainfer.core.registry import GUESS_FORK_S, GUESS_FORKED_BYTES
from instainfer.invoker.snapshot import snapshot
from instainfer.policy.objective import Valued
from instainfer.policy.preload.none import NoPreloading
from instainfer.policy.preload.opportunistic import Opportunistic

OWN, OTHER = function_template_key(A), function_template_key(B)
UNFIT = Failure(FailureKind.LOAD_FAILED, "a thread is left after warmup()")
UNFORKABLE, UNFORKABLE_C = replace(function(B), forkable=False), replace(function(C), forkable=False)
LOST = Failure(FailureKind.CONTAINER_LOST, "its manager was killed")


def new_node(budget_mib: int = 512, preloader: Preloader | None = None, **settings: object) -> CheckedNode:
    """Nothing is pre-loaded but function templates, if no policy is given."""
    preloader = preloader or Opportunistic(residents=False)
    return CheckedNode(budget_mib, preloader=preloader, function_templates=True, **settings)  # type: ignore[arg-type]


def stands(node: CheckedNode, at: float, key: str = OWN, container: str = "node-c1", mib: int = 100) -> None:
    node.tell(e.LoadFinished(at, container, key, 1.0, 0.5, mib * MIB))


def loads(decisions: list[d.Decision]) -> list[tuple[str, str]]:
    """The containers and what is to be loaded there."""
    return [(load.container, load.function) for load in decisions if isinstance(load, d.Load)]


def forked(node: CheckedNode, at: float, key: str = A, container: str = "node-c1", mib: int = 6) -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, key, 0.004, 0.0, mib * MIB, FROM_FUNCTION))


def with_own() -> CheckedNode:
    """A was called once, and its template stands beside it in the only container."""
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    return node


def displaced() -> CheckedNode:
    """Then B was called, which ended A; no more templates are made."""
    node = with_own()
    node.call(10.0, "b1", B)
    node.loaded(11.0, "node-c1", B)
    node.gone(11.0, "node-c1", A)
    node.ran(11.1, "node-c1", "b1")
    node.tell(e.LoadFailed(12.0, "node-c1", OTHER, UNFIT))
    return node


def test_a_template_is_made_where_a_call_has_loaded_its_function() -> None:
    node = new_node()
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    none(node.loaded(1.9, "node-c1", A), d.Load)
    load = only(node.ran(2.0, "node-c1", "a1"), d.Load)
    assert (load.container, load.function) == ("node-c1", OWN)
    stands(node, 4.0)
    assert node.node.books.pool.containers["node-c1"].residents[OWN].state is LOADED


def test_without_the_setting_and_for_what_may_not_be_forked_none_is_made() -> None:
    node = CheckedNode(512)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    none(node.ran(2.0, "node-c1", "a1"), d.Load)
    assert node.node.books.functions[A].own_template is None


def test_a_call_that_finds_only_its_template_is_forked_from_it() -> None:
    node = displaced()
    run = only(node.call(20.0, "a2", A), d.Run)
    assert (run.container, run.start_kind, run.ends) == ("node-c1", StartKind.FORKED, (B,))
    assert node.node.books.pool.ledger.charged("node-c1", A) == GUESS_FORKED_BYTES
    forked(node, 20.004)
    node.gone(20.1, "node-c1", B)
    reply = only(node.ran(20.1, "node-c1", "a2", mib=7), d.Reply)
    assert reply.start_kind is StartKind.FORKED
    assert reply.phases.libraries == pytest.approx(0.004)
    assert reply.phases.model == 0.0


def test_a_fork_measures_the_template_and_leaves_the_functions_profile_alone() -> None:
    node = displaced()
    books = node.node.books
    before = books.functions[A].profile
    assert books.functions.load_s(A, FROM_FUNCTION) == GUESS_FORK_S
    node.call(20.0, "a2", A)
    none(forked(node, 20.004), d.Remember)
    profile = books.functions.templates[OWN].profile
    assert (profile.forks, profile.forked_bytes) == (1, 6 * MIB)
    assert profile.fork_s == pytest.approx(0.004)
    assert (profile.loads, profile.library_s, profile.model_s) == (1, 1.0, 0.5)
    assert books.functions[A].profile == before
    node.ran(20.1, "node-c1", "a2", mib=9)
    node.tell(e.MemoryMeasured(21.0, "node-c1", ((A, 12 * MIB), (OWN, 110 * MIB))))
    profile = books.functions.templates[OWN].profile
    assert (profile.forked_bytes, profile.resident_bytes) == (12 * MIB, 110 * MIB)
    assert books.functions[A].profile.resident_bytes == before.resident_bytes
    assert books.functions.estimate_bytes(A, FROM_FUNCTION) == 12 * MIB
    assert books.functions.load_s(A, FROM_FUNCTION) == pytest.approx(0.004)


def test_its_own_template_goes_before_the_library_template() -> None:
    node = displaced()
    node.tell(e.LoadFinished(13.0, "node-c1", template_key("t", "env"), 1.0, 0.0, 60 * MIB))
    assert only(node.call(20.0, "a2", A), d.Run).start_kind is StartKind.FORKED


def test_the_call_of_another_ends_a_making_first_and_leaves_what_stands() -> None:
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    decisions = node.call(3.0, "b1", B)
    kinds = [type(decision) for decision in decisions]
    assert kinds.index(d.Offload) < kinds.index(d.Run)
    assert only(decisions, d.Offload).function == OWN
    assert only(decisions, d.Run).ends == (A,)
    node.gone(3.1, "node-c1", OWN)
    assert node.node.books.functions.templates[OWN].load_failure is None
    assert not node.node.books.pool.loading


def test_its_own_call_lets_a_making_go_on() -> None:
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    decisions = node.call(3.0, "a2", A)
    none(decisions, d.Offload)
    assert only(decisions, d.Run).start_kind is StartKind.WARM
    stands(node, 3.05)
    node.ran(3.1, "node-c1", "a2")
    assert node.node.books.pool.containers["node-c1"].residents[OWN].state is LOADED


def test_one_that_is_unfit_is_never_made_again_until_its_function_is_registered_anew() -> None:
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    none(node.tell(e.LoadFailed(4.0, "node-c1", OWN, UNFIT)), d.Load)
    for at in (5.0, 6.0, 7.0):
        node.call(at, f"a{at}", A)
        none(node.ran(at + 0.1, "node-c1", f"a{at}"), d.Load)
    (about,) = [each for each in snapshot(node.node, 8.0)["functions"] if each["function"] == A]
    assert about["unfit"] == UNFIT.message
    assert about["load_failure"] is None
    load = only(node.tell(e.FunctionRegistered(8.0, function(A))), d.Load)
    assert (load.function, load.proves) == (OWN, True)


def test_one_that_died_is_made_again_after_the_next_call_only() -> None:
    node = with_own()
    none(node.tell(e.ResidentGone(5.0, "node-c1", OWN, Failure(FailureKind.CRASHED, "killed"))), d.Load)
    none(node.advance(100.0), d.Load)
    node.call(101.0, "a2", A)
    assert only(node.ran(101.1, "node-c1", "a2"), d.Load).function == OWN


@pytest.mark.parametrize(("failure", "again"), [(None, True), (LOST, False)], ids=["as was asked for", "by itself"])
def test_one_that_ended_with_its_container_is_made_elsewhere_at_once_if_that_was_no_fault_of_its_own(
    failure: Failure | None, again: bool
) -> None:
    node = new_node(1024, ttl_s=50.0, keys=(A,))
    node.tell(e.FunctionRegistered(0.0, UNFORKABLE))
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    node.serve(30.0, "node-c2", "b1", UNFORKABLE.key)
    if failure is None:
        assert only(node.advance(53.0), d.StopContainer).container == "node-c1"
    assert loads(node.tell(e.ContainerGone(53.1, "node-c1", failure))) == ([("node-c2", OWN)] if again else [])


def test_a_removed_function_takes_its_template_with_it() -> None:
    node = with_own()
    ended = [x.function for x in node.tell(e.FunctionRemoved(5.0, A)) if isinstance(x, d.Offload)]
    assert sorted(ended) == sorted([A, OWN])
    node.gone(5.1, "node-c1", A)
    assert OWN in node.node.books.functions.templates
    forgotten = [x.function for x in node.gone(5.2, "node-c1", OWN) if isinstance(x, d.Forget)]
    assert forgotten == [OWN]
    assert OWN not in node.node.books.functions.templates


def test_a_function_that_may_not_be_forked_any_longer_loses_its_template() -> None:
    node = with_own()
    each = function(A)
    kept = type(each)(
        each.key, each.namespace, each.environment, each.memory_bytes, 60.0, each.estimate_bytes, forkable=False
    )
    assert only(node.tell(e.FunctionRegistered(5.0, kept)), d.Offload).function == OWN
    only(node.gone(5.1, "node-c1", OWN), d.Forget)
    assert node.node.books.functions[A].own_template is None


@pytest.mark.parametrize(("calls_of_a", "calls_of_b", "ends"), [(0, 20, OWN), (20, 1, OTHER)])
def test_a_call_that_does_not_fit_beside_templates_ends_those_that_are_worth_least(
    calls_of_a: int, calls_of_b: int, ends: str
) -> None:
    """Of two templates of the same size in the container, one has to make room."""
    node = with_both(calls_of_a, calls_of_b)
    node.tell(e.FunctionRegistered(14.0, function("t/large@1", estimate_mib=380)))
    decisions = node.call(15.0, "l1", "t/large@1")
    kinds = [type(decision) for decision in decisions]
    assert kinds.index(d.Offload) < kinds.index(d.Run)
    assert [x.function for x in decisions if isinstance(x, d.Offload)] == [ends]


def with_both(calls_of_a: int, calls_of_b: int) -> CheckedNode:
    """The only container holds A, and function templates of A and B, which were called so often in the past."""
    node = new_node(keys=())
    for key, calls in ((A, calls_of_a), (B, calls_of_b)):
        node.tell(e.FunctionRegistered(0.0, function(key), None, None, tuple(-10.0 * n for n in range(calls, 0, -1))))
    node.serve(0.0, "node-c1", "a1", A)
    for at in (4.0, 6.0):
        residents = node.node.books.pool.containers["node-c1"].residents
        stands(node, at, next(key for key in (OWN, OTHER) if key in residents and residents[key].state is LOADING))
    return node


def test_measured_memory_above_the_limit_costs_templates_first() -> None:
    node = with_own()
    decisions = node.tell(e.MemoryMeasured(5.0, "node-c1", ((A, 430 * MIB),)))
    assert only(decisions, d.Offload).function == OWN
    assert node.node.books.pool.containers["node-c1"].residents[OWN].state is UNLOADING


def test_a_template_that_nobody_asked_for_is_impossible() -> None:
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    with pytest.raises(IllegalEvent, match="nobody asked"):
        stands(node, 3.0, OTHER)


def test_a_call_waits_for_a_busy_container_with_its_template_rather_than_for_a_new_one() -> None:
    node = displaced()
    node.node.books.pool.ledger.budget_bytes = 4096 * MIB
    node.node.books.functions[B].profile = Profile(loads=1, runs=3, compute_s=0.05, resident_bytes=100 * MIB)
    only(node.call(20.0, "b2", B), d.Run)
    none(node.call(20.01, "a2", A), d.Run, d.StartContainer)
    run = only(node.ran(20.05, "node-c1", "b2"), d.Run)
    assert (run.activation, run.start_kind) == ("a2", StartKind.FORKED)


def test_pre_loading_sees_that_only_the_fork_is_saved_where_a_template_stands() -> None:
    node = displaced()
    books = node.node.books
    view = books.functions.view(A, books.pool)
    assert (view.template, view.load_s, view.forked_bytes) == (OWN, GUESS_FORK_S, GUESS_FORKED_BYTES)
    assert view.resident_bytes == 100 * MIB
    other = books.functions.view(B, books.pool)
    assert other.template == template_key("t", "env")
    assert other.load_s == pytest.approx(1.5)


class Once(Valued):
    """Suggests one load, when its container is idle."""

    active = True

    def __init__(self) -> None:
        self.suggestion: SuggestLoad | None = None

    def plan(self, view: NodeView) -> PreloadPlan:
        if self.suggestion is None or self.suggestion.container not in [each.id for each in view.containers]:
            return PreloadPlan()
        suggestion, self.suggestion = self.suggestion, None
        return PreloadPlan((suggestion,))


def test_a_fork_elsewhere_is_sooner_than_the_rest_of_a_load() -> None:
    policy = Once()
    node = new_node(1024, preloader=policy, max_loads=2)
    policy.suggestion = SuggestLoad("node-c1", OWN, 100 * MIB, 1.0, (), "a test")
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    node.serve(5.0, "node-c2", "b1", B)
    policy.suggestion = SuggestLoad("node-c2", A, 100 * MIB, 1.0, (), "why not")
    gone = node.tell(e.ResidentGone(8.0, "node-c1", A, Failure(FailureKind.CRASHED, "killed")))
    assert [(x.container, x.function) for x in gone if isinstance(x, d.Load)] == [("node-c2", A)]
    run = only(node.call(8.1, "a2", A), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.FORKED)


# -- which are made, and where -------------------------------------------------------------------------------------


def test_there_is_none_before_a_call_nor_while_calls_need_the_processors() -> None:
    node = new_node(2048, calls_beside=0, put_off_s=2.0)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    node.call(1.95, "b1", B)
    node.started(1.96, "node-c2")
    none(node.ran(2.0, "node-c1", "a1"), d.Load)
    assert loads(node.advance(4.5)) == [("node-c1", OWN)]


def test_without_pre_loading_none_is_made() -> None:
    node = new_node(preloader=NoPreloading())
    node.serve(0.0, "node-c1", "a1", A)
    assert OWN not in node.node.books.pool.copies
    none(node.advance(60.0), d.Load)


def test_with_residents_it_goes_before_them_and_shares_the_allowed_loads() -> None:
    node = new_node(preloader=Opportunistic(), keys=(A, B), max_loads=1)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    assert loads(node.ran(2.0, "node-c1", "a1")) == [("node-c1", OWN)]
    assert loads(node.tell(e.LoadFinished(4.0, "node-c1", OWN, 1.0, 0.5, 100 * MIB))) == [("node-c1", B)]
    counts = node.node.books.preloads
    assert (counts.templates, counts.started) == (1, 1)


def test_beside_its_template_no_resident_of_a_function_is_pre_loaded() -> None:
    node = new_node(1024, preloader=Opportunistic(), keys=(A,))
    node.tell(e.FunctionRegistered(0.0, replace(UNFORKABLE, memory_bytes=256 * MIB)))
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    none(node.tell(e.ResidentGone(5.0, "node-c1", A, LOST)), d.Load)
    none(node.advance(300.0), d.Load)


def test_a_function_that_cannot_be_forked_is_pre_loaded_instead() -> None:
    node = new_node(preloader=Opportunistic(), keys=(A,))
    node.serve(0.0, "node-c1", "a1", A)
    none(node.tell(e.LoadFailed(4.0, "node-c1", OWN, UNFIT)), d.Load)
    gone = node.tell(e.ResidentGone(5.0, "node-c1", A, LOST))
    assert loads([*gone, *node.advance(60.0)]) == [("node-c1", A)]


def test_of_those_that_may_be_made_the_one_that_saves_most_goes_first() -> None:
    """The calls of A come more often."""
    node = new_node(keys=())
    node.tell(e.FunctionRegistered(0.0, function(B), None, None, (-5000.0,)))
    node.tell(e.FunctionRegistered(0.0, function(A), None, None, tuple(-10.0 * n for n in range(20, 0, -1))))
    node.tell(e.FunctionRegistered(0.0, UNFORKABLE_C))
    node.call(0.0, "c1", C)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", C)
    assert loads(node.ran(2.0, "node-c1", "c1")) == [("node-c1", OWN)]
    assert loads(node.tell(e.LoadFinished(4.0, "node-c1", OWN, 1.0, 0.5, 100 * MIB))) == [("node-c1", OTHER)]


def test_one_that_was_cut_short_is_made_again_after_the_next_call_only() -> None:
    node = new_node(keys=(A, B))
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.call(2.8, "b1", B), d.Offload).function == OWN
    node.gone(2.85, "node-c1", OWN)
    node.gone(2.9, "node-c1", A)
    node.loaded(3.8, "node-c1", B)
    assert loads(node.ran(3.9, "node-c1", "b1")) == [("node-c1", OTHER)]
    assert loads(node.tell(e.LoadFinished(6.0, "node-c1", OTHER, 1.0, 0.5, 100 * MIB))) == []
    none(node.advance(100.0), d.Load)
    only(node.call(110.0, "a2", A), d.Run)
    node.gone(110.1, "node-c1", B)
    node.loaded(111.0, "node-c1", A)
    assert loads(node.ran(111.1, "node-c1", "a2")) == [("node-c1", OWN)]


def crowded(often: str, budget_mib: int = 1024) -> tuple[CheckedNode, list[d.Decision]]:
    """A's template leaves no room for one of B. Then B comes, and was called before; one of the two `often`.

    Returns the node, and what is decided then.
    """
    calls = {A: (), B: (-60.0,)} | {often: tuple(-10.0 * n for n in range(30, 0, -1))}
    node = new_node(budget_mib, keys=())
    node.tell(e.FunctionRegistered(0.0, function(A), None, None, calls[A]))
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0, mib=340)
    return node, node.tell(e.FunctionRegistered(20.0, function(B, estimate_mib=300), None, None, calls[B]))


def displaced_by_b() -> CheckedNode:
    """The only container holds B's template, and nothing else."""
    node, _ = crowded(often=B)
    for key in (A, OWN):
        node.gone(20.1, "node-c1", key)
    none(node.tell(e.LoadFinished(22.0, "node-c1", OTHER, 1.0, 0.5, 340 * MIB)), d.Load, d.Offload)
    return node


def test_one_displaces_another_that_is_worth_less_and_waits_for_its_memory() -> None:
    """A's resident goes, too: beside a template it is worth little."""
    node, decisions = crowded(often=B)
    assert [x.function for x in decisions if isinstance(x, d.Offload)] == [A, OWN]
    none(decisions, d.Load)
    none(node.gone(20.1, "node-c1", A), d.Load)
    assert loads(node.gone(20.2, "node-c1", OWN)) == [("node-c1", OTHER)]


def test_one_displaces_none_that_is_worth_more() -> None:
    node, decisions = crowded(often=A)
    none(decisions, d.Load, d.Offload)
    none(node.advance(60.0), d.Load, d.Offload)


def test_one_that_was_displaced_is_made_again_where_room_is_and_without_another_call() -> None:
    node = displaced_by_b()
    node.tell(e.FunctionRegistered(23.0, UNFORKABLE_C))
    node.serve(23.0, "node-c2", "c1", C)
    assert node.node.books.pool.by_function[OWN]["node-c2"].state is LOADING


def test_a_call_cancels_what_waits_for_room() -> None:
    node, _ = crowded(often=B, budget_mib=512)
    assert node.node.books.promises
    only(node.call(20.05, "b1", B), d.Run)
    assert not node.node.books.promises
    for key in (A, OWN):
        none(node.gone(20.1, "node-c1", key), d.Load)
    node.loaded(21.0, "node-c1", B, mib=100)
    assert ("node-c1", OTHER) in loads(node.ran(21.1, "node-c1", "b1"))


def test_what_waits_for_a_free_load_is_made_in_the_end() -> None:
    keys = [f"t/f{number}@1" for number in range(20)]
    node = new_node(20 * 512, keys=keys)
    for number, key in enumerate(keys):
        node.call(0.0, f"x{number}", key)
    containers = [f"node-c{number + 1}" for number in range(20)]
    for container in containers:
        node.started(50.0, container)
    for container, key in zip(containers, keys, strict=True):
        node.loaded(52.0, container, key)
    decided: list[d.Decision] = []
    for number, container in enumerate(containers):
        decided += node.ran(53.0, container, f"x{number}")
    begun: list[str] = []
    for at in range(60, 600, 2):
        for decision in decided:
            if isinstance(decision, d.Load):
                begun.append(decision.function)
        assert node.node.books.pool.loading <= 1
        decided = [each for decision in decided for each in done(node, float(at), decision)] + node.advance(at + 1.0)
    assert sorted(begun) == sorted(function_template_key(key) for key in keys)


def done(node: CheckedNode, at: float, decision: d.Decision) -> list[d.Decision]:
    """What is decided when this was done."""
    if isinstance(decision, d.Offload):
        return node.gone(at, decision.container, decision.function)
    if isinstance(decision, d.Load):
        return node.tell(e.LoadFinished(at, decision.container, decision.function, 1.0, 0.5, 100 * MIB))
    return []


class Everywhere(Valued):
    """Wants a function template in each container that has none, as long as one may be made."""

    active = True

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan(
            tuple(
                SuggestLoad(place.id, each.own_template, 100 * MIB, 1.0, (), "a test")
                for each in view.known.functions.values()
                for place in view.containers
                if each.own_template is not None and each.own_template not in [r.function for r in place.residents]
            )
        )


def test_the_first_one_is_alone_until_it_is_known_whether_the_function_can_be_forked() -> None:
    node = new_node(1024, preloader=Everywhere(), keys=(A,), max_loads=4)
    node.call(0.0, "a1", A)
    node.call(0.0, "a2", A)
    for container in ("node-c1", "node-c2"):
        node.started(0.4, container)
    for container in ("node-c1", "node-c2"):
        node.loaded(1.9, container, A)
    assert loads(node.ran(2.0, "node-c1", "a1")) == [("node-c1", OWN)]
    none(node.ran(2.5, "node-c2", "a2"), d.Load)
    node.call(2.6, "a3", A)
    none(node.ran(2.7, "node-c1", "a3"), d.Load)
    known = node.tell(e.LoadFinished(4.0, "node-c1", OWN, 1.0, 0.5, 100 * MIB))
    assert loads(known) == [("node-c2", OWN)]


# -- making room at a call -----------------------------------------------------------------------------------------


def test_room_for_a_call_is_never_made_by_ending_what_its_function_is_forked_from() -> None:
    """Its own template is worth less than B's, and the library template is worth nothing; both stay."""
    node = with_both(0, 20)
    books, library = node.node.books, template_key("t", "env")
    node.tell(e.LoadFinished(7.0, "node-c1", library, 1.0, 0.0, 60 * MIB))
    books.functions.templates[OWN].profile = books.functions.templates[OWN].profile.with_fork(0.005, 180 * MIB)
    node.call(7.1, "b1", B)
    forked(node, 7.2, B)
    node.gone(7.2, "node-c1", A)
    node.ran(7.3, "node-c1", "b1", mib=100)
    decisions = node.call(8.0, "a2", A)
    assert only(decisions, d.Run).start_kind is StartKind.FORKED
    none(decisions, d.Offload)  # B's process ends anyway, and that makes room enough
    node.gone(8.1, "node-c1", B)
    forked(node, 8.2, mib=180)
    node.ran(8.3, "node-c1", "a2", mib=180)
    node.tell(e.FunctionRegistered(9.0, UNFORKABLE_C))
    node.call(10.0, "c1", C)
    node.gone(10.1, "node-c1", A)
    node.loaded(11.0, "node-c1", C, mib=20)
    node.ran(11.1, "node-c1", "c1", mib=20)
    books.functions.templates[OWN].profile = books.functions.templates[OWN].profile.with_fork(0.005, 350 * MIB)
    decisions = node.call(12.0, "a3", A)
    assert only(decisions, d.Run).start_kind is StartKind.FORKED
    assert only(decisions, d.Offload).function == OTHER


def test_templates_make_no_room_where_there_is_room() -> None:
    node = with_both(0, 20)
    node.tell(e.FunctionRegistered(14.0, function("t/small@1", estimate_mib=300)))
    none(node.call(15.0, "s1", "t/small@1"), d.Offload)
