"""Deadlines: the nearest is asked for, none is missed, none is left behind."""

from __future__ import annotations

from instainfer.core.timers import Timers


def test_only_a_nearer_deadline_is_asked_for_again() -> None:
    timers = Timers()
    timers.arm(10.0, "a")
    assert timers.ask() == 10.0
    timers.arm(20.0, "b")
    assert timers.ask() is None
    timers.arm(5.0, "c")
    assert timers.ask() == 5.0


def test_a_deadline_that_moves_nearer_is_not_missed_and_fires_once() -> None:
    timers = Timers()
    timers.arm(600.0, "container c1")
    timers.ask()
    timers.arm(110.0, "container c1")
    assert timers.ask() == 110.0
    assert timers.fired(110.0) == ["container c1"]
    assert timers.fired(700.0) == []


def test_a_deadline_that_moves_away_leaves_no_second_timer() -> None:
    timers = Timers()
    for n in range(1000):
        timers.arm(10.0 + n, "container c1")
    assert timers.fired(10.0) == ["container c1"]
    assert timers.fired(2000.0) == []


def test_the_plan_has_a_deadline_of_its_own() -> None:
    timers = Timers()
    timers.arm(10.0, "a")
    timers.plan_at = 3.0
    assert timers.ask() == 3.0
    timers.fired(3.0)
    timers.plan_at = None
    assert timers.ask() == 10.0


def test_what_is_disarmed_does_not_go_off_and_is_not_kept() -> None:
    timers = Timers()
    timers.arm(1.0, "a")
    for n in range(10_000):
        timers.arm(1000.0 + n, f"b{n}")
        timers.disarm(f"b{n}")
    timers.disarm("never armed")
    assert len(timers._heap) < 200
    assert timers.fired(1e9) == ["a"]


def test_what_is_armed_again_after_it_was_disarmed_goes_off_once() -> None:
    timers = Timers()
    timers.arm(5.0, "a")
    timers.disarm("a")
    timers.arm(7.0, "a")
    assert timers.fired(6.0) == []
    assert timers.fired(8.0) == ["a"]
