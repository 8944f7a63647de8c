"""Tests of virtual time: the order of actions, and that cancelled actions do not run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from instainfer.errors import InternalError
from instainfer.sim.engine import Engine, Rank, cancel


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def done() -> list[str]:
    return []


@pytest.fixture
def note(done: list[str]) -> Callable[[str], Callable[[], None]]:
    return lambda name: lambda: done.append(name)


Note = Callable[[str], Callable[[], None]]


def test_time_first_then_rank_then_the_order_of_asking(engine: Engine, done: list[str], note: Note) -> None:
    engine.at(2.0, Rank.REPORT, note("later"))
    engine.at(1.0, Rank.CALL, note("call"))
    engine.at(1.0, Rank.ALARM, note("alarm"))
    engine.at(1.0, Rank.REPORT, note("report 1"))
    engine.at(1.0, Rank.REPORT, note("report 2"))
    while engine.step():
        pass
    assert done == ["report 1", "report 2", "alarm", "call", "later"]
    assert engine.now == 2.0


def test_a_call_finds_everything_done_that_falls_on_its_moment(engine: Engine, done: list[str], note: Note) -> None:
    for rank in (Rank.CALL, Rank.ALARM, Rank.REPORT):
        engine.at(1.0, rank, note(rank.name))
    engine.advance(1.0)
    assert done == ["REPORT", "ALARM"]
    engine.advance(1.5)
    assert done == ["REPORT", "ALARM", "CALL"]


def test_what_is_asked_for_while_time_moves_comes_in_its_turn(engine: Engine, done: list[str], note: Note) -> None:
    def first() -> None:
        done.append(f"first at {engine.now}")
        engine.after(0.0, Rank.REPORT, note("at once"))
        engine.after(1.0, Rank.REPORT, note("in a second"))

    engine.at(1.0, Rank.REPORT, first)
    engine.at(1.5, Rank.REPORT, note("between"))
    engine.advance(3.0)
    assert done == ["first at 1.0", "at once", "between", "in a second"]
    assert engine.now == 3.0


def test_what_was_called_off_never_comes(engine: Engine, done: list[str], note: Note) -> None:
    timer = engine.at(1.0, Rank.REPORT, note("no"))
    engine.at(2.0, Rank.REPORT, note("yes"))
    cancel(timer)
    assert engine.step()
    assert (done, engine.now) == (["yes"], 2.0)
    assert not engine.step()
    cancel(timer)


def test_time_does_not_go_back(engine: Engine, done: list[str], note: Note) -> None:
    engine.advance(5.0)
    with pytest.raises(InternalError, match=r"cannot go back from 5\.0 to 4\.0"):
        engine.advance(4.0)
    engine.at(3.0, Rank.REPORT, note("late"))
    engine.advance(5.0)
    assert (done, engine.now) == (["late"], 5.0)
