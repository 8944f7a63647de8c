"""Calls that share containers where templates are used (ADR 17): waiting, forking elsewhere, sparing templates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import (
    FROM_LIBRARIES,
    MIB,
    Failure,
    FailureKind,
    Function,
    Profile,
    StartKind,
    template_key,
)
from instainfer.core.ports import NodeView, PreloadPlan, SuggestLoad
from instainfer.core.records import TemplateRecord
from instainfer.policy.preload.opportunistic import Opportunistic

T = template_key("t", "env")
OTHER = replace(function("t/other@1"), environment="env2")


class Valuing(Opportunistic):
    """Knows what residents are worth, and loads what a test wants, once."""

    suggests: SuggestLoad | None = None

    def plan(self, view: NodeView) -> PreloadPlan:
        suggestions = () if self.suggests is None else (self.suggests,)
        self.suggests = None
        return PreloadPlan(suggestions)


def made(node: CheckedNode, at: float, container: str, key: str = T, mib: int = 150) -> None:
    node.tell(e.LoadFinished(at, container, key, 1.0, 0.0, mib * MIB))


def forked(node: CheckedNode, at: float, container: str, key: str, mib: int = 20) -> None:
    node.tell(e.LoadFinished(at, container, key, 0.01, 0.05, mib * MIB, source=FROM_LIBRARIES))


def with_template(compute_s: float = 0.3, budget_mib: int = 2048, **settings: object) -> CheckedNode:
    """A has been called once, computed for so long, and left a template behind."""
    node = CheckedNode(budget_mib, preloader=Valuing(), **settings)  # type: ignore[arg-type]
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.6, "node-c1")
    forked(node, 1.7, "node-c1", A)
    node.ran(1.7 + compute_s, "node-c1", "a1", mib=20, compute_s=compute_s)
    return node


def test_a_call_waits_for_a_busy_container_with_its_template_when_that_is_sooner_than_a_new_one() -> None:
    node = with_template()
    node.call(10.0, "a2", A)
    none(node.call(10.1, "b1", B), d.StartContainer, d.Run)
    run = only(node.ran(10.3, "node-c1", "a2", mib=20, compute_s=0.3), d.Run)
    assert (run.activation, run.container, run.start_kind) == ("b1", "node-c1", StartKind.TEMPLATED)


def test_it_does_not_when_the_call_there_takes_longer_than_a_new_container() -> None:
    node = with_template(compute_s=30.0)
    node.call(40.0, "a2", A)
    only(node.call(40.1, "b1", B), d.StartContainer)


def test_where_others_wait_already_more_containers_are_what_is_needed() -> None:
    node = with_template()
    node.call(10.0, "a2", A)
    none(node.call(10.1, "b1", B), d.StartContainer)
    only(node.call(10.1, "c1", C), d.StartContainer)


@pytest.mark.parametrize(("compute_s", "takes"), [(0.3, None), (30.0, "node-c2")])
def test_without_memory_it_waits_if_taking_the_container_of_another_costs_more(
    compute_s: float, takes: str | None
) -> None:
    node = with_template(compute_s=compute_s, budget_mib=1024)
    node.tell(e.FunctionRegistered(32.0, OTHER))
    only(node.call(32.0, "o1", OTHER.key), d.StartContainer)
    node.started(32.4, "node-c2")
    made(node, 33.4, "node-c2", key=OTHER.template)
    forked(node, 33.5, "node-c2", OTHER.key)
    node.ran(33.6, "node-c2", "o1", mib=20)
    only(node.call(50.0, "a2", A), d.Run)
    decisions = node.call(50.1, "b1", B)
    assert [each.container for each in decisions if isinstance(each, d.Run)] == ([takes] if takes else [])


def test_it_waits_no_longer_than_the_alternative_takes_when_the_expectation_was_wrong() -> None:
    node = with_template()
    node.call(10.0, "a2", A)
    wake = only(node.call(10.1, "b1", B), d.WakeAt)
    assert wake.when < 13.0
    started = only(node.tell(e.TimerFired(wake.when)), d.StartContainer)
    assert node.node.books.pool.containers[started.container].running == "b1"


def test_it_does_not_wait_for_a_template_that_is_there_no_longer() -> None:
    node = with_template()
    node.call(10.0, "a2", A)
    node.call(10.1, "b1", B)
    only(node.tell(e.ContainerGone(10.2, "node-c1")), d.StartContainer)


def test_without_templates_nobody_waits_for_another_functions_container() -> None:
    node = CheckedNode(2048, templates=False, preloader=Valuing())
    node.serve(0.0, "node-c1", "a1", A)
    node.call(10.0, "a2", A)
    only(node.call(10.1, "b1", B), d.StartContainer)


def test_a_call_forks_elsewhere_rather_than_join_a_load_from_nothing() -> None:
    node = with_template(keys=(A, B, C))
    node.tell(e.FunctionRegistered(3.0, OTHER))
    books = node.node.books
    books.functions[A].profile = books.functions[A].profile.with_load(0.0, 500.0, 20 * MIB, forked=True)
    node.call(5.0, "o1", OTHER.key)
    node.started(5.4, "node-c2")
    made(node, 6.4, "node-c2", key=OTHER.template)
    forked(node, 6.5, "node-c2", OTHER.key)
    assert isinstance(node.preloader, Valuing)
    node.preloader.suggests = SuggestLoad("node-c2", B, 150 * MIB, 1.0, (), "for the test")
    load = only(node.ran(6.6, "node-c2", "o1", mib=20), d.Load)
    assert (load.container, load.function) == ("node-c2", B)
    books.functions[A].profile = replace(books.functions[A].profile, model_s=0.05)
    books.functions[B].profile = Profile(loads=1, library_s=5.0, models=1, model_s=0.05, forks=1, fork_s=0.01)
    run = only(node.call(10.5, "b1", B), d.Run)  # what A would lose is believed for five seconds
    assert (run.container, run.start_kind) == ("node-c1", StartKind.TEMPLATED)


@pytest.mark.parametrize(("large_mib", "spares"), [(100, False), (250, True)])
def test_a_function_that_is_too_large_beside_other_templates_goes_where_there_are_none(
    large_mib: int, spares: bool
) -> None:
    """Two idle containers have its template; the one with less to lose has that of another environment besides, which
    was needed lately."""
    large = function("t/large@1")
    node = CheckedNode(1024, preloader=Valuing(), keys=(A, B, large.key))
    node.tell(e.FunctionRegistered(0.0, OTHER))
    both = ((A, "node-c1"), (B, "node-c2"))
    for key, _ in both:
        node.call(0.0, key, key)
    for _, container in both:
        node.started(0.4, container)
    for _, container in both:
        made(node, 1.4, container)
    for key, container in both:
        forked(node, 1.5, container, key)
    for key, container in both:
        node.ran(1.6, container, key, mib=20)
    with_both = only(node.call(2.0, "o1", OTHER.key), d.Run).container
    node.gone(2.01, with_both, A if with_both == "node-c1" else B)
    made(node, 3.0, with_both, key=OTHER.template, mib=200)
    forked(node, 3.1, with_both, OTHER.key)
    node.ran(3.2, with_both, "o1", mib=20)
    books = node.node.books
    for key, model_s in ((A, 0.3), (B, 0.3), (OTHER.key, 0.0)):
        books.functions[key].profile = replace(books.functions[key].profile, model_s=model_s)
    books.functions[large.key].profile = Profile(forks=1, fork_s=0.01, forked_bytes=large_mib * MIB)
    run = only(node.call(4.0, "l1", large.key), d.Run)
    assert run.start_kind is StartKind.TEMPLATED
    assert (run.container != with_both) == spares


CHEAP, DEAR = replace(function("t/cheap@1"), environment="env2"), replace(function("t/dear@1"), environment="env3")


def with_templates_of_others(*held: tuple[Function, ...], gains: dict[str, int], mib: int = 150) -> CheckedNode:
    """A container for each of `held`, with the library templates of these functions, and nothing resident.

    `gains` tells how often each function's template was missed.
    """
    node = CheckedNode(512 * len(held), preloader=Valuing(), keys=())
    for each in (CHEAP, DEAR):
        node.tell(e.FunctionRegistered(0.0, each))
    for number, functions in enumerate(held):
        node.call(0.0, f"x{number}", functions[0].key)
    at = 1.0
    for number, functions in enumerate(held):
        container, first = f"node-c{number + 1}", functions[0]
        node.started(at, container)
        made(node, at + 1.0, container, key=first.template, mib=mib)
        node.loaded(at + 1.5, container, first.key, mib=20)
        node.ran(at + 2.0, container, f"x{number}", mib=20)
        at += 10.0
        for each in functions[1:]:
            assert isinstance(node.preloader, Valuing)
            node.preloader.suggests = SuggestLoad(container, each.template, mib * MIB, 1.0, (), "for the test")
            node.node.books.opportunity = True
            assert only(node.tell(e.TimerFired(at)), d.Load).container == container
            made(node, at + 1.0, container, key=each.template, mib=mib)
            at += 10.0
        for key in list(node.node.books.pool.containers[container].residents):
            if not key.startswith("template:"):
                node.tell(e.ResidentGone(at, container, key, Failure(FailureKind.CRASHED, "killed")))
    for each in (CHEAP, DEAR):
        missed = node.node.books.functions.templates[each.template].missed
        missed.clear()
        missed.extend([0.0] * gains[each.key])
    for one in node.node.books.pool.containers.values():
        one.contents = None  # what they are worth was found before
    return node


@pytest.mark.parametrize("dear_first", [True, False])
def test_a_call_takes_the_container_where_the_templates_that_have_to_make_room_are_worth_least(
    dear_first: bool,
) -> None:
    held = ((DEAR,), (CHEAP,)) if dear_first else ((CHEAP,), (DEAR,))
    node = with_templates_of_others(*held, gains={CHEAP.key: 1, DEAR.key: 30}, mib=300)
    node.tell(e.FunctionRegistered(100.0, function("t/large@1", estimate_mib=400)))
    assert only(node.call(100.0, "l1", "t/large@1"), d.Run).container == ("node-c2" if dear_first else "node-c1")


@pytest.mark.parametrize(("estimate_mib", "takes"), [(400, "node-c2"), (180, "node-c1")])
def test_a_call_takes_the_container_where_fewer_templates_have_to_make_room(estimate_mib: int, takes: str) -> None:
    """If it fits beside all of them, it takes the one that has been idle longest."""
    node = with_templates_of_others((CHEAP, DEAR), (DEAR,), gains={CHEAP.key: 10, DEAR.key: 10}, mib=150)
    node.tell(e.FunctionRegistered(100.0, function("t/large@1", estimate_mib=estimate_mib)))
    assert only(node.call(100.0, "l1", "t/large@1"), d.Run).container == takes


def test_what_a_function_is_forked_from_is_no_loss_to_it() -> None:
    """Its own environment's template is worth most by far, and stays where it goes."""
    node = with_templates_of_others((DEAR,), (CHEAP,), gains={CHEAP.key: 1, DEAR.key: 60}, mib=300)
    beside = replace(function("t/beside@1", estimate_mib=200), environment=DEAR.environment)
    books = node.node.books
    container = books.pool.containers["node-c1"]
    needs_bytes = 400 * MIB
    assert books.takeover_loss_s(container, needs_bytes, (beside.template,)) == 0.0
    assert books.takeover_loss_s(container, needs_bytes, ()) > 0.0


def test_a_template_that_is_being_ended_is_nothing_to_lose() -> None:
    node = with_template()
    books = node.node.books
    container = books.pool.containers["node-c1"]
    node.tell(e.ResidentGone(2.5, "node-c1", A, Failure(FailureKind.CRASHED, "killed")))
    assert books.takeover_loss_s(container, 500 * MIB, ()) > 0.0
    assert only(node.tell(e.FunctionRegistered(3.0, function("t/new@1"))), d.Offload).function == T
    assert books.takeover_loss_s(container, 500 * MIB, ()) == 0.0


def test_how_much_a_template_is_needed_follows_its_misses() -> None:
    template = TemplateRecord("t")
    assert template.misses_per_s(0.0) == 0.0
    template.missed.append(10.0)
    once = template.misses_per_s(10.0)
    assert 0.0 < once < 1 / 60, "one call is no high rate"
    template.missed.append(10.0)
    assert template.misses_per_s(10.0) > once
    assert template.misses_per_s(100_000.0) == pytest.approx(0.0, abs=1e-4)
    for n in range(1, 200):
        template.missed.append(10.0 * n)
    assert template.misses_per_s(2000.0) == pytest.approx(0.1, rel=0.1), "the mean over those that are remembered"
