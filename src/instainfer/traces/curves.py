"""Probability distributions: their cumulative shares, and quantiles to draw random values from.

A `Curve` is a distribution of which only a few points were published. Between two points we take it to be linear in the
value or in the logarithm of the value; no source says more. Two points at the same value make a jump.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist

_STANDARD = NormalDist()


class Curve:
    """A cumulative distribution through given points."""

    def __init__(self, points: Iterable[tuple[float, float]], *, log: bool = False) -> None:
        """`points` are pairs (value, share at or below the value); both ascend.

        The share below the first point is taken to lie at its value. With `log`, values must be above 0, and the curve
        is linear in their logarithm.
        """
        pairs = list(points)
        self._log = log
        self._places = [math.log(value) if log else value for value, _ in pairs]
        self._shares = [share for _, share in pairs]

    def at(self, value: float) -> float:
        """Return the share at or below `value`."""
        place = self._place(value)
        return self._share(place, bisect_right(self._places, place))

    def below(self, value: float) -> float:
        """Return the share below `value`: what `at` returns, without the jump at `value`."""
        place = self._place(value)
        return self._share(place, bisect_left(self._places, place))

    def quantile(self, share: float) -> float:
        """Return the smallest value with at least `share` at or below it; at most the last point's value."""
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
    """The distribution of ``exp(mu + sigma z)``, where z is standard normal."""

    mu: float
    sigma: float
    most: float = math.inf
    """Largest possible value; the distribution is truncated there."""

    def at(self, value: float) -> float:
        return min(1.0, self._at(value) / self._at(self.most)) if value > 0 else 0.0

    def quantile(self, share: float) -> float:
        return math.exp(self.mu + self.sigma * _STANDARD.inv_cdf(share * self._at(self.most)))

    def _at(self, value: float) -> float:
        return 1.0 if value == math.inf else _STANDARD.cdf((math.log(value) - self.mu) / self.sigma)


@dataclass(frozen=True, slots=True)
class Burr:
    """The Burr type XII distribution: ``1 - (1 + (x / scale)^c)^-k``."""

    c: float
    k: float
    scale: float
    most: float = math.inf
    """Largest possible value; the distribution is truncated there."""

    def at(self, value: float) -> float:
        return min(1.0, self._at(value) / self._at(self.most)) if value > 0 else 0.0

    def quantile(self, share: float) -> float:
        beyond = 1 - share * self._at(self.most)
        return self.scale * math.pow(math.pow(beyond, -1 / self.k) - 1, 1 / self.c)

    def _at(self, value: float) -> float:
        return 1.0 if value == math.inf else 1 - (1 + (value / self.scale) ** self.c) ** -self.k
