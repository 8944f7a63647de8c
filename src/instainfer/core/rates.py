"""The mean rate of events of which the latest are remembered."""

from __future__ import annotations

from typing import Final

SETTLED_S: Final = 60.0
"""Seconds that are added to the time since the earliest event, so that a first event, or a burst, is no high rate."""


def mean_rate(count: int, since: float, at: float) -> float:
    """Events per second at time `at`, when `count` events are remembered and the earliest of them came at `since`.

    Half an event is taken off, since the time since the earliest one is not chosen at random: it begins with an event.
    """
    return (count - 0.5) / (SETTLED_S + at - since) if count else 0.0
