"""How often the made-up functions are called, given what starts them.

The published distribution over all functions is taken apart. Its jumps are timers. What is left is smooth; of it timers
take what their published share still wants, 5 % of them above one call a minute, and the other triggers have the rest
in common. One function in a hundred is called more than once a second, and they get nine tenths of the calls; among
these functions a trigger is as common as among the calls, and there are no timers. Their numbers of calls follow a
power law that ends at the busiest application. Its power is fitted to the published shares of the busiest functions:
0.37, 0.70 and 0.93 of the calls for 0.01 %, 0.1 % and 1 % of them; it gives 0.31, 0.69 and 0.90.
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
    """Shares of all functions."""

    smooth: Curve
    """The published distribution without its jumps, up to one call a second."""
    slow: float
    """Of it: up to one call a minute."""
    fast: float
    """Of it: above that."""
    slow_timers: float
    fast_timers: float
    functions: dict[str, float]
    """By trigger."""
    busy: dict[str, float]
    """Above one call a second, by trigger."""


def draw_calls_per_day(trigger: str, rng: random.Random) -> float:
    """Calls a day, on average, of a function with that trigger (a letter of `published.TRIGGERS`)."""
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
    """The share of the functions that are called that often or less: as published, and above that as fitted here."""
    if calls_per_day < _EACH_SECOND:
        return _curve().at(calls_per_day)
    busier = (math.pow(_EACH_SECOND / calls_per_day, _POWER) - _ENDS) / (1 - _ENDS)
    return 1 - (1 - _UP_TO_EACH_SECOND) * max(0.0, busier)


def share_below(calls_per_day: float) -> float:
    """The same without those that are called exactly that often."""
    return _curve().below(calls_per_day) if calls_per_day < _EACH_SECOND else share_up_to(calls_per_day)


def _busy(beyond: float) -> float:
    """Calls a day of the function that so great a share of those above one call a second is busier than."""
    return _EACH_SECOND * math.pow(_ENDS + (1 - _ENDS) * beyond, -1 / _POWER)


@cache
def _curve() -> Curve:
    return Curve([*CALLS_PER_DAY, (MOST_CALLS_PER_DAY, 1.0)], log=True)


@cache
def _parts() -> _Parts:
    def jumps(calls: float, share: float) -> float:
        """The part of a point that is jumps; of the lower of two at one value, without the jump there."""
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
