"""Deadlines: the nearest is asked for, none is missed, none is left behind."""

from __future__ import annotations

from instainfer.core.wakes import Wakes


def test_only_a_nearer_deadline_is_asked_for_again() -> None:
    wakes = Wakes()
    wakes.arm(10.0, "a")
    assert wakes.ask() == 10.0
    wakes.arm(20.0, "b")
    assert wakes.ask() is None
    wakes.arm(5.0, "c")
    assert wakes.ask() == 5.0


def test_a_deadline_that_moves_nearer_is_not_missed_and_fires_once() -> None:
    wakes = Wakes()
    wakes.arm(600.0, "container c1")
    wakes.ask()
    wakes.arm(110.0, "container c1")
    assert wakes.ask() == 110.0
    assert wakes.fired(110.0) == ["container c1"]
    assert wakes.fired(700.0) == []


def test_a_deadline_that_moves_away_leaves_no_second_timer() -> None:
    wakes = Wakes()
    for n in range(1000):
        wakes.arm(10.0 + n, "container c1")
    assert wakes.fired(10.0) == ["container c1"]
    assert wakes.fired(2000.0) == []


def test_the_plan_has_a_deadline_of_its_own() -> None:
    wakes = Wakes()
    wakes.arm(10.0, "a")
    wakes.plan_at = 3.0
    assert wakes.ask() == 3.0
    wakes.fired(3.0)
    wakes.plan_at = None
    assert wakes.ask() == 10.0
