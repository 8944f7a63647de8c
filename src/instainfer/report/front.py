"""Computes the trade-off between memory and latency: compares the curves of systems with a baseline.

A curve has a point for each value of a parameter, for example of the keep-alive time. It is compared with one point of
the baseline, whose memory is M and whose latency is L, by two readings: the least memory with which the curve has a
latency of L, and the least latency that it has with memory M. Curves are taken to be linear between neighbouring
points, and nothing is assumed beyond their ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Place(NamedTuple):
    """The memory and the latency of a system at one value of the parameter."""

    memory: float
    """Memory limits of the containers, integrated over time, in GB·s."""
    latency: float
    """Mean start-up latency in ms."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value read from a curve."""

    value: float
    bound: bool = False
    """True: the whole curve is below the limit, so its end was read, and the true value may be even smaller."""


def memory_at(curve: Sequence[Place], latency: float) -> Reading | None:
    """Return the least memory with which the curve has at most this latency; None when it never does."""
    return _least([(place.latency, place.memory) for place in curve], latency)


def latency_at(curve: Sequence[Place], memory: float) -> Reading | None:
    """Return the least latency that the curve has with at most this memory; None when it always needs more."""
    return _least([(place.memory, place.latency) for place in curve], memory)


def _least(points: Sequence[tuple[float, float]], limit: float) -> Reading | None:
    """Return the least second coordinate of the curve where the first coordinate is within the limit."""
    least = min(_candidates(points, limit), default=None)
    return None if least is None else Reading(least, bound=all(first < limit for first, _ in points))


def _candidates(points: Sequence[tuple[float, float]], limit: float) -> Iterator[float]:
    """Yield the second coordinates at points within the limit, and wherever the first coordinate crosses the limit."""
    yield from (second for first, second in points if first <= limit)
    for (first, second), (next_first, next_second) in pairwise(points):
        if (first - limit) * (next_first - limit) < 0:
            yield second + (next_second - second) * (limit - first) / (next_first - first)
