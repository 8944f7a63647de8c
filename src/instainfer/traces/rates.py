"""Draws how often a synthetic function is called, given its trigger.

The published distribution over all functions is split up. Its jumps are timers, and what remains is smooth. From the
smooth part timers get what is missing to their published share, 5 % of all timers above one call a minute; the other
triggers share the rest. One function in a hundred is called more than once a second, and these functions get nine
tenths of the calls. Among them a trigger is as common as it is among the calls, and there are no timers. Their rates
follow a power law that ends at the busiest application. Its exponent is fitted to the published shares of calls that go
to the busiest 0.01 %, 0.1 % and 1 % of the functions: 0.37, 0.70 and 0.93; the fit gives 0.31, 0.69 and 0.90.
"""

from __future__ import annotations

import math
import random
from functools import cache
from typing import NamedTuple

from .curves import Curve
from .published import CALLS_PER_DAY, MOST_CALLS_PER_DAY, TIMERS_AT_MOST_EACH_MINUTE, TIMERS_PER_DAY, TRIGGERS

_TIMER = "T"
_EACH_MINUTE = 1_440
_EACH_SECOND, _UP_TO_EACH_SECOND = CALLS_PER_DAY[-1]
_POWER = 0.8
_ENDS = math.pow(_EACH_SECOND / MOST_CALLS_PER_DAY, _POWER)


class _Parts(NamedTuple):
    """The parts into which the distribution is split, as shares of all functions."""

    smooth: Curve
    """The published distribution without its jumps, up to one call a second."""
    slow: float
    """Share of the smooth part with at most one call a minute."""
    fast: float
    """Share of the smooth part with more than one call a minute."""
    slow_timers: float
    fast_timers: float
    functions: dict[str, float]
    """Share of each trigger."""
    busy: dict[str, float]
    """Share of each trigger's functions with more than one call a second, of all functions."""


def draw_calls_per_day(trigger: str, rng: random.Random) -> float:
    """Draw the mean calls a day of a function with this trigger (a letter of `published.TRIGGERS`)."""
    parts = _parts()
    place = rng.random() * parts.functions[trigger] - parts.busy[trigger]
    if place < 0:
        return _busy(rng.random())
    slow, fast = parts.slow_timers, parts.fast_timers
    if trigger == _TIMER:
        for calls, share in TIMERS_PER_DAY:
            place -= share
            if place < 0:
                return float(calls)
    else:
        slow, fast = parts.slow - slow, parts.fast - fast
    if rng.random() * (slow + fast) < slow:
        return parts.smooth.quantile(parts.slow * rng.random())
    return parts.smooth.quantile(parts.slow + parts.fast * rng.random())


def share_up_to(calls_per_day: float) -> float:
    """Return the share of functions with at most this rate: as published, and as fitted above one call a second."""
    if calls_per_day < _EACH_SECOND:
        return _curve().at(calls_per_day)
    busier = (math.pow(_EACH_SECOND / calls_per_day, _POWER) - _ENDS) / (1 - _ENDS)
    return 1 - (1 - _UP_TO_EACH_SECOND) * max(0.0, busier)


def share_below(calls_per_day: float) -> float:
    """Return the share of functions with less than this rate."""
    return _curve().below(calls_per_day) if calls_per_day < _EACH_SECOND else share_up_to(calls_per_day)


def _busy(beyond: float) -> float:
    """Return the calls a day that a share `beyond` of the functions above one call a second exceeds."""
    return _EACH_SECOND * math.pow(_ENDS + (1 - _ENDS) * beyond, -1 / _POWER)


@cache
def _curve() -> Curve:
    return Curve([*CALLS_PER_DAY, (MOST_CALLS_PER_DAY, 1.0)], log=True)


@cache
def _parts() -> _Parts:
    def jumps(calls: float, share: float) -> float:
        """Return the height of all jumps that a published point includes.

        Of two points at the same value, the lower one does not include the jump there.
        """
        lower = share < _curve().at(calls)
        return sum(height for at, height in TIMERS_PER_DAY if at < calls or (at == calls and not lower))

    smooth = [(calls, share - jumps(calls, share)) for calls, share in CALLS_PER_DAY]
    curve = Curve(dict.fromkeys(smooth), log=True)
    slow = curve.at(_EACH_MINUTE)
    fast = smooth[-1][1] - slow
    every = sum(trigger.functions for trigger in TRIGGERS.values())
    functions = {letter: trigger.functions / every for letter, trigger in TRIGGERS.items()}
    calls = sum(trigger.calls for letter, trigger in TRIGGERS.items() if letter != _TIMER)
    busy = {letter: (1 - _UP_TO_EACH_SECOND) * trigger.calls / calls for letter, trigger in TRIGGERS.items()}
    busy[_TIMER] = 0.0
    fast_timers = functions[_TIMER] * (1 - TIMERS_AT_MOST_EACH_MINUTE)
    slow_timers = functions[_TIMER] - fast_timers - sum(share for _, share in TIMERS_PER_DAY)
    return _Parts(curve, slow, fast, slow_timers, fast_timers, functions, busy)
