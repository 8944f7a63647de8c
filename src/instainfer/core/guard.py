"""Asks the policies, and answers in the place of a policy that fails.

A node has to serve calls even if a policy has a bug. So every question to a policy goes through this module. When the
policy raises an error or gives an invalid answer, a simple default answers instead, and the failure is counted and
described in `status`. The policy is asked again the next time.

The defaults are:

=============  ====================================================================================================
predictor      calls come independently of each other, at the mean rate of the remembered calls (`PlainForecast`)
keep-alive     an idle container is kept for `PLAIN_KEEP_S`, and the longest idle one is given up first
pre-loading    nothing is pre-loaded, and every resident is worth 0 s
placement      the option that costs least
=============  ====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from .lifecycle import LOADED
from .model import ContainerId, FunctionKey, Option
from .ports import (
    NOTHING_REMEMBERED,
    Cheapest,
    ContainerView,
    Contents,
    Forecast,
    FunctionView,
    Idle,
    KeptContainer,
    Known,
    NodeView,
    Policies,
    PreloadPlan,
    Remembered,
    SuggestCreate,
    SuggestLoad,
    SuggestOffload,
    Use,
    Weighed,
)
from .values import value

PLAIN_KEEP_S: Final = 600.0
"""Seconds that OpenWhisk keeps an idle container."""
PLAIN_GAP_S: Final = 600.0
"""Seconds that are assumed between the calls of a function when only one call is known."""

_NOTHING: Final = Contents()
_CHEAPEST: Final = Cheapest()

T = TypeVar("T")


@value(frozen=True, slots=True)
class PlainForecast:
    """A forecast for calls that come at a constant rate and independently of each other (a Poisson process)."""

    rate_per_s: float
    last_at: float

    def rate(self, at: float) -> float:
        return self.rate_per_s

    def probability(self, at: float, within_s: float) -> float:
        return -math.expm1(-self.rate_per_s * within_s)

    def due_at(self, probability: float) -> float:
        return self.last_at - math.log1p(-probability) / self.rate_per_s if probability < 1.0 else math.inf


def plain_forecast(arrivals: Sequence[float]) -> PlainForecast:
    """The default forecast, made from the times of at least one call, oldest first."""
    span_s = arrivals[-1] - arrivals[0]
    return PlainForecast((len(arrivals) - 1) / span_s if span_s > 0.0 else 1.0 / PLAIN_GAP_S, arrivals[-1])


@dataclass(slots=True)
class PolicyFailure:
    """How often a policy has failed, and the text of its latest error."""

    policy: str
    """Name of the policy's class."""
    count: int = 0
    last: str = ""


