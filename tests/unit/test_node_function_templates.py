"""Function templates through the one door: how they stand in the books, and which calls are forked from them."""

from __future__ import annotations

import pytest
from support.nodes import A, B, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.errors import IllegalEvent
from instainfer.core.lifecycle import LOADED, UNLOADING
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
from instainfer.core.ports import FunctionView, NodeView, PreloadPlan, SuggestLoad
from instainfer.core.registry import GUESS_FORK_S, GUESS_FORKED_BYTES
from instainfer.invoker.snapshot import snapshot
from instainfer.policy.memoryless import Memoryless

OWN, OTHER = function_template_key(A), function_template_key(B)
UNFIT = Failure(FailureKind.LOAD_FAILED, "a thread is left after warmup()")


def new_node(budget_mib: int = 512, **settings: object) -> CheckedNode:
    return CheckedNode(budget_mib, function_templates=True, **settings)  # type: ignore[arg-type]


def stands(node: CheckedNode, at: float, key: str = OWN, container: str = "node-c1", mib: int = 100) -> None:
    node.tell(e.LoadFinished(at, container, key, 1.0, 0.5, mib * MIB))


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
    assert (profile.forks, profile.fork_s, profile.forked_bytes) == (1, pytest.approx(0.004), 6 * MIB)
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
    node.tell(e.FunctionRegistered(8.0, function(A)))
    node.call(9.0, "a9", A)
    assert only(node.ran(9.1, "node-c1", "a9"), d.Load).function == OWN


def test_one_that_died_is_made_again_after_the_next_call_only() -> None:
    node = with_own()
    none(node.tell(e.ResidentGone(5.0, "node-c1", OWN, Failure(FailureKind.CRASHED, "killed"))), d.Load)
    none(node.advance(100.0), d.Load)
    node.call(101.0, "a2", A)
    assert only(node.ran(101.1, "node-c1", "a2"), d.Load).function == OWN


def test_one_that_ended_with_its_container_may_be_made_elsewhere_at_once() -> None:
    node = new_node(keys=(A,), ttl_s=50.0)
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    node.call(10.0, "a2", A)
    node.ran(10.1, "node-c1", "a2")
    assert A not in node.node.books.functions.without_template
    only(node.advance(61.0), d.StopContainer)
    node.tell(e.ContainerGone(61.1, "node-c1"))
    assert A in node.node.books.functions.without_template


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


def test_a_load_that_does_not_fit_beside_templates_ends_the_least_worth_first() -> None:
    node = with_own()
    node.call(10.0, "b1", B)
    node.loaded(11.0, "node-c1", B, mib=120)
    node.gone(11.0, "node-c1", A)
    node.ran(11.1, "node-c1", "b1", mib=120)
    stands(node, 13.0, OTHER, mib=120)
    node.tell(e.FunctionRegistered(14.0, function("t/large@1", estimate_mib=380)))
    decisions = node.call(15.0, "l1", "t/large@1")
    kinds = [type(decision) for decision in decisions]
    assert kinds.index(d.Offload) < kinds.index(d.Run)
    # A was called once, long ago; its template is enough.
    assert [x.function for x in decisions if isinstance(x, d.Offload)] == [OWN]


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
    assert (other.template, other.load_s) == (template_key("t", "env"), pytest.approx(1.5))


class Once(Memoryless):
    """Suggests one load when it is told to."""

    active = True

    def __init__(self) -> None:
        self.suggestion: SuggestLoad | None = None

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0

    def plan(self, view: NodeView) -> PreloadPlan:
        suggestion, self.suggestion = self.suggestion, None
        return PreloadPlan(() if suggestion is None else (suggestion,))


def test_a_fork_elsewhere_is_sooner_than_the_rest_of_a_load() -> None:
    policy = Once()
    node = new_node(1024, preloader=policy, max_loads=2)
    node.serve(0.0, "node-c1", "a1", A)
    stands(node, 4.0)
    node.serve(5.0, "node-c2", "b1", B)
    policy.suggestion = SuggestLoad("node-c2", A, 100 * MIB, 1.0, (), "why not")
    gone = node.tell(e.ResidentGone(8.0, "node-c1", A, Failure(FailureKind.CRASHED, "killed")))
    assert [(x.container, x.function) for x in gone if isinstance(x, d.Load)] == [("node-c2", A)]
    run = only(node.call(8.1, "a2", A), d.Run)
    assert (run.container, run.start_kind) == ("node-c1", StartKind.FORKED)
