"""The value of a resident in its container, in seconds of loading that it is expected to save.

The paper's value of a resident is P(called within a horizon) x load seconds, in any container. But a call of *one*
resident ends all others in its container, so the value depends on the neighbours. Let lambda_i be the rates of the
residents, Lambda their sum, and H the horizon. Resident i is the first to be called, within H, with probability

    lambda_i x g(Lambda),    g(Lambda) = (1 - exp(-Lambda H)) / Lambda.

Without neighbours, this is the probability of the paper. The call does not wait until the memory of the others is free
(ADR 18). So the value of a container is

    V = g(Lambda) x W,    W = sum(lambda_i x load_i).

The two numbers Lambda and W are enough to compute in constant time what one more resident adds or a victim takes away.

Worked example. ResNet-50 loads in 2 s and is called once a minute; H = 60 s. Alone in a container, it is worth
2 x 0.63 = 1.26 s. Beside a function that is called every five seconds, g(13/60) = 4.6 s, and it is worth
4.6 x 2/60 = 0.15 s. So it goes into an empty container instead.

A function that was never called has the rate at which such functions get their first call on this node
(`core.first_calls`). So it can use memory that would otherwise be empty, and it is the first to make room. The value of
a template is the seconds of importing that it is expected to save, mostly for functions without a resident.

*Several residents of one function* serve calls that overlap. The last of them is useful only for calls that find all
others in use; `core.concurrency` counts their share. Without it, these calls would wait for one of the other residents,
or for a load if that takes less time. A function whose residents are often all in use is a candidate for one more.

*Residents in their own container.* When a function would be displaced from the container that keep-alive keeps for it,
its value counts `AT_HOME` times. The keep-alive policy expects its call there, so a guess about another function has to
be clearly better. In simulations without this factor, functions that are called in bursts drove each other out of their
containers, because their rates look high after each burst.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...core.model import ResidentKey
from ...core.ports import FunctionView, NodeView

AT_HOME = 8.0
"""Factor for the value of a resident in the container that keep-alive keeps for its function."""
WAIT_RUNS = 2.0
"""Mean number of running calls that a call waits for when it finds all residents in use. It is more than 1 because the
calls of a burst wait behind each other."""
LOSS_HORIZON_S = 60.0
"""Horizon for residents that a call ends when it takes their container. It is longer than the horizon of a plan: the
next plan can replace what a plan has placed, but a function that lost its container stays without for longer."""
LOOK_EVERY_S = 10.0
"""Seconds between two thorough plans. They are needed because residents lose value while they are not called."""
TEMPLATE_CHANCE = 0.05
"""Misses that a template is expected to serve in addition to those of the candidates in view: calls of functions that
are resident elsewhere, or that are not in view."""


def until_first_call_s(rate_per_s: float, horizon_s: float) -> float:
    """g(Lambda): the mean number of seconds until the first call, at most the horizon."""
    if rate_per_s <= 0.0:
        return horizon_s
    return -math.expm1(-rate_per_s * horizon_s) / rate_per_s


def container_value_s(rate_per_s: float, weight: float, horizon_s: float) -> float:
    """V: expected seconds that a container saves within the horizon. `rate_per_s` is Lambda, and `weight` is W."""
    return until_first_call_s(rate_per_s, horizon_s) * weight


def rate(function: FunctionView, at: float, first_rate: float = 0.0) -> float:
    """Expected calls per second of a function. `first_rate` if it was never called."""
    return first_rate if function.forecast is None else function.forecast.rate(at)


def worth_s(function: FunctionView, at: float) -> float:
    """Expected seconds that the last resident of a function saves within `LOSS_HORIZON_S`, without neighbours."""
    each = rate(function, at) * function.needs
    return each * saves_s(function, function.copies - 1) * until_first_call_s(each, LOSS_HORIZON_S)


def saves_s(function: FunctionView, others: int) -> float:
    """Seconds that one more resident saves a call that finds the `others` residents of its function in use."""
    return function.load_s if others <= 0 else min(function.load_s, WAIT_RUNS * function.busy_s)


def template_s(view: NodeView, key: ResidentKey, misses: Mapping[ResidentKey, float]) -> float:
    """Expected seconds of importing that a template saves all its functions within the horizon.

    `misses` gives the expected number of calls, within the horizon, of its functions without a resident.
    """
    template = view.templates.get(key)
    return 0.0 if template is None else (misses.get(key, 0.0) + TEMPLATE_CHANCE) * template.library_s
