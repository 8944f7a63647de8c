"""Streams of calls with a given mean gap and coefficient of variation (CoV) of the gaps.

=============  =================================================================================
CoV            gaps
=============  =================================================================================
below 0.01     all the same: a timer
below 1        gamma, shape ``1 / CoV^2``
1 and above    hyperexponential: mostly short ones, a twentieth of the mean, and now and then a
               long one: bursts, and pauses between them
=============  =================================================================================

With `s` for a twentieth and gaps in units of their mean, a gap is long with probability ``q`` and the long ones' mean
is ``l``, from ``(1 - q) s + q l = 1`` and ``(1 - q) s^2 + q l^2 = (1 + CoV^2) / 2``, half the second moment:
``q = (1 - s)^2 / ((1 + CoV^2) / 2 - 2 s + s^2)``. The usual choice, balanced means, needs some ten times the calls
until a CoV shows that is measured: its long gaps are rarer and longer.

Every stream begins in equilibrium, as if it had run for ever: the time to the first call is what is left, at a moment
chosen at random, of the gap that this moment falls into. So the expected number of calls is the same at all times.
(Cox, "Renewal Theory", 1962, chapter 5.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle

REGULAR = 0.01
"""Below this CoV gaps are all the same."""

_SHORT = 0.05
_HOUR_S, _DAY_S = 3_600.0, 86_400.0


def renewals(mean_s: float, cov: float, rng: random.Random) -> Iterator[float]:
    """Ascending times in seconds, without end."""
    if cov < REGULAR:
        return _regular(mean_s, rng)
    return _gamma(mean_s, cov, rng) if cov < 1 else _bursts(mean_s, cov, rng)


def _regular(mean_s: float, rng: random.Random) -> Iterator[float]:
    first_s = mean_s * rng.random()
    number = 0
    while True:
        yield first_s + number * mean_s
        number += 1


def _gamma(mean_s: float, cov: float, rng: random.Random) -> Iterator[float]:
    shape = 1 / cov**2
    scale_s = mean_s / shape
    # The gap around a moment is drawn by its length, which makes it a gamma of one shape more.
    at_s = rng.random() * rng.gammavariate(shape + 1, scale_s)
    while True:
        yield at_s
        at_s += rng.gammavariate(shape, scale_s)


def _bursts(mean_s: float, cov: float, rng: random.Random) -> Iterator[float]:
    long = (1 - _SHORT) ** 2 / ((1 + cov**2) / 2 - 2 * _SHORT + _SHORT**2)
    per_short, per_long = 1 / (_SHORT * mean_s), long / ((1 - (1 - long) * _SHORT) * mean_s)
    # A moment falls into a long gap by the share of the time that these take; what is left of it is exponential again.
    at_s = rng.expovariate(per_short if rng.random() < (1 - long) * _SHORT else per_long)
    while True:
        yield at_s
        at_s += rng.expovariate(per_long if rng.random() < long else per_short)


def by_the_hour(times_s: Iterator[float], shape: Sequence[float], start_hour: int) -> Iterator[float]:
    """The same stream, quicker and slower by the hour of the day: `shape` are 24 factors with the mean 1.

    The first hour of the stream is hour `start_hour` of the day.
    """
    factors = cycle([*shape[start_hour:], *shape[:start_hour]])
    factor = next(factors)
    begins_s, passed_s = 0.0, 0.0
    for time_s in times_s:
        # Whole days are as long by the stream as by the clock; a rare function's first call may be years away.
        days_s = (time_s - passed_s) // _DAY_S * _DAY_S
        passed_s += days_s
        begins_s += days_s
        while time_s >= passed_s + factor * _HOUR_S:
            passed_s += factor * _HOUR_S
            begins_s += _HOUR_S
            factor = next(factors)
        yield begins_s + (time_s - passed_s) / factor
