"""What a resident is worth in its place: the objective of the packing.

The paper values a resident by P(called within a horizon) x load seconds wherever it is. But a call for *any* resident
of a container ends all others in it, so the value depends on the neighbours. With lambda_i the residents' own rates and
Lambda their sum, resident i is the first to be called, and within the horizon H, with probability

    lambda_i x g(Lambda),    g(Lambda) = (1 - exp(-Lambda H)) / Lambda,

which is the paper's value when there are no neighbours. That call does not wait for the memory of the others (ADR 18).
So a container is worth

    V = g(Lambda) x W,    W = sum(lambda_i x load_i):

two numbers tell everything, and what a newcomer adds, or a victim takes away, is known in constant time.

Worked example. ResNet-50 (load 2 s, called once a minute, H = 60 s) alone: 2 x 0.63 = 1.26 s. Beside a function that is
called every five seconds: g(13/60) = 4.6 s, and 4.6 x 2/60 = 0.15 s. It goes into the other container.

A function that was never called has the rate at which such functions are called for the first time here
(`core.first_calls`), so that otherwise empty memory is used; being worth least it is the first to make room. A
template is worth the imports that it is expected to save its functions, mostly those without a resident of their own.

*Several residents of one function* serve calls that overlap. The last of them is worth what it saves those calls that
find all others in use, whose share is counted (`core.concurrency`): they would wait for one of the others, and only for
a load if that is sooner. A function whose residents are often all in use is a candidate for one more.

*At home.* Before a function is displaced from the container that keep-alive holds for it, it counts `AT_HOME` times:
the policy below expects its call there, and a guess about others has to be clearly better than that. Found by
simulating: without it pre-loading drove bursty functions, whose rates look high after each burst, out of each other's
containers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...core.model import ResidentKey
from ...core.ports import FunctionView, NodeView

AT_HOME = 8.0
WAIT_RUNS = 2.0
"""Calls that one waits for, in the mean, when it finds all residents in use: bursts queue."""
LOSS_HORIZON_S = 60.0
"""How long a call's victims would have stayed. Longer than a plan's horizon: what a plan has placed may be replaced by
the next one, but whose container was taken stays without until somebody has room for it."""
LOOK_EVERY_S = 10.0
"""How often everything is looked at: those that are resident lose worth while they are silent."""
TEMPLATE_CHANCE = 0.05
"""Expected misses of a template's functions that are resident elsewhere, or that nobody has in view."""


def until_first_call_s(rate_per_s: float, horizon_s: float) -> float:
    """g(Lambda): seconds within the horizon during which nobody has been called yet, in the mean."""
    if rate_per_s <= 0.0:
        return horizon_s
    return -math.expm1(-rate_per_s * horizon_s) / rate_per_s


def container_value_s(rate_per_s: float, weight: float, horizon_s: float) -> float:
    """V: seconds that a container is expected to save within the horizon, by its Lambda and W."""
    return until_first_call_s(rate_per_s, horizon_s) * weight


def rate(function: FunctionView, at: float, first_rate: float = 0.0) -> float:
    """Calls per second expected of it; `first_rate` if it was never called."""
    return first_rate if function.forecast is None else function.forecast.rate(at)


def worth_s(function: FunctionView, at: float) -> float:
    """Seconds that its resident is expected to save a call before `LOSS_HORIZON_S`, neighbours apart; of several, the
    last one."""
    each = rate(function, at) * function.needs
    return each * saves_s(function, function.copies - 1) * until_first_call_s(each, LOSS_HORIZON_S)


def saves_s(function: FunctionView, others: int) -> float:
    """Seconds that a resident saves a call which finds so many others of the function, all of them in use."""
    return function.load_s if others <= 0 else min(function.load_s, WAIT_RUNS * function.busy_s)


def template_s(view: NodeView, key: ResidentKey, misses: Mapping[ResidentKey, float]) -> float:
    """Seconds of importing that a template is expected to save within the horizon, over all its functions."""
    template = view.templates.get(key)
    return 0.0 if template is None else (misses.get(key, 0.0) + TEMPLATE_CHANCE) * template.library_s
