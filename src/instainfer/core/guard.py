"""Asks the policies, and answers in their place when one of them fails.

A policy is somebody's idea, and a node serves calls whether the idea works or not. So every question to a policy goes
through here: when it raises, or gives what cannot be an answer, a plain default answers instead, and the failure is
counted and kept in words for `status`. The policy is asked again the next time.

=============  ====================================================================================================
predictor      calls come independently of each other, at the mean rate of the arrivals that are remembered
               (`PlainForecast`)
keep-alive     an idle container is kept for `PLAIN_KEEP_S`; the longest idle goes first
pre-loading    nothing is pre-loaded, and no resident is worth more than another
=============  ====================================================================================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from .model import ContainerId, FunctionKey
from .ports import (
    NOTHING_REMEMBERED,
    Forecast,
    FunctionView,
    Idle,
    KeepAlive,
    KeptContainer,
    NodeView,
    Policies,
    Preloader,
    PreloadPlan,
    Remembered,
    SuggestLoad,
    SuggestOffload,
    Use,
)
from .values import value

PLAIN_KEEP_S: Final = 600.0
"""As long as OpenWhisk keeps an idle container."""
PLAIN_GAP_S: Final = 600.0
"""Between the calls of a function of which a single one is known."""

T = TypeVar("T")


@value(frozen=True, slots=True)
class PlainForecast:
    """The calls of a Poisson process (constant rate, no memory)."""

    rate_per_s: float
    last_at: float

    def rate(self, at: float) -> float:
        return self.rate_per_s

    def probability(self, at: float, within_s: float) -> float:
        return -math.expm1(-self.rate_per_s * within_s)

    def due_at(self, probability: float) -> float:
        return self.last_at - math.log1p(-probability) / self.rate_per_s if probability < 1.0 else math.inf


def plain_forecast(arrivals: Sequence[float]) -> PlainForecast:
    """From at least one arrival, oldest first."""
    span_s = arrivals[-1] - arrivals[0]
    return PlainForecast((len(arrivals) - 1) / span_s if span_s > 0.0 else 1.0 / PLAIN_GAP_S, arrivals[-1])


@dataclass(slots=True)
class PolicyFailure:
    """How often a policy has failed, and how it did last."""

    policy: str
    """Name of its class."""
    count: int = 0
    last: str = ""


class Guard:
    """The only one that asks a node's policies anything. `note` takes what is to stand in the story."""

    def __init__(self, policies: Policies, note: Callable[[str], None]) -> None:
        self.failures: dict[str, PolicyFailure] = {}
        """By role: ``keep-alive``, ``predictor``, ``pre-loading``; without those that have not failed."""
        self.preloading_active = policies.preloader.active
        """Whether the pre-loading policy is to be asked at all."""
        self._keepalive = policies.keepalive
        self._predictor = policies.predictor
        self._preloader = policies.preloader
        self._note = note

    # -- predictor -------------------------------------------------------------------------------------------------

    def forecast(self, arrivals: Sequence[float], before: Forecast | None) -> Forecast | None:
        # A predictor is shown its own forecasts only.
        own = None if isinstance(before, PlainForecast) else before
        return self._ask("predictor", lambda: self._predictor.forecast(arrivals, own), lambda: plain_forecast(arrivals))

    def is_sound(self, forecast: Forecast, at: float) -> bool:
        """Whether a forecast can be asked. Everything that is asked of it is, so this is for when something failed."""
        return self._ask("predictor", lambda: _try_forecast(forecast, at), lambda: False)

    def rate(self, forecast: Forecast, at: float) -> float | None:
        """Calls per second; None when the forecast cannot tell."""
        return self._ask("predictor", lambda: forecast.rate(at), lambda: None)

    # -- keep-alive ------------------------------------------------------------------------------------------------

    def called(self, function: FunctionKey, at: float) -> None:
        self._ask("keep-alive", lambda: self._keepalive.called(function, at), lambda: None)

    def idle(self, use: Use) -> Idle:
        return self._ask("keep-alive", lambda: self._idle(use), lambda: Idle(use.at + PLAIN_KEEP_S))

    def _idle(self, use: Use) -> Idle:
        idle = self._keepalive.idle(use)
        # Written so that a NaN is refused too.
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

    # -- pre-loading -----------------------------------------------------------------------------------------------

    def worth(self, function: FunctionView, at: float) -> float | None:
        """Seconds; None when that cannot be told."""
        # As `_ask`, and spelt out: calls ask for every neighbour of every container that they might take.
        try:
            worth_s = self._preloader.worth(function, at)
            if worth_s >= 0.0:
                return worth_s
            raise ValueError(f"{function.key} is worth {worth_s} s")
        except Exception as error:
            self._failed("pre-loading", error)
            return None

    def plan(self, view: NodeView) -> PreloadPlan | None:
        """None when there is none."""
        return self._ask("pre-loading", lambda: self._plan(view), lambda: None)

    def _plan(self, view: NodeView) -> PreloadPlan:
        plan = self._preloader.plan(view)
        moments = [when for when, _ in plan.later] + ([] if plan.wake_at is None else [plan.wake_at])
        if any(math.isnan(when) for when in moments):
            raise ValueError("a plan waits for a moment that is no number")
        if not all(isinstance(each, SuggestLoad | SuggestOffload) for each in plan.suggestions):
            raise ValueError(f"a plan holds more than suggestions: {plan.suggestions}")
        return plan

    # -- ends ------------------------------------------------------------------------------------------------------

    def ended(self, container: KeptContainer) -> None:
        """A container is no longer there."""
        self._ask("keep-alive", lambda: self._keepalive.ended(container), lambda: None)
        self._ask("pre-loading", lambda: self._preloader.ended(container.id), lambda: None)

    def forget(self, function: FunctionKey) -> None:
        """Nothing of a function is left."""
        self._ask("keep-alive", lambda: self._keepalive.forget(function), lambda: None)
        self._ask("pre-loading", lambda: self._preloader.forget(function), lambda: None)

    def remembered(self) -> dict[str, Remembered]:
        """By role, of what the policies remember anything."""
        return {
            "keep-alive": self._ask("keep-alive", lambda: _remembered(self._keepalive), lambda: NOTHING_REMEMBERED),
            "pre-loading": self._ask("pre-loading", lambda: _remembered(self._preloader), lambda: NOTHING_REMEMBERED),
        }

    def stale_memory(self, functions: set[FunctionKey], containers: set[ContainerId]) -> str | None:
        """What a policy remembers although it is not there any longer, in words; None if all is well."""
        for role, remembered in self.remembered().items():
            stale = {*remembered.functions} - functions or {*remembered.containers} - containers
            # One that has failed may have missed what it was told.
            if stale and role not in self.failures:
                return f"the {role} policy remembers {sorted(stale)}, which are not there any longer"
        return None

    # -- failures --------------------------------------------------------------------------------------------------

    def _ask(self, role: str, question: Callable[[], T], plain: Callable[[], T]) -> T:
        try:
            return question()
        except Exception as error:
            # A policy may fail in any way that code can.
            self._failed(role, error)
            return plain()

    def _failed(self, role: str, error: Exception) -> None:
        policy = {"keep-alive": self._keepalive, "predictor": self._predictor, "pre-loading": self._preloader}[role]
        failure = self.failures.setdefault(role, PolicyFailure(type(policy).__name__))
        failure.count += 1
        failure.last = f"{type(error).__name__}: {error}"[:500]
        self._note(f"the {role} policy {failure.policy} failed, a plain default stands in: {failure.last}")


def _remembered(policy: KeepAlive | Preloader) -> Remembered:
    return policy.remembered()


def _try_forecast(forecast: Forecast, at: float) -> bool:
    told = (forecast.rate(at), forecast.probability(at, 1.0), forecast.due_at(0.5))
    if not (told[0] >= 0.0 and 0.0 <= told[1] <= 1.0 and not math.isnan(told[2])):
        raise ValueError(f"rate, probability and due time {told} are no forecast")
    return True
