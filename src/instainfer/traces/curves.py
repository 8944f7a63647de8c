"""Distributions by their distribution functions, and the quantiles that values are drawn with.

A `Curve` is one that was published as a few points. Between two of them it is straight, or straight against the
logarithm of the value; that is ours, and no source says more. Two points at one value are a jump.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_STANDARD = NormalDist()


class Curve:
    """A distribution function through some points."""

    def __init__(self, points: Iterable[tuple[float, float]], *, log: bool = False) -> None:
        """`points` are pairs (value, share at or below it), both ascending.

        What is below the first point lies at its value. `log`: straight against the logarithm; values are above 0.
        """
        pairs = list(points)
        self._log = log
        self._places = [math.log(value) if log else value for value, _ in pairs]
        self._shares = [share for _, share in pairs]

    def at(self, value: float) -> float:
        """The share at or below that value."""
        place = self._place(value)
        return self._share(place, bisect_right(self._places, place))

    def below(self, value: float) -> float:
        """The share below that value: `at` without the jump there."""
        place = self._place(value)
        return self._share(place, bisect_left(self._places, place))

    def quantile(self, share: float) -> float:
        """The least value with at least that share at or below it; at most the last point's."""
        after = min(bisect_left(self._shares, share), len(self._shares) - 1)
        place = self._places[after]
        if after and self._shares[after] > self._shares[after - 1]:
            part = (share - self._shares[after - 1]) / (self._shares[after] - self._shares[after - 1])
            place = self._places[after - 1] + min(1.0, part) * (place - self._places[after - 1])
        return math.exp(place) if self._log else place

    def _place(self, value: float) -> float:
        if not self._log:
            return value
        return math.log(value) if value > 0 else -math.inf

    def _share(self, place: float, after: int) -> float:
        if after == 0:
            return 0.0
        if after == len(self._places):
            return self._shares[-1]
        begin, end = self._places[after - 1], self._places[after]
        low, high = self._shares[after - 1], self._shares[after]
        return low if end == begin else low + (high - low) * (place - begin) / (end - begin)


@dataclass(frozen=True, slots=True)
class LogNormal:
    """``exp(mu + sigma z)`` with a standard normal z."""

    mu: float
    sigma: float
    most: float = math.inf
    """Nothing is above this; what would be is drawn anew."""

    def at(self, value: float) -> float:
        return min(1.0, self._at(value) / self._at(self.most)) if value > 0 else 0.0

    def quantile(self, share: float) -> float:
        return math.exp(self.mu + self.sigma * _STANDARD.inv_cdf(share * self._at(self.most)))

    def _at(self, value: float) -> float:
        return 1.0 if value == math.inf else _STANDARD.cdf((math.log(value) - self.mu) / self.sigma)


@dataclass(frozen=True, slots=True)
class Burr:
    """Burr's twelfth: ``1 - (1 + (x / scale)^c)^-k``."""

    c: float
    k: float
    scale: float
    most: float = math.inf
    """Nothing is above this; what would be is drawn anew."""

    def at(self, value: float) -> float:
        return min(1.0, self._at(value) / self._at(self.most)) if value > 0 else 0.0

    def quantile(self, share: float) -> float:
        beyond = 1 - share * self._at(self.most)
        return self.scale * math.pow(math.pow(beyond, -1 / self.k) - 1, 1 / self.c)

    def _at(self, value: float) -> float:
        return 1.0 if value == math.inf else 1 - (1 + (value / self.scale) ** self.c) ** -self.k
