"""A policy that raises, or answers nonsense, costs nobody anything: a plain default stands in and it is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from support.nodes import A, B, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.guard import PLAIN_GAP_S, PLAIN_KEEP_S, plain_forecast
from instainfer.core.model import MIB, FunctionKey, StartKind, function_template_key, template_key
from instainfer.core.ports import (
    ContainerView,
    Contents,
    Forecast,
    FunctionView,
    Idle,
    KeptContainer,
    Known,
    NodeView,
    PreloadPlan,
    Remembered,
    Stand,
    SuggestCreate,
    Suggestion,
    SuggestLoad,
    SuggestOffload,
    Use,
)
from instainfer.invoker.snapshot import snapshot
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.objective import Valued
from instainfer.policy.preload.opportunistic import Opportunistic


class Broken(RuntimeError):
    pass


class BrokenKeepAlive:
    def spends(self, namespace: str) -> bool:
        raise Broken("spends")

    def called(self, function: FunctionKey, at: float) -> None:
        raise Broken("called")

    def idle(self, use: Use) -> Idle:
        raise Broken("idle")

    def evicted(self, container: KeptContainer) -> None:
        raise Broken("evicted")

    def ended(self, container: KeptContainer) -> None:
        raise Broken("ended")

    def forget(self, function: FunctionKey) -> None:
        raise Broken("forget")

    def remembered(self) -> Remembered:
        raise Broken("remembered")

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        raise Broken("eviction_order")


class BrokenPredictor:
    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        raise Broken("forecast")


class BrokenForecast:
    def rate(self, at: float) -> float:
        raise Broken("rate")

    def probability(self, at: float, within_s: float) -> float:
        return 0.5

    def due_at(self, probability: float) -> float:
        return 0.0


class Deceiver:
    """Its forecasts fail only when they are asked."""

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        assert before is None or isinstance(before, BrokenForecast), "another's forecast"
        return BrokenForecast()


class BrokenPreloader:
    active = True

    def plan(self, view: NodeView) -> PreloadPlan:
        raise Broken("plan")

    def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        raise Broken("contents")

    def worth(self, function: FunctionView, at: float) -> float:
        raise Broken("worth")


class Incomplete:
    """A policy of another package, written for an earlier version."""

    active = True

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan()

    def worth(self, function: FunctionView, at: float) -> float:
        return 1.0


def failures(node: CheckedNode) -> dict[str, tuple[str, int]]:
    shown = snapshot(node.node, node.node.books.at)["policy_failures"]
    return {each["role"]: (each["policy"], each["count"]) for each in shown}


def test_a_node_whose_policies_all_fail_serves_every_call() -> None:
    node = CheckedNode(
        1024,
        keepalive=BrokenKeepAlive(),
        predictor=BrokenPredictor(),
        preloader=BrokenPreloader(),
        policies_fail=True,
    )
    assert node.serve(0.0, "node-c1", "a1", A).failure is None
    assert only(node.call(5.0, "a2", A), d.Run).start_kind is StartKind.WARM
    assert only(node.ran(5.1, "node-c1", "a2"), d.Reply).failure is None
    node.serve(10.0, "node-c2", "b1", B)
    node.tell(e.FunctionRegistered(20.0, function("u/c@1", 1024)))
    stops = [each for each in node.call(20.0, "c1", "u/c@1") if isinstance(each, d.StopContainer)]
    assert [stop.container for stop in stops] == ["node-c1", "node-c2"]
    node.tell(e.ContainerGone(20.1, "node-c1"))
    only(node.tell(e.ContainerGone(20.2, "node-c2")), d.StartContainer)
    node.tell(e.FunctionRemoved(21.0, A))
    assert {role: name for role, (name, _) in failures(node).items()} == {
        "keep-alive": "BrokenKeepAlive",
        "predictor": "BrokenPredictor",
        "pre-loading": "BrokenPreloader",
    }


def test_the_plain_keep_alive_is_openwhisks() -> None:
    node = CheckedNode(keepalive=BrokenKeepAlive(), policies_fail=True)
    node.serve(0.0, "node-c1", "a1", A)
    assert node.node.books.pool.containers["node-c1"].expires_at == 2.0 + PLAIN_KEEP_S


def test_a_failure_is_told_in_the_story_with_the_event_that_it_happened_on() -> None:
    node = CheckedNode(predictor=BrokenPredictor(), policies_fail=True)
    node.call(0.0, "a1", A)
    note = "the predictor policy BrokenPredictor failed, a plain default stands in: Broken: forecast"
    assert node.node.story.last.notes == (note,)


def test_a_forecast_that_fails_is_replaced_and_shown_to_its_predictor_no_more() -> None:
    node = CheckedNode(predictor=Deceiver(), preloader=Valuing(0.0), policies_fail=True)
    for n in range(3):
        at = 10.0 * n
        if n == 0:
            node.serve(at, "node-c1", "a0", A)
        else:
            node.call(at, f"a{n}", A)
            node.ran(at + 0.1, "node-c1", f"a{n}")
    assert failures(node)["predictor"][1] > 0
    assert snapshot(node.node, 30.0)["functions"][0]["calls_per_s"] == pytest.approx(0.1)


class Valuing(Valued):
    """Asks forecasts, and answers what it is told to."""

    active = True

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def plan(self, view: NodeView) -> PreloadPlan:
        for each in view.known.functions.values():
            if each.forecast is not None:
                each.forecast.rate(view.at)
        return PreloadPlan()

    def worth(self, function: FunctionView, at: float) -> float:
        return self.answer


def test_a_pre_loading_policy_that_lacks_what_is_asked_of_it_harms_nobody() -> None:
    node = CheckedNode(512, preloader=Incomplete(), policies_fail=True)  # type: ignore[arg-type]
    node.tell(e.FunctionRegistered(0.0, function("u/a@1")))
    node.serve(0.0, "node-c1", "a1", A)
    run = only(node.call(20.0, "b1", B), d.Run)
    assert (run.container, run.ends) == ("node-c1", (A,))
    node.gone(20.1, "node-c1", A)
    node.loaded(21.0, "node-c1", B)
    node.ran(21.1, "node-c1", "b1")
    only(node.call(30.0, "u1", "u/a@1"), d.StopContainer)
    only(node.tell(e.ContainerGone(30.1, "node-c1")), d.StartContainer)
    assert "pre-loading" in failures(node)


class Earlier:
    """A keep-alive policy of another package, written when none was asked whether it spends memory."""

    def __init__(self) -> None:
        self._fixed = Fixed()

    def __getattr__(self, name: str) -> object:
        if name == "spends":
            raise AttributeError(name)
        return getattr(self._fixed, name)


def test_where_keep_alive_cannot_say_whether_it_spends_memory_no_container_is_created_ahead() -> None:
    keepalive = Earlier()
    node = CheckedNode(2048, keepalive=keepalive, preloader=Opportunistic(), policies_fail=True)  # type: ignore[arg-type]
    none(node.advance(1.0), d.StartContainer)
    assert node.serve(2.0, "node-c1", "a1", A).failure is None
    none(node.advance(60.0), d.StartContainer)
    assert failures(node).keys() == {"keep-alive"}


Answers = Callable[[Use], Idle]


@pytest.mark.parametrize(
    "answer",
    [
        lambda use: Idle(math.nan),
        lambda use: Idle(use.at - 1.0),
        lambda use: Idle(use.at + 5.0, shared_at=math.nan),
        lambda use: Idle(use.at + 5.0, prewarm_at=use.at - 5.0),
        lambda use: None,
        lambda use: Idle("soon"),  # type: ignore[arg-type]
    ],
    ids=["no number", "past", "shared at no number", "pre-warmed in the past", "nothing", "a word"],
)
def test_an_answer_that_is_none_is_not_believed(answer: Answers) -> None:
    class Wrong(Fixed):
        def idle(self, use: Use) -> Idle:
            return answer(use)

    node = CheckedNode(keepalive=Wrong(), policies_fail=True)
    assert node.serve(0.0, "node-c1", "a1", A).failure is None
    assert node.node.books.pool.containers["node-c1"].expires_at == 2.0 + PLAIN_KEEP_S
    assert failures(node) == {"keep-alive": ("Wrong", 1)}


@pytest.mark.parametrize(
    "order",
    [lambda idle: [], lambda idle: [*idle, *idle], lambda idle: [idle[0]] * len(idle), lambda idle: None],
    ids=["nobody", "everybody twice", "one for all", "nothing"],
)
def test_an_order_that_is_none_is_not_followed(
    order: Callable[[Sequence[KeptContainer]], Sequence[KeptContainer]],
) -> None:
    class Wrong(Fixed):
        def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
            return order(idle)

    node = CheckedNode(1024, keepalive=Wrong(), policies_fail=True)
    node.tell(e.FunctionRegistered(0.0, function("u/a@1")))
    node.serve(0.0, "node-c1", "a1", A)
    node.serve(10.0, "node-c2", "b1", B)
    assert only(node.call(20.0, "u1", "u/a@1"), d.StopContainer).container == "node-c1"


@pytest.mark.parametrize(
    "plan",
    [
        PreloadPlan(wake_at=math.nan),
        PreloadPlan(later=((math.nan, A),)),
        PreloadPlan(suggestions=("load it",)),  # type: ignore[arg-type]
        None,
    ],
    ids=["wakes at no number", "due at no number", "a word", "nothing"],
)
def test_a_plan_that_is_none_is_not_followed(plan: PreloadPlan) -> None:
    class Wrong(Valuing):
        def plan(self, view: NodeView) -> PreloadPlan:
            return plan

    node = CheckedNode(preloader=Wrong(1.0), policies_fail=True)
    assert node.serve(0.0, "node-c1", "a1", A).failure is None
    assert "pre-loading" in failures(node)
    assert node.node.books.timers.plan_at is not None, "it is asked again"


@pytest.mark.parametrize("worth", [math.nan, -1.0, "much"])
def test_a_worth_that_is_none_counts_as_nothing(worth: float) -> None:
    node = CheckedNode(512, preloader=Valuing(worth), policies_fail=True)
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.call(20.0, "b1", B), d.Run).container == "node-c1"


NOT_THERE = Stand(function_template_key(A), 500 * MIB, 0.0, is_template=True)


@pytest.mark.parametrize(
    "contents",
    [
        None,
        Contents((NOT_THERE,)),
        Contents((replace(NOT_THERE, key=A),)),
        Contents(loss_s=math.nan),
        Contents(loss_s=-1.0),
    ],
    ids=[
        "nothing",
        "a template that is not there",
        "a function as a template",
        "a loss of no number",
        "a gain as loss",
    ],
)
def test_contents_that_are_none_count_as_nothing(contents: Contents) -> None:
    class Wrong(Valuing):
        def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
            return contents

    node = CheckedNode(512, preloader=Wrong(1.0), function_templates=True, policies_fail=True)
    node.tell(e.FunctionRegistered(0.0, replace(function("t/large@1", estimate_mib=500), environment="other")))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.tell(e.LoadFinished(1.4, "node-c1", template_key("t", "env"), 1.0, 0.0, 100 * MIB))
    node.loaded(1.9, "node-c1", A)
    node.ran(2.0, "node-c1", "a1")
    assert only(node.call(20.0, "l1", "t/large@1"), d.Run).container == "node-c1"
    node.gone(20.1, "node-c1", A)
    node.loaded(21.0, "node-c1", "t/large@1", mib=500)
    assert only(node.ran(21.1, "node-c1", "l1", mib=500), d.Reply).failure is None
    assert failures(node).keys() == {"pre-loading"}


@pytest.mark.parametrize(
    "suggestion",
    [
        SuggestLoad("nowhere", "nobody", -5, math.nan, ("none",), ""),
        SuggestLoad("node-c1", "nobody", -5, math.nan, ("none",), ""),
        SuggestLoad("node-c1", B, 0, 1.0, ("none",), ""),
        SuggestOffload("nowhere", A, ""),
        SuggestOffload("node-c1", "nobody", ""),
        SuggestCreate("nobody", ""),
    ],
    ids=repr,
)
def test_a_suggestion_that_names_nothing_that_is_there_is_rejected(suggestion: Suggestion) -> None:
    class Wrong(Valuing):
        def plan(self, view: NodeView) -> PreloadPlan:
            return PreloadPlan((suggestion,))

    node = CheckedNode(preloader=Wrong(1.0), keepalive=Objective())
    node.tell(e.FunctionRegistered(0.0, function(B, estimate_mib=500)))
    assert node.serve(0.0, "node-c1", "a1", A).failure is None
    none(node.advance(5.0), d.Load, d.Offload, d.StartContainer, d.StopContainer)
    notes = [note for entry in node.node.story for note in entry.notes]
    where = "" if isinstance(suggestion, SuggestCreate) else f" in {suggestion.container}"
    assert any(note.startswith(f"{suggestion.function}{where}: no") for note in notes)


def test_a_plain_forecast_is_that_of_independent_calls() -> None:
    forecast = plain_forecast([0.0, 10.0, 20.0])
    assert forecast.rate(25.0) == pytest.approx(0.1)
    assert forecast.probability(25.0, 10.0) == pytest.approx(1 - math.exp(-1))
    assert forecast.due_at(0.5) == pytest.approx(20.0 + 10.0 * math.log(2))
    assert forecast.due_at(1.0) == math.inf
    assert plain_forecast([5.0]).rate(6.0) == 1 / PLAIN_GAP_S
    assert plain_forecast([5.0, 5.0]).rate(6.0) == 1 / PLAIN_GAP_S
