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
from operator import sub
from typing import Final

from ...core.values import value

EDGES_S: Final[tuple[float, ...]] = tuple(2.0 ** (quarter / 4) for quarter in range(-16, 65))
"""Where one range ends and the next begins."""
RANGES: Final = len(EDGES_S) + 1
MOST_GAPS: Final = 255
"""In a table; of more, the latest."""
_LOG_EDGES: Final = tuple(math.log(edge_s) for edge_s in EDGES_S)
_UNSEEN: Final = tuple(round((n + 1) / RANGES * 2**40) / 2**40 for n in range(len(EDGES_S)))
"""Weight, up to each edge, of gaps that have not been seen: in parts of 2**-40, so that numbers of gaps are added to it
exactly."""
_SHORTEST_S: Final = EDGES_S[0] / 2
"""Stands for all gaps of the first range where a logarithm is wanted."""
_ONE_MORE: Final = bytes(min(n + 1, MOST_GAPS) for n in range(256))
_ONE_LESS: Final = bytes(max(n - 1, 0) for n in range(256))
"""What becomes of counts (`bytes.translate`): tables are made anew with every call."""
_LN_2: Final = math.log(2.0)


@value(frozen=True, slots=True)
class AgeForecast:
    last_at: float
    horizon_s: float
    """How far `rate` looks ahead."""
    gaps: int
    """In the table, those of the last range among them."""
    within: bytes
    """How many of them are no longer than each of `EDGES_S`."""

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
        """Weight of the gaps that are longer."""
        n, within, weight = bisect_right(EDGES_S, age_s), self.within, self.gaps + 1.0
        if n == 0:
            return weight - (within[0] + _UNSEEN[0]) * age_s / EDGES_S[0] if age_s > 0.0 else weight
        less, from_s = within[n - 1] + _UNSEEN[n - 1], EDGES_S[n - 1]
        if n == len(EDGES_S):
            return (weight - less) * EDGES_S[-1] / age_s
        return weight - less - (within[n] + _UNSEEN[n] - less) * (age_s - from_s) / (EDGES_S[n] - from_s)

    def _age(self, left: float) -> float:
        """The inverse of `_left`."""
        within, weight = self.within, self.gaps + 1.0 - left
        # The first range by whose end so much has come: where there are so many whole gaps, and the rest has come of
        # what has not been seen; or where there is one gap more, if that is sooner.
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


def from_ranges(ranges: Iterable[int]) -> bytes:
    """`AgeForecast.within` for gaps given by their ranges, `MOST_GAPS` of them at most."""
    counts = [0] * RANGES
    for n in ranges:
        counts[n] += 1
    return bytes(islice(accumulate(counts), len(EDGES_S)))


def with_gap(within: bytes, new: int) -> bytes:
    """`AgeForecast.within` with one gap more, given by its range."""
    return within[:new] + within[new:].translate(_ONE_MORE)


def in_place_of(within: bytes, old: int, new: int) -> bytes:
    """The same, with one gap instead of another."""
    if new < old:
        return within[:new] + within[new:old].translate(_ONE_MORE) + within[old:]
    return within[:old] + within[old:new].translate(_ONE_LESS) + within[new:]


def _forecast(last_at: float, horizon_s: float, ranges: Iterable[int]) -> AgeForecast:
    ranges = list(ranges)[-MOST_GAPS:]
    return AgeForecast(last_at, horizon_s, len(ranges), from_ranges(ranges))
