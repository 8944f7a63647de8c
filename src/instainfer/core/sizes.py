"""How large a container of a function is whose memory is learned (``memory = "auto"``). No state, only arithmetic.

Each run shows the most memory that the function had, with the templates that it was forked from: its *peak*. A profile
keeps the largest of the latest peaks. The size is that peak and a margin, because the next run may need a little more.

Worked example. The peak is 300 MiB. With 15 % more, and rounded up to whole 16 MiB, its containers have 352 MiB.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from .model import MIB, Function, Profile

MARGIN: Final = 0.15
"""Room beyond the peak, as a share of it."""
LEAST_MARGIN_BYTES: Final = 32 * MIB
"""Room beyond the peak of a small function: what a Python process takes for nothing in particular."""
STEP_BYTES: Final = 16 * MIB
"""Sizes are multiples of this, so that they seldom change."""
NOTABLE: Final = 0.1
"""A size that would change by a smaller share stays, because a container that is a little too small is of no use to a
call, and a new one costs time."""


def size_for(peak_bytes: int) -> int:
    """The size of a container for a function with this peak."""
    wanted_bytes = peak_bytes + max(LEAST_MARGIN_BYTES, int(MARGIN * peak_bytes))
    return -(-wanted_bytes // STEP_BYTES) * STEP_BYTES


def peak_for(size_bytes: int) -> int:
    """The largest peak for which a container of this size is enough."""
    return max(0, min(size_bytes - LEAST_MARGIN_BYTES, int(size_bytes / (1 + MARGIN))))


def within(function: Function, size_bytes: int) -> int:
    """The size, but within the bounds of this function."""
    return max(function.least_bytes, min(function.most_bytes, size_bytes))


def bounded(function: Function, budget_bytes: int) -> Function:
    """The function on a node with this much memory, of which it gets no more if its memory is learned."""
    if not function.is_auto or function.most_bytes <= budget_bytes:
        return function
    return replace(function, most_bytes=budget_bytes, memory_bytes=min(budget_bytes, function.memory_bytes))


def learned(function: Function, profile: Profile) -> Function:
    """The function with the size that its profile tells. The same object if that is not notably another size."""
    if not function.is_auto or not profile.peak_bytes:
        return function
    size_bytes = within(function, size_for(profile.peak_bytes))
    if abs(size_bytes - function.memory_bytes) < NOTABLE * function.memory_bytes:
        return function
    return replace(function, memory_bytes=size_bytes)
