"""Streams of calls with a given mean gap and coefficient of variation (CoV) of the gaps.

=============  =================================================================================
CoV            gaps
=============  =================================================================================
below 0.01     all equal: a timer
below 1        gamma, shape ``1 / CoV^2``
1 and above    hyperexponential: mostly short gaps, on average a twentieth of the mean gap, and
               some long gaps. This makes bursts with pauses between them.

Let gaps be measured in units of their mean, let ``s`` be a twentieth, ``q`` the probability of a long gap and ``l`` the
mean of the long gaps. Then ``(1 - q) s + q l = 1`` and ``(1 - q) s^2 + q l^2 = (1 + CoV^2) / 2``, which is half the
second moment, so ``q = (1 - s)^2 / ((1 + CoV^2) / 2 - 2 s + s^2)``. The usual choice, balanced means, has rarer and
longer long gaps, so that it takes about ten times as many calls until the measured CoV is near the wanted one.

Every stream begins in equilibrium, as if it had always been running: the first call comes after the remainder of the
gap that contains a random moment. So the expected number of calls is the same at all times. (Cox, "Renewal Theory",
1962, chapter 5.)
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import cycle

REGULAR = 0.01
"""Below this CoV all gaps are equal."""

_SHORT = 0.05
_HOUR_S, _DAY_S = 3_600.0, 86_400.0


def renewals(mean_s: float, cov: float, rng: random.Random) -> Iterator[float]:
    """Yield ascending times in seconds, without end."""
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
    # A random moment falls into a gap with a probability proportional to its length: a gamma whose shape is larger by
    # 1.
    at_s = rng.random() * rng.gammavariate(shape + 1, scale_s)
    while True:
        yield at_s
        at_s += rng.gammavariate(shape, scale_s)


def _bursts(mean_s: float, cov: float, rng: random.Random) -> Iterator[float]:
    long = (1 - _SHORT) ** 2 / ((1 + cov**2) / 2 - 2 * _SHORT + _SHORT**2)
    per_short, per_long = 1 / (_SHORT * mean_s), long / ((1 - (1 - long) * _SHORT) * mean_s)
    # A random moment falls into a long gap with their share of the time; the remainder is exponential with the same
    # mean.
    at_s = rng.expovariate(per_short if rng.random() < (1 - long) * _SHORT else per_long)
    while True:
        yield at_s
        at_s += rng.expovariate(per_long if rng.random() < long else per_short)


def by_the_hour(times_s: Iterator[float], shape: Sequence[float], start_hour: int) -> Iterator[float]:
    """Make a stream faster and slower by the hour of the day; `shape` has 24 factors on the rate, with mean 1.

    The first hour of the stream is hour `start_hour` of the day.
    """
    factors = cycle([*shape[start_hour:], *shape[:start_hour]])
    factor = next(factors)
    begins_s, passed_s = 0.0, 0.0
    for time_s in times_s:
        # Whole days are skipped at once, since they last 24 h in both times: a rare function's first call may be years
        # away.
        days_s = (time_s - passed_s) // _DAY_S * _DAY_S
        passed_s += days_s
        begins_s += days_s
        while time_s >= passed_s + factor * _HOUR_S:
            passed_s += factor * _HOUR_S
            begins_s += _HOUR_S
            factor = next(factors)
        yield begins_s + (time_s - passed_s) / factor
