"""A forecast of the next call as a table: how long is the gap between the last call and the next one?

Time since the last call (the age) is divided into `RANGES` ranges: one below 1/16 s, then ranges that are each 19 %
(the fourth root of two) longer than the one before, and one above 65,536 s (18 hours). Each gap between two calls that
was seen, or that a model predicts, adds a weight of one to its range. In addition, a weight of one is spread equally
over all ranges, for gaps that have not been seen yet. So no gap is impossible, and a forecast from few gaps is
cautious.

Within a range all moments are equally likely. In the last range, the length of the gap follows a Pareto distribution
with index one: a gap that has lasted for some time becomes twice as long with probability one half.

All answers are conditioned on the age: no call has come so far. `AgeForecast.rate` is the rate of the Poisson process
that agrees with the table on the median time to the next call, or, if the median is beyond the horizon, on the
probability of a call within the horizon. If the calls form a Poisson process, this is its rate. For a function that is
called every five minutes, the rate is small after a call, large when the next call is due, and falls again when the
call has not come.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate, islice, repeat
from operator import sub
from typing import Final

from ...core.values import value

EDGES_S: Final[tuple[float, ...]] = tuple(2.0 ** (quarter / 4) for quarter in range(-16, 65))
"""The borders between the ranges, in seconds."""
RANGES: Final = len(EDGES_S) + 1
MOST_GAPS: Final = 255
"""Most gaps in one table, so that each count fits in a byte. Of more gaps, the latest are used."""
_LOG_EDGES: Final = tuple(math.log(edge_s) for edge_s in EDGES_S)
_UNSEEN: Final = tuple(round((n + 1) / RANGES * 2**40) / 2**40 for n in range(len(EDGES_S)))
"""Weight of the unseen gaps up to each edge, rounded to a multiple of 2**-40 so that adding whole gaps is exact."""
_SHORTEST_S: Final = EDGES_S[0] / 2
"""Replaces every shorter gap when the logarithm is taken."""
_ONE_MORE: Final = bytes(min(n + 1, MOST_GAPS) for n in range(256))
_ONE_LESS: Final = bytes(max(n - 1, 0) for n in range(256))
"""Tables for `bytes.translate` that change every count by one: the fastest way to update a table, once per call."""
_LN_2: Final = math.log(2.0)


@value(frozen=True, slots=True)
class AgeForecast:
    """A forecast that is read from such a table."""

    last_at: float
    horizon_s: float
    """Seconds that `rate` looks ahead."""
    gaps: int
    """Number of gaps in the table, including those of the last range."""
    within: bytes
    """Byte n is the number of gaps that are shorter than ``EDGES_S[n]``."""

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
            return 1.0 - self._left(within_s) / (self.gaps + 1.0)
        return 1.0 - self._left(age_s + within_s) / self._left(age_s)

    def due_at(self, probability: float) -> float:
        return self.last_at + self._age((1.0 - probability) * (self.gaps + 1.0))

    def _left(self, age_s: float) -> float:
        """Weight of the gaps that are longer than `age_s`."""
        n, within, weight = bisect_right(EDGES_S, age_s), self.within, self.gaps + 1.0
        if n == 0:
            return weight - (within[0] + _UNSEEN[0]) * age_s / EDGES_S[0] if age_s > 0.0 else weight
        less, from_s = within[n - 1] + _UNSEEN[n - 1], EDGES_S[n - 1]
        if n == len(EDGES_S):
            return (weight - less) * EDGES_S[-1] / age_s
        return weight - less - (within[n] + _UNSEEN[n] - less) * (age_s - from_s) / (EDGES_S[n] - from_s)

    def _age(self, left: float) -> float:
        """The age at which the weight `left` is left; the inverse of `_left`."""
        within, weight = self.within, self.gaps + 1.0 - left
        # Find the first edge up to which `weight` has been passed. The weight up to an edge is a whole number of gaps
        # plus a fraction for unseen gaps. So either as many whole gaps and enough of the fraction are passed there, or
        # one whole gap more, whichever comes first.
        whole = int(weight)
        n = bisect_left(_UNSEEN, weight - whole, bisect_left(within, whole))
        n = bisect_left(within, whole + 1, 0, n)
        if n == len(EDGES_S):
            return EDGES_S[-1] * (self.gaps - within[-1] + 1.0 - _UNSEEN[-1]) / left if left > 0.0 else math.inf
        if n == 0:
            return EDGES_S[0] * weight / (within[0] + _UNSEEN[0])
        less, from_s = within[n - 1] + _UNSEEN[n - 1], EDGES_S[n - 1]
        return from_s + (EDGES_S[n] - from_s) * (weight - less) / (within[n] + _UNSEEN[n] - less)


def gaps_of(arrivals: Sequence[float]) -> list[float]:
    """Seconds between consecutive arrivals."""
    return list(map(sub, islice(arrivals, 1, None), arrivals))


def logs_of(gaps_s: Iterable[float]) -> list[float]:
    """Logarithms of gaps. A gap below half of the first range counts as half of that range."""
    return [math.log(max(_SHORTEST_S, gap_s)) for gap_s in gaps_s]


def from_gaps(last_at: float, horizon_s: float, gaps_s: Iterable[float]) -> AgeForecast:
    """The forecast in which each of these gaps has a weight of one."""
    return _forecast(last_at, horizon_s, map(bisect_right, repeat(EDGES_S), gaps_s))


def from_logs(last_at: float, horizon_s: float, logs: Iterable[float]) -> AgeForecast:
    """The same, for gaps given by their logarithms."""
    return _forecast(last_at, horizon_s, map(bisect_right, repeat(_LOG_EDGES), logs))


def range_of(gap_s: float) -> int:
    """Index of the range that a gap belongs to."""
    return bisect_right(EDGES_S, gap_s)


def from_ranges(ranges: Iterable[int]) -> bytes:
    """`AgeForecast.within` for gaps given by their ranges; at most `MOST_GAPS` of them."""
    counts = [0] * RANGES
    for n in ranges:
        counts[n] += 1
    return bytes(islice(accumulate(counts), len(EDGES_S)))


def with_gap(within: bytes, new: int) -> bytes:
    """`AgeForecast.within` after one gap, given by its range, was added."""
    return within[:new] + within[new:].translate(_ONE_MORE)


def in_place_of(within: bytes, old: int, new: int) -> bytes:
    """`AgeForecast.within` after the gap in range `old` was replaced by one in range `new`."""
    if new < old:
        return within[:new] + within[new:old].translate(_ONE_MORE) + within[old:]
    return within[:old] + within[old:new].translate(_ONE_LESS) + within[new:]


def _forecast(last_at: float, horizon_s: float, ranges: Iterable[int]) -> AgeForecast:
    ranges = list(ranges)[-MOST_GAPS:]
    return AgeForecast(last_at, horizon_s, len(ranges), from_ranges(ranges))
