"""The three classes of arrivals, by the coefficient of variation (CoV) of inter-arrival times, as in the paper.

CoV is the standard deviation (of the whole population) over the mean. A metronome has 0, a Poisson process 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import StrEnum
from itertools import pairwise


class ArrivalClass(StrEnum):
    PREDICTABLE = "predictable"
    """CoV below 1."""
    NORMAL = "normal"
    """CoV from 1 to 4."""
    BURSTY = "bursty"
    """CoV above 4."""
    NONE = "n/a"
    """Fewer than three calls: no two gaps that could differ."""


def cov(times_s: Iterable[float]) -> float | None:
    """CoV of the gaps between ascending call times; None below two gaps, or when all calls are at one moment."""
    gaps = [later - earlier for earlier, later in pairwise(times_s)]
    if len(gaps) < 2:
        return None
    mean = math.fsum(gaps) / len(gaps)
    if mean == 0:
        return None
    variance = math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    return math.sqrt(variance) / mean


def classify(value: float | None) -> ArrivalClass:
    """The class of a CoV."""
    if value is None:
        return ArrivalClass.NONE
    if value < 1:
        return ArrivalClass.PREDICTABLE
    if value <= 4:
        return ArrivalClass.NORMAL
    return ArrivalClass.BURSTY