class Guard:
    """The only object that asks the policies of a node. `note` receives lines for the story."""

    def __init__(self, policies: Policies, note: Callable[[str], None]) -> None:
        self.failures: dict[str, PolicyFailure] = {}
        """The failures by role: ``keep-alive``, ``predictor``, ``pre-loading`` or ``placement``. A role without any has
        no entry."""
        self.preloading_active = policies.preloader.active
        """Whether the pre-loading policy is to be asked at all."""
        self._keepalive = policies.keepalive
        self._predictor = policies.predictor
        self._preloader = policies.preloader
        self._placement = policies.placement
        self._note = note

    # -- predictor -----------------------------------------------------------------------------------------------------

    def forecast(self, arrivals: Sequence[float], before: Forecast | None) -> Forecast | None:
        # A predictor gets back only forecasts that it made itself.
        own = None if isinstance(before, PlainForecast) else before
        return self._ask("predictor", lambda: self._predictor.forecast(arrivals, own), lambda: plain_forecast(arrivals))

    def is_sound(self, forecast: Forecast, at: float) -> bool:
        """Whether a forecast gives valid answers to all questions. For finding the cause after something has failed."""
        return self._ask("predictor", lambda: _try_forecast(forecast, at), lambda: False)

    def rate(self, forecast: Forecast, at: float) -> float | None:
        """Expected calls per second at `at`. None if the forecast fails."""
        return self._ask("predictor", lambda: forecast.rate(at), lambda: None)

    # -- keep-alive ----------------------------------------------------------------------------------------------------

    def spends(self, namespace: str) -> bool:
        """Whether memory that nobody uses may be spent on containers of this namespace."""
        return self._ask("keep-alive", lambda: self._keepalive.spends(namespace), lambda: False)

    def called(self, function: FunctionKey, at: float) -> None:
        self._ask("keep-alive", lambda: self._keepalive.called(function, at), lambda: None)

    def idle(self, use: Use) -> Idle:
        return self._ask("keep-alive", lambda: self._idle(use), lambda: Idle(use.at + PLAIN_KEEP_S))

    def _idle(self, use: Use) -> Idle:
        idle = self._keepalive.idle(use)
        # This condition is False for NaN as well.
        soon = (idle.expires_at, idle.shared_at, use.at if idle.prewarm_at is None else idle.prewarm_at)
        if not all(moment >= use.at for moment in soon):
            raise ValueError(f"{idle} is not after {use.at}")
        return idle

    def evicted(self, container: KeptContainer) -> None:
        self._ask("keep-alive", lambda: self._keepalive.evicted(container), lambda: None)

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return self._ask("keep-alive", lambda: self._eviction_order(idle), lambda: idle)

    def _eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        order = self._keepalive.eviction_order(idle)
        if order is not idle and (len(order) != len(idle) or {each.id for each in order} != {each.id for each in idle}):
            raise ValueError(f"an order of {len(order)} containers is none of the {len(idle)} that were given")
        return order

    # -- pre-loading ---------------------------------------------------------------------------------------------------

    def worth(self, function: FunctionView, at: float) -> float | None:
        """Expected seconds that a resident of the function saves. None if the policy fails."""
        # This is `_ask` written out, because a call asks for every resident of every container that it might take.
        try:
            worth_s = self._preloader.worth(function, at)
            if worth_s >= 0.0:
                return worth_s
            raise ValueError(f"{function.key} is worth {worth_s} s")
        except Exception as error:
            self._failed("pre-loading", error)
            return None

    def weigh(self, function: FunctionView, at: float) -> Sequence[Weighed]:
        """What could be made for a function. Nothing if the policy fails."""
        return self._ask("pre-loading", lambda: self._preloader.weigh(function, at), lambda: ())

    def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        """What stands in an idle container is worth. Worth nothing if the policy fails, or is not active."""
        if not self.preloading_active:
            return _NOTHING
        return self._ask("pre-loading", lambda: self._contents(container, known, at), lambda: _NOTHING)

    def _contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        contents = self._preloader.contents(container, known, at)
        there = {each.function: each.is_template for each in container.residents if each.state is LOADED}
        for stand in contents.stands:
            if there.get(stand.key) is not stand.is_template:
                raise ValueError(f"{stand.key} does not stand in {container.id}")
            if not (stand.gain >= 0.0 and stand.loss_s >= 0.0):
                raise ValueError(f"{stand.key} gains {stand.gain} and loses {stand.loss_s} s")
        if not contents.loss_s >= 0.0:
            raise ValueError(f"what is in {container.id} loses {contents.loss_s} s")
        return contents

    def plan(self, view: NodeView) -> PreloadPlan | None:
        """The policy's plan. None if the policy fails."""
        return self._ask("pre-loading", lambda: self._plan(view), lambda: None)

    def _plan(self, view: NodeView) -> PreloadPlan:
        plan = self._preloader.plan(view)
        moments = [when for when, _ in plan.later] + ([] if plan.wake_at is None else [plan.wake_at])
        if any(math.isnan(when) for when in moments):
            raise ValueError("a plan waits for a moment that is no number")
        if not all(isinstance(each, SuggestLoad | SuggestOffload | SuggestCreate) for each in plan.suggestions):
            raise ValueError(f"a plan holds more than suggestions: {plan.suggestions}")
        return plan

    # -- placement -----------------------------------------------------------------------------------------------------

    def choose(self, options: Sequence[Option]) -> Option:
        return self._ask("placement", lambda: self._choose(options), lambda: _CHEAPEST.choose(options))

    def _choose(self, options: Sequence[Option]) -> Option:
        choice = self._placement.choose(options)
        if choice not in options:
            raise ValueError(f"{choice} is none of the {len(options)} options")
        return choice

    # -- ends ----------------------------------------------------------------------------------------------------------

    def ended(self, container: KeptContainer) -> None:
        """Tell the policies that a container no longer exists."""
        self._ask("keep-alive", lambda: self._keepalive.ended(container), lambda: None)

    def forget(self, function: FunctionKey) -> None:
        """Tell the policies that nothing of a removed function is left."""
        self._ask("keep-alive", lambda: self._keepalive.forget(function), lambda: None)

    def remembered(self) -> Remembered:
        """The functions and containers that the keep-alive policy remembers something about."""
        return self._ask("keep-alive", self._keepalive.remembered, lambda: NOTHING_REMEMBERED)

    def stale_memory(self, functions: set[FunctionKey], containers: set[ContainerId]) -> str | None:
        """Describe what a policy remembers although it no longer exists. None if there is nothing like that.

        `functions` and `containers` are those that exist.
        """
        remembered = self.remembered()
        stale = {*remembered.functions} - functions or {*remembered.containers} - containers
        # A policy that has failed may have missed that something ended.
        if stale and "keep-alive" not in self.failures:
            return f"the keep-alive policy remembers {sorted(stale)}, which are not there any longer"
        return None

    # -- failures ------------------------------------------------------------------------------------------------------

    def _ask(self, role: str, question: Callable[[], T], plain: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:
            # A policy may raise any error.
            self._failed(role, error)
            return plain()

    def _failed(self, role: str, error: Exception) -> None:
        policies: dict[str, object] = {
            "keep-alive": self._keepalive,
            "predictor": self._predictor,
            "pre-loading": self._preloader,
            "placement": self._placement,
        }
        policy = policies[role]
        failure = self.failures.setdefault(role, PolicyFailure(type(policy).__name__))
        failure.count += 1
        failure.last = f"{type(error).__name__}: {error}"[:500]
        self._note(f"the {role} policy {failure.policy} failed, a plain default stands in: {failure.last}")


def _try_forecast(forecast: Forecast, at: float) -> bool:
    told = (forecast.rate(at), forecast.probability(at, 1.0), forecast.due_at(0.5))
    if not (told[0] >= 0.0 and 0.0 <= told[1] <= 1.0 and not math.isnan(told[2])):
        raise ValueError(f"rate, probability and due time {told} are no forecast")
    return True
