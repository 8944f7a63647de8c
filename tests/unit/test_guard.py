"""A policy that raises, or answers nonsense, costs nobody anything: a plain default stands in and it is named."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
from support.nodes import A, B, CheckedNode, function, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.guard import PLAIN_GAP_S, PLAIN_KEEP_S, plain_forecast
from instainfer.core.model import FunctionKey, StartKind
from instainfer.core.ports import (
    Forecast,
    FunctionView,
    Idle,
    KeptContainer,
    NodeView,
    PreloadPlan,
    Remembered,
    SuggestLoad,
    Use,
)
from instainfer.invoker.snapshot import snapshot
from instainfer.policy.memoryless import Memoryless


class Broken(RuntimeError):
    pass


class BrokenKeepAlive:
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


class BrokenPreloader(Memoryless):
    active = True

    def plan(self, view: NodeView) -> PreloadPlan:
        raise Broken("plan")

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
    node = CheckedNode(1024, keepalive=BrokenKeepAlive(), predictor=BrokenPredictor(), preloader=BrokenPreloader())
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
    node = CheckedNode(keepalive=BrokenKeepAlive())
    node.serve(0.0, "node-c1", "a1", A)
    assert node.node.books.pool.containers["node-c1"].expires_at == 2.0 + PLAIN_KEEP_S


def test_a_failure_is_told_in_the_story_with_the_event_that_it_happened_on() -> None:
    node = CheckedNode(predictor=BrokenPredictor())
    node.call(0.0, "a1", A)
    note = "the predictor policy BrokenPredictor failed, a plain default stands in: Broken: forecast"
    assert node.node.story.last.notes == (note,)


def test_a_forecast_that_fails_is_replaced_and_shown_to_its_predictor_no_more() -> None:
    node = CheckedNode(predictor=Deceiver(), preloader=Valuing(0.0))
    for n in range(3):
        at = 10.0 * n
        if n == 0:
            node.serve(at, "node-c1", "a0", A)
        else:
            node.call(at, f"a{n}", A)
            node.ran(at + 0.1, "node-c1", f"a{n}")
    assert failures(node)["predictor"][1] > 0
    assert snapshot(node.node, 30.0)["functions"][0]["calls_per_s"] == pytest.approx(0.1)


class Valuing(Memoryless):
    """Asks forecasts, and answers what it is told to."""

    active = True

    def __init__(self, answer: float) -> None:
        self.answer = answer

    def plan(self, view: NodeView) -> PreloadPlan:
        for each in view.functions.values():
            if each.forecast is not None:
                each.forecast.rate(view.at)
        return PreloadPlan()

    def worth(self, function: FunctionView, at: float) -> float:
        return self.answer


def test_a_policy_that_lacks_what_is_asked_of_it_harms_nobody() -> None:
    node = CheckedNode(512, preloader=Incomplete())
    node.tell(e.FunctionRegistered(0.0, function("u/a@1")))
    node.serve(0.0, "node-c1", "a1", A)
    only(node.call(20.0, "u1", "u/a@1"), d.StopContainer)
    only(node.tell(e.ContainerGone(20.1, "node-c1")), d.StartContainer)
    assert "pre-loading" in failures(node)


Answers = Callable[[Use], Idle]


@pytest.mark.parametrize(
    "answer",
    [
        lambda use: Idle(math.nan),
        lambda use: Idle(use.at - 1.0),
        lambda use: Idle(use.at + 5.0, shared_at=math.nan),
        lambda use: Idle(use.at + 5.0, prewarm_at=use.at - 5.0),
        lambda use: None,
        lambda use: Idle("soon"),
    ],
    ids=["no number", "past", "shared at no number", "pre-warmed in the past", "nothing", "a word"],
)
def test_an_answer_that_is_none_is_not_believed(answer: Answers) -> None:
    class Wrong(Memoryless):
        def called(self, function: FunctionKey, at: float) -> None: ...

        def idle(self, use: Use) -> Idle:
            return answer(use)

        def evicted(self, container: KeptContainer) -> None: ...

        def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
            return idle

    node = CheckedNode(keepalive=Wrong())
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
    class Wrong(Memoryless):
        def called(self, function: FunctionKey, at: float) -> None: ...

        def idle(self, use: Use) -> Idle:
            return Idle(use.at + 600.0)

        def evicted(self, container: KeptContainer) -> None: ...

        def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
            return order(idle)

    node = CheckedNode(1024, keepalive=Wrong())
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

    node = CheckedNode(preloader=Wrong(1.0))
    assert node.serve(0.0, "node-c1", "a1", A).failure is None
    assert "pre-loading" in failures(node)
    assert node.node.books.timers.plan_at is not None, "it is asked again"


@pytest.mark.parametrize("worth", [math.nan, -1.0, "much"])
def test_a_worth_that_is_none_counts_as_nothing(worth: float) -> None:
    node = CheckedNode(512, preloader=Valuing(worth))
    node.serve(0.0, "node-c1", "a1", A)
    assert only(node.call(20.0, "b1", B), d.Run).container == "node-c1"


def test_a_suggestion_that_names_nothing_that_is_there_is_rejected() -> None:
    class Wrong(Valuing):
        def plan(self, view: NodeView) -> PreloadPlan:
            return PreloadPlan((SuggestLoad("nowhere", "nobody", -5, math.nan, ("none",), ""),))

    node = CheckedNode(preloader=Wrong(1.0))
    assert node.serve(0.0, "node-c1", "a1", A).failure is None


def test_a_plain_forecast_is_that_of_independent_calls() -> None:
    forecast = plain_forecast([0.0, 10.0, 20.0])
    assert forecast.rate(25.0) == pytest.approx(0.1)
    assert forecast.probability(25.0, 10.0) == pytest.approx(1 - math.exp(-1))
    assert forecast.due_at(0.5) == pytest.approx(20.0 + 10.0 * math.log(2))
    assert forecast.due_at(1.0) == math.inf
    assert plain_forecast([5.0]).rate(6.0) == 1 / PLAIN_GAP_S
    assert plain_forecast([5.0, 5.0]).rate(6.0) == 1 / PLAIN_GAP_S
