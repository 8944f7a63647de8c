"""Checks measured profiles. A stored profile is used for months, so one that cannot be true must not be stored."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import get_type_hints

from ..core.model import Profile

_HINTS = get_type_hints(Profile)
_KINDS = {each.name: _HINTS[each.name] for each in fields(Profile)}
_MOST = 2**63
"""One more than the largest whole number that fits into a table."""


def unsound(profile: Profile) -> str | None:
    """Describe why a profile cannot be true. None if each of its numbers is finite, not negative, and not too large."""
    for name, kind in _KINDS.items():
        value = getattr(profile, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"{name} is not a number: {value!r:.80}"
        if kind is int and not isinstance(value, int):
            return f"{name} is not a whole number: {value!r}"
        if isinstance(value, float) and not math.isfinite(value):
            return f"{name} is not finite: {value!r}"
        if value < 0:
            return f"{name} is negative: {value!r}"
        if value >= _MOST:
            return f"{name} is larger than anything that can be measured"
    return None
