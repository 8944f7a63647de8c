"""The trade between memory and latency: curves of what a system pays and gets, and how they compare to a baseline.

A curve has a point for each value of a parameter, keep-alive times say. Two readings are taken against one point of
the baseline (its memory M and latency L): the least memory at which a curve has the latency L, and the least latency
that it has with the memory M. Between neighbouring points a curve is taken to be straight. Nothing is said of what
lies beyond its ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple


class Place(NamedTuple):
    """What a system costs and gives at one value of the parameter."""

    memory: float
    """GB·s"""
    latency: float
    """ms"""


@dataclass(frozen=True, slots=True)
class Reading:
    """A number read off a curve."""

    value: float
    bound: bool = False
    """The whole curve is better than what was asked for, so that its end was read: it may be even less."""


def memory_at(curve: Sequence[Place], latency: float) -> Reading | None:
    """The least memory at which a curve has at most that latency; None when it does not reach it."""
    return _least([(place.latency, place.memory) for place in curve], latency)


def latency_at(curve: Sequence[Place], memory: float) -> Reading | None:
    """The least latency that a curve has with at most that memory; None when it does not get by with it."""
    return _least([(place.memory, place.latency) for place in curve], memory)


def _least(points: Sequence[tuple[float, float]], limit: float) -> Reading | None:
    """The least second coordinate that a curve has where the first is within the limit."""
    least = min(_candidates(points, limit), default=None)
    return None if least is None else Reading(least, bound=all(first < limit for first, _ in points))


def _candidates(points: Sequence[tuple[float, float]], limit: float) -> Iterator[float]:
    """The second coordinate wherever the first is at the limit, and at every point where it is below it."""
    yield from (second for first, second in points if first <= limit)
    for (first, second), (next_first, next_second) in pairwise(points):
        if (first - limit) * (next_first - limit) < 0:
            yield second + (next_second - second) * (limit - first) / (next_first - first)
