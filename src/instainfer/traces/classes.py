"""The paper's three classes of functions, by the coefficient of variation (CoV) of the gaps between their calls.

The CoV is the standard deviation (of the whole population) divided by the mean. It is 0 for calls at a fixed interval,
and 1 for a Poisson process.
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
    """Fewer than three calls, or all at the same time: there is no CoV."""


def cov(times_s: Iterable[float]) -> float | None:
    """Return the CoV of the gaps between ascending call times; None for fewer than two gaps, or if all gaps are 0."""
    gaps = [later - earlier for earlier, later in pairwise(times_s)]
    if len(gaps) < 2:
        return None
    mean = math.fsum(gaps) / len(gaps)
    if mean == 0:
        return None
    variance = math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    return math.sqrt(variance) / mean


def classify(value: float | None) -> ArrivalClass:
    """Return the class of a CoV."""
    if value is None:
        return ArrivalClass.NONE
    if value < 1:
        return ArrivalClass.PREDICTABLE
    if value <= 4:
        return ArrivalClass.NORMAL
    return ArrivalClass.BURSTY
