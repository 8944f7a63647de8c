"""Templates through the one door: made on the way, shared, forked from, given up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.errors import IllegalEvent
from instainfer.core.model import FROM_LIBRARIES, MIB, Failure, FailureKind, StartKind, template_key
from instainfer.core.ports import FunctionView, NodeView, PreloadPlan, SuggestLoad
from instainfer.policy.objective import Valued
from instainfer.policy.preload.opportunistic import Opportunistic

T = template_key("t", "env")


def made(node: CheckedNode, at: float, container: str, key: str = T, mib: int = 150) -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, key, 1.0, 0.0, mib * MIB))


def forked(node: CheckedNode, at: float, container: str, key: str, mib: int = 20) -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, key, 0.01, 0.05, mib * MIB, source=FROM_LIBRARIES))


def with_template(**settings: object) -> CheckedNode:
    """A has been called once, two seconds long, and a template is left behind."""
    node = CheckedNode(1024, **settings)  # type: ignore[arg-type]
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.6, "node-c1")
    forked(node, 1.7, "node-c1", A)
    node.ran(2.0, "node-c1", "a1", mib=20)
    return node


def test_a_cold_start_that_makes_a_template_counts_its_imports_as_libraries() -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.5, "node-c1")
    forked(node, 1.6, "node-c1", A)
    reply = only(node.ran(1.8, "node-c1", "a1"), d.Reply)
    assert reply.start_kind is StartKind.COLD
    assert reply.phases.libraries == pytest.approx(1.01)
    assert reply.phases.model == pytest.approx(0.05)
    assert reply.phases.total == pytest.approx(1.8)


def test_another_function_of_the_environment_starts_templated_in_that_container() -> None:
    node = with_template()
    run = only(node.call(5.0, "b1", B), d.Run)
    assert (run.container, run.start_kind, run.ends) == ("node-c1", StartKind.TEMPLATED, (A,))
    node.gone(5.01, "node-c1", A)
    forked(node, 5.07, "node-c1", B)
    reply = only(node.ran(5.2, "node-c1", "b1"), d.Reply)
    assert reply.phases.libraries == pytest.approx(0.01)
    assert reply.phases.startup < 0.12
    assert T in node.node.books.pool.containers["node-c1"].residents, "a run does not end templates"


def test_without_templates_it_would_have_got_a_container_of_its_own() -> None:
    node = with_template(templates=True)
    none(node.call(5.0, "b1", B), d.StartContainer)
    plain = CheckedNode(1024, templates=False)
    plain.serve(0.0, "node-c1", "a1", A)
    only(plain.call(5.0, "b1", B), d.StartContainer)


def test_a_container_with_more_to_lose_than_the_template_saves_is_left_alone() -> None:
    node = with_template(preloader=Opportunistic())
    books = node.node.books
    books.functions[B].load_failure = Failure(FailureKind.LOAD_FAILED, "as if, so that it is not pre-loaded")
    for n in range(4):
        for ended in only(node.call(3.0 + n, f"a{n + 2}", A), d.Run).ends:
            node.gone(3.1 + n, "node-c1", ended)
        node.ran(3.5 + n, "node-c1", f"a{n + 2}", mib=20)
    # As if loading A took very long: it must not be ended for the second that a template saves B.
    books.functions[A].profile = books.functions[A].profile.with_load(0.0, 500.0, 20 * MIB, forked=True)
    only(node.call(8.0, "b1", B), d.StartContainer)


def test_functions_with_variables_of_their_own_do_not_use_templates() -> None:
    node = with_template()
    node.tell(e.FunctionRegistered(3.0, replace(function("t/own@1"), templated=False)))
    only(node.call(4.0, "o1", "t/own@1"), d.StartContainer)


def test_a_new_function_ends_the_templates_that_do_not_know_its_folder() -> None:
    node = with_template()
    offload = only(node.tell(e.FunctionRegistered(3.0, function("t/new@1"))), d.Offload)
    assert offload.function == T
    node.gone(3.1, "node-c1", T)
    only(node.call(4.0, "n1", "t/new@1"), d.StartContainer)


def test_profiles_keep_the_three_costs_apart() -> None:
    node = with_template()
    profile = node.node.books.functions[A].profile
    assert (profile.loads, profile.forks) == (0, 1)
    assert (profile.fork_s, profile.model_s, profile.forked_bytes) == (0.01, 0.05, 20 * MIB)
    node.call(3.0, "a2", A)
    node.tell(e.ContainerGone(3.1, "node-c1", Failure(FailureKind.CONTAINER_LOST, "x")))
    node.call(4.0, "a3", A)
    node.started(4.4, "node-c2")
    node.loaded(5.9, "node-c2", A)
    profile = node.node.books.functions[A].profile
    assert (profile.loads, profile.library_s, profile.forks) == (1, 1.0, 1)


def test_a_template_that_cannot_be_made_is_no_harm() -> None:
    node = CheckedNode()
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    none(node.tell(e.LoadFailed(1.0, "node-c1", T, Failure(FailureKind.LOAD_FAILED, "ImportError"))), d.Reply)
    node.loaded(2.0, "node-c1", A)
    assert only(node.ran(2.1, "node-c1", "a1"), d.Reply).failure is None


def test_a_template_given_up_for_memory_is_struck_off() -> None:
    node = with_template()
    node.call(5.0, "a2", A)
    node.tell(e.ResidentGone(5.05, "node-c1", T, Failure(FailureKind.OUT_OF_MEMORY, "given up")))
    only(node.ran(5.1, "node-c1", "a2", mib=20), d.Reply)
    assert T not in node.node.books.pool.by_function


def test_idle_containers_get_templates_when_all_functions_have_their_place() -> None:
    node = CheckedNode(1024, preloader=Opportunistic(), keys=(A, C))
    node.call(0.0, "a1", A)
    node.call(0.1, "c1", C)
    node.started(0.4, "node-c1")
    node.started(0.4, "node-c2")
    made(node, 1.5, "node-c1")
    forked(node, 1.6, "node-c1", A)
    node.loaded(1.7, "node-c2", C)
    node.ran(1.8, "node-c1", "a1", mib=20)
    load = only(node.ran(1.9, "node-c2", "c1"), d.Load)
    assert (load.container, load.function) == ("node-c2", T)
    made(node, 3.0, "node-c2")
    assert node.node.books.pool.containers["node-c2"].residents[T].state == "loaded"


def test_a_template_of_another_namespace_is_impossible() -> None:
    node = with_template()
    with pytest.raises(IllegalEvent):
        made(node, 3.0, "node-c1", template_key("u", "env"))


class Valuing(Opportunistic):
    """Knows what residents are worth and loads nothing."""

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan()


def test_without_memory_a_container_with_the_template_is_taken_over_rather_than_one_without() -> None:
    node = CheckedNode(1024, keys=(A, B, C), preloader=Valuing())
    node.serve(0.0, "node-c1", "a1", A)
    node.call(10.0, "b1", B)
    node.started(10.4, "node-c2")
    made(node, 11.6, "node-c2")
    forked(node, 11.7, "node-c2", B)
    node.ran(12.0, "node-c2", "b1", mib=20)
    # Both residents are worth more than the template saves, and there is no memory for a third container.
    books = node.node.books
    for key in (A, B):
        books.functions[key].profile = books.functions[key].profile.with_load(0.0, 900.0, 20 * MIB, forked=True)
    run = only(node.call(20.0, "c1", C), d.Run)
    assert (run.container, run.start_kind) == ("node-c2", StartKind.TEMPLATED)


def test_who_lost_a_container_gets_another_in_the_background_where_that_is_asked_for() -> None:
    node = with_template(replace=True)
    decisions = node.call(5.0, "b1", B)
    assert only(decisions, d.Run).container == "node-c1"
    none(decisions, d.StartContainer)
    assert only(decisions, d.WakeAt).when == 5.0
    new = only(node.tell(e.TimerFired(5.0)), d.StartContainer)
    assert new.container != "node-c1"
    assert node.node.books.pool.containers[new.container].owner == A


def test_nothing_is_replaced_by_default_nor_where_memory_is_full() -> None:
    node = with_template()
    node.call(5.0, "b1", B)
    none(node.tell(e.TimerFired(5.0)), d.StartContainer)
    node = CheckedNode(512, replace=True)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.6, "node-c1")
    forked(node, 1.7, "node-c1", A)
    node.ran(2.0, "node-c1", "a1", mib=20)
    node.call(5.0, "b1", B)
    none(node.tell(e.TimerFired(5.0)), d.StartContainer)


def test_where_memory_is_short_after_a_call_a_template_of_others_goes_and_not_what_was_called() -> None:
    node = CheckedNode(512, keys=(A,))
    other = replace(function("t/other@1"), environment="env2")
    node.tell(e.FunctionRegistered(0.0, other))
    node.call(0.0, "o1", other.key)
    node.started(0.4, "node-c1")
    made(node, 1.4, "node-c1", key=other.template, mib=200)
    forked(node, 1.5, "node-c1", other.key)
    node.ran(1.6, "node-c1", "o1", mib=20)
    assert only(node.call(6.0, "a1", A), d.Run).container == "node-c1"
    node.gone(6.01, "node-c1", other.key)
    made(node, 7.0, "node-c1", mib=200)
    forked(node, 7.1, "node-c1", A, mib=150)
    assert only(node.ran(7.2, "node-c1", "a1", mib=150), d.Offload).function == other.template


class Loads(Valued):
    """Suggests one load when it is told to."""

    active = True
    next: SuggestLoad | None = None

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0

    def plan(self, view: NodeView) -> PreloadPlan:
        suggestion, self.next = self.next, None
        return PreloadPlan(() if suggestion is None else (suggestion,))


def test_what_loads_while_its_template_arrives_is_charged_as_forked_from_then_on() -> None:
    """Or it would be ended as too large for a container in which both have room."""
    plan = Loads()
    node = CheckedNode(2048, keys=(), preloader=plan)
    for key in (A, B):
        node.tell(e.FunctionRegistered(0.0, function(key, 2048, 907)))
    books = node.node.books
    books.functions[B].profile = books.functions[B].profile.with_load(0.1, 0.1, 307 * MIB, forked=True)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A, mib=900)
    node.ran(2.0, "node-c1", "a1", mib=900)
    plan.next = SuggestLoad("node-c1", B, 907 * MIB, 1.0, (), "a test")
    books.opportunity = True
    only(node.tell(e.TimerFired(3.0)), d.Load)
    none(made(node, 4.0, "node-c1", mib=600), d.Offload)
    assert books.pool.ledger.charged("node-c1", B) == 307 * MIB


def test_a_template_of_another_environment_is_no_part_of_a_calls_wait() -> None:
    plan = Loads()
    node = CheckedNode(2048, preloader=plan)
    other = replace(function("t/other@1"), environment="other")
    node.tell(e.FunctionRegistered(0.0, other))
    node.serve(0.0, "node-c1", "a1", A)
    plan.next = SuggestLoad("node-c1", T, MIB, 1.0, (), "a test")
    node.node.books.opportunity = True
    only(node.tell(e.TimerFired(3.0)), d.Load)
    node.node.books.functions[A].load_failure = None
    assert only(node.call(4.0, "a2", A), d.Run).start_kind is StartKind.WARM
    made(node, 4.5, "node-c1")
    phases = only(node.ran(5.0, "node-c1", "a2", compute_s=1.0), d.Reply).phases
    assert (phases.libraries, phases.compute) == (0.0, 1.0)
