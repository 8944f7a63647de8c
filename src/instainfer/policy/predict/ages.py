"""The next arrival as a table of probabilities: how old will the silence be when it ends?

The silence since the last call is sorted into `RANGES` ranges of age: below 1/16 s, then ranges that are each 19 %
(the fourth root of two) longer than the one before, and one beyond 65,536 s (18 hours). A gap between two calls that
has been seen, or that a model holds possible, puts its weight into its range. All ranges together get the weight of
one more gap, in equal parts, for what has not been seen yet; so nothing is ever impossible, and little knowledge
makes cautious forecasts.

Within a range every moment is as likely. Beyond the last one the silence's length is thought to follow Pareto's law
with index one: as long again as it has lasted already, with probability one half.

Everything is conditioned on the silence so far, hence on the calls that have *not* come. `AgeForecast.rate` is the
constant rate that would make the next call as likely as it is: to come by the median, or within the horizon if the
median is farther off. For a Poisson process that is its rate; for a function that is called every five minutes it is
small after a call, large when the next is due, and falls when it has not come.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, repeat
from operator import add, sub
from typing import Final

from ...core.values import value

EDGES_S: Final[tuple[float, ...]] = tuple(2.0 ** (quarter / 4) for quarter in range(-16, 65))
"""Where one range ends and the next begins."""
RANGES: Final = len(EDGES_S) + 1
_LOG_EDGES: Final = tuple(math.log(edge_s) for edge_s in EDGES_S)
_UNSEEN: Final = tuple(round((n + 1) / RANGES * 2**40) / 2**40 for n in range(len(EDGES_S)))
"""Weight, up to each edge, of gaps that have not been seen: in parts of 2**-40, so that adding gaps to it and taking
them away again is exact."""
_SHORTEST_S: Final = EDGES_S[0] / 2
"""Stands for all gaps of the first range where a logarithm is wanted."""
_LN_2: Final = math.log(2.0)


@value(frozen=True, slots=True)
class AgeForecast:
    last_at: float
    horizon_s: float
    """How far `rate` looks ahead."""
    weight: float
    """Of all gaps in the table: their number, and one for those that have not been seen."""
    within: Sequence[float]
    """Weight of those that are no longer than each of `EDGES_S`; rises strictly, and stays below `weight`."""

    def rate(self, at: float) -> float:
        age_s = at - self.last_at
        left = self._left(age_s)
        after_horizon = self._left(age_s + self.horizon_s)
        if after_horizon <= left / 2 and (median_s := self._age(left / 2) - age_s) > 0.0:
            return _LN_2 / median_s
        return -math.log(after_horizon / left) / self.horizon_s

    def probability(self, at: float, within_s: float) -> float:
        age_s = at - self.last_at
        if age_s <= 0.0:
            return 1.0 - self._left(within_s) / self.weight
        return 1.0 - self._left(age_s + within_s) / self._left(age_s)

    def due_at(self, probability: float) -> float:
        return self.last_at + self._age((1.0 - probability) * self.weight)

    def _left(self, age_s: float) -> float:
        """Weight of the gaps that are longer."""
        n = bisect_right(EDGES_S, age_s)
        within = self.within
        if n == 0:
            return self.weight - within[0] * age_s / EDGES_S[0] if age_s > 0.0 else self.weight
        if n == len(EDGES_S):
            return (self.weight - within[-1]) * EDGES_S[-1] / age_s
        less, from_s = within[n - 1], EDGES_S[n - 1]
        return self.weight - less - (within[n] - less) * (age_s - from_s) / (EDGES_S[n] - from_s)

    def _age(self, left: float) -> float:
        """The inverse of `_left`."""
        within, weight = self.within, self.weight - left
        n = bisect_left(within, weight)
        if n == len(EDGES_S):
            return EDGES_S[-1] * (self.weight - within[-1]) / left if left > 0.0 else math.inf
        if n == 0:
            return EDGES_S[0] * weight / within[0]
        less, from_s = within[n - 1], EDGES_S[n - 1]
        return from_s + (EDGES_S[n] - from_s) * (weight - less) / (within[n] - less)


def gaps_of(arrivals: Sequence[float]) -> list[float]:
    """Seconds between consecutive arrivals."""
    return list(map(sub, islice(arrivals, 1, None), arrivals))


def logs_of(gaps_s: Iterable[float]) -> list[float]:
    """Logarithms of gaps; those of the first range count as half of it."""
    return [math.log(max(_SHORTEST_S, gap_s)) for gap_s in gaps_s]


def from_gaps(last_at: float, horizon_s: float, gaps_s: Iterable[float]) -> AgeForecast:
    """The forecast in which each of these gaps has the same weight."""
    return _forecast(last_at, horizon_s, map(bisect_right, repeat(EDGES_S), gaps_s))


def from_logs(last_at: float, horizon_s: float, logs: Iterable[float]) -> AgeForecast:
    """The same, for gaps given by their logarithms."""
    return _forecast(last_at, horizon_s, map(bisect_right, repeat(_LOG_EDGES), logs))


def range_of(gap_s: float) -> int:
    """Number of the range that a gap belongs to."""
    return bisect_right(EDGES_S, gap_s)


def from_ranges(ranges: Iterable[int]) -> list[float]:
    """`AgeForecast.within` for gaps given by their ranges."""
    weights = [0] * RANGES
    for n in ranges:
        weights[n] += 1
    return list(map(add, accumulate(weights), _UNSEEN))


def _forecast(last_at: float, horizon_s: float, ranges: Iterable[int]) -> AgeForecast:
    ranges = list(ranges)
    return AgeForecast(last_at, horizon_s, len(ranges) + 1.0, from_ranges(ranges))
