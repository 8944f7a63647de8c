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
from operator import add, neg, sub
from typing import Final

from ...core.values import value

EDGES_S: Final[tuple[float, ...]] = tuple(2.0 ** (quarter / 4) for quarter in range(-16, 65))
"""Where one range ends and the next begins."""
RANGES: Final = len(EDGES_S) + 1
_LOG_EDGES: Final = tuple(math.log(edge_s) for edge_s in EDGES_S)
UNSEEN: Final = tuple(1.0 - (n + 1) / RANGES for n in range(len(EDGES_S)))
"""Weight, beyond each edge, of gaps that have not been seen."""
_SHORTEST_S: Final = EDGES_S[0] / 2
"""Stands for all gaps of the first range where a logarithm is wanted."""
_LN_2: Final = math.log(2.0)


@value(frozen=True, slots=True)
class AgeForecast:
    last_at: float
    horizon_s: float
    """How far `rate` looks ahead."""
    count: int
    """Gaps in the table, the unseen one apart."""
    longer: Sequence[int]
    """How many of them are longer than each of `EDGES_S`."""
    beyond: Sequence[float]
    """Weight of those that are longer, the unseen ones among them; falls strictly, and is never 0."""

    def rate(self, at: float) -> float:
        age_s = at - self.last_at
        left = self._left(age_s)
        after_horizon = self._left(age_s + self.horizon_s)
        if after_horizon <= left / 2 and (median_s := self._age(left / 2) - age_s) > 0.0:
            return _LN_2 / median_s
        return -math.log(after_horizon / left) / self.horizon_s

    def probability(self, at: float, within_s: float) -> float:
        age_s = max(0.0, at - self.last_at)
        return 1.0 - self._left(age_s + within_s) / self._left(age_s)

    def due_at(self, probability: float) -> float:
        return self.last_at + self._age((1.0 - probability) * (self.count + 1.0))

    def _left(self, age_s: float) -> float:
        """Weight of the gaps that are longer."""
        n = bisect_right(EDGES_S, age_s)
        if n == len(EDGES_S):
            return self.beyond[-1] * EDGES_S[-1] / age_s
        if n == 0:
            more, from_s, age_s = self.count + 1.0, 0.0, max(0.0, age_s)
        else:
            more, from_s = self.beyond[n - 1], EDGES_S[n - 1]
        less = self.beyond[n]
        left = more - (more - less) * (age_s - from_s) / (EDGES_S[n] - from_s)
        return left if left > less else less

    def _age(self, left: float) -> float:
        """The inverse of `_left`."""
        n = bisect_left(self.beyond, -left, key=neg)
        if n == len(EDGES_S):
            return EDGES_S[-1] * self.beyond[-1] / left if left > 0.0 else math.inf
        more, from_s = (self.beyond[n - 1], EDGES_S[n - 1]) if n else (self.count + 1.0, 0.0)
        return from_s + (EDGES_S[n] - from_s) * (more - left) / (more - self.beyond[n])


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


def longer_than_edges(ranges: Iterable[int]) -> list[int]:
    """How many gaps, given by their ranges, are longer than each of `EDGES_S`."""
    weights = [0] * RANGES
    count = 0
    for n in ranges:
        weights[n] -= 1
        count += 1
    return list(islice(accumulate(weights, initial=count), 1, RANGES))


def with_unseen(longer: Iterable[int]) -> list[float]:
    """Their weights, with that of the gaps that have not been seen."""
    return list(map(add, longer, UNSEEN))


def _forecast(last_at: float, horizon_s: float, ranges: Iterable[int]) -> AgeForecast:
    ranges = list(ranges)
    longer = longer_than_edges(ranges)
    return AgeForecast(last_at, horizon_s, len(ranges), longer, with_unseen(longer))
