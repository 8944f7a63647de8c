"""Values: what a frozen dataclass promises, but for the slow setter."""

from __future__ import annotations

import dataclasses

import pytest

from instainfer.core.model import Phases
from instainfer.core.values import value


@value(frozen=True, slots=True)
class Point:
    x: float
    y: float = 2.0


def test_equal_fields_make_equal_values_with_equal_hashes() -> None:
    assert Point(1.0) == Point(1.0, 2.0) != Point(1.0, 3.0)
    assert len({Point(1.0), Point(1.0, 2.0), Point(1.0, 3.0)}) == 2


def test_values_are_dataclasses_with_slots() -> None:
    assert dataclasses.replace(Point(1.0), y=5.0) == Point(1.0, 5.0)
    assert dataclasses.asdict(Phases(queue=1.5))["queue"] == 1.5
    with pytest.raises(AttributeError):
        object.__setattr__(Point(1.0), "z", 1)


def test_nothing_else_is_a_value() -> None:
    with pytest.raises(TypeError, match="frozen and has slots"):
        value(frozen=False, slots=True)
