"""Readings of the front, by hand."""

from __future__ import annotations

import pytest

from instainfer.report.front import Place, Reading, latency_at, memory_at

CURVE = [Place(100.0, 900.0), Place(200.0, 500.0), Place(400.0, 100.0)]
"""Ever more memory for ever less latency."""


def test_between_points_a_curve_is_straight() -> None:
    assert memory_at(CURVE, 700.0) == Reading(150.0)
    assert memory_at(CURVE, 300.0) == Reading(300.0)
    assert latency_at(CURVE, 250.0) == Reading(400.0)
    assert latency_at(list(reversed(CURVE)), 250.0) == Reading(400.0)


def test_points_themselves_are_read_exactly() -> None:
    assert memory_at(CURVE, 500.0) == Reading(200.0)
    assert memory_at(CURVE, 900.0) == Reading(100.0)
    assert latency_at(CURVE, 100.0) == Reading(900.0)
    assert latency_at(CURVE, 400.0) == Reading(100.0)


def test_what_a_curve_does_not_reach_is_not_made_up() -> None:
    assert memory_at(CURVE, 99.0) is None
    assert latency_at(CURVE, 99.0) is None
    assert memory_at([], 99.0) is None
    assert latency_at([], 99.0) is None


def test_a_curve_that_is_better_everywhere_is_read_at_its_end_and_says_so() -> None:
    assert memory_at(CURVE, 901.0) == Reading(100.0, bound=True)
    assert latency_at(CURVE, 401.0) == Reading(100.0, bound=True)


def test_of_several_places_the_best_counts() -> None:
    dented = [Place(100.0, 900.0), Place(200.0, 300.0), Place(300.0, 600.0), Place(400.0, 100.0)]
    assert memory_at(dented, 450.0) == Reading(pytest.approx(175.0))
    assert latency_at(dented, 350.0) == Reading(300.0)
    backwards = [Place(100.0, 900.0), Place(300.0, 500.0), Place(250.0, 100.0)]
    assert memory_at(backwards, 300.0) == Reading(250.0)
    assert latency_at(backwards, 275.0) == Reading(100.0)
    assert memory_at([Place(10.0, 5.0)], 5.0) == Reading(10.0)
