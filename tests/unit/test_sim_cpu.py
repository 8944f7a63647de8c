"""Tests of shared processors: hand-picked loads and runs end when simple arithmetic says."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from instainfer.sim.cpu import BACKGROUND_SHARE, Company, Cores, Plenty
from instainfer.sim.engine import Engine

Ends = dict[str, tuple[float, float]]


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def ends() -> Ends:
    """What has ended: when, and how many times as long it took."""
    return {}


@pytest.fixture
def end(engine: Engine, ends: Ends) -> Callable[[str], Callable[..., None]]:
    def named(name: str) -> Callable[..., None]:
        def then(stretch: float = 1.0) -> None:
            ends[name] = (engine.now, stretch)

        return then

    return named


End = Callable[[str], Callable[..., None]]


def finish(engine: Engine) -> None:
    while engine.step():
        pass


def test_enough_for_all_slows_nobody_down(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 4.0)
    cores.begin(1.0, 2.0, end("a"))
    cores.begin(2.0, 2.0, end("b"), background=True)
    cores.begin(3.0, 0.0, end("sleeps"))
    finish(engine)
    assert ends == {"a": (1.0, 1.0), "b": (2.0, 1.0), "sleeps": (3.0, 1.0)}


def test_plenty_is_the_same_without_limit(engine: Engine, ends: Ends, end: End) -> None:
    plenty = Plenty(engine)
    works = [plenty.begin(1.0, 8.0, end(name)) for name in "ab"]
    plenty.hurry(works[0])
    engine.advance(0.25)
    assert plenty.give_up(works[1]) == 0.75
    finish(engine)
    assert ends == {"a": (1.0, 1.0)}


def test_two_that_want_everything_get_half_each(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    cores.begin(1.0, 2.0, end("a"))
    engine.advance(0.5)
    cores.begin(1.0, 2.0, end("b"))
    finish(engine)
    # a: half is done, the other half takes 1 s. b: half in that second, then alone.
    assert ends == {"a": (1.5, 1.5), "b": (2.0, 1.5)}


def test_what_one_has_no_use_for_goes_to_the_others(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    cores.begin(1.0, 2.0, end("wide"))
    cores.begin(4.0, 0.5, end("narrow"))
    finish(engine)
    # One and a half cores of two.
    assert ends["wide"] == (pytest.approx(4 / 3), pytest.approx(4 / 3))
    assert ends["narrow"] == (4.0, 1.0)


def test_the_background_gets_what_is_left_and_a_little_at_least(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    cores.begin(1.0, 2.0, end("call"))
    cores.begin(1.0, 1.0, end("load"), background=True)
    finish(engine)
    assert ends["call"] == (1.0, 1.0)
    assert ends["load"][0] == pytest.approx(2.0 - 2 * BACKGROUND_SHARE)


def test_a_load_that_is_brought_forward_takes_part(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 1.0)
    cores.begin(10.0, 1.0, end("call"))
    load = cores.begin(1.0, 1.0, end("load"), background=True)
    engine.advance(2.0)
    cores.hurry(load)
    finish(engine)
    # It has done two hundredths or so in two seconds; then each has half of the core.
    assert ends["load"][0] == pytest.approx(2.0 + 2 * (1.0 - 2 * BACKGROUND_SHARE))


def test_what_is_given_up_leaves_its_part_to_others(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 1.0)
    cores.begin(1.0, 1.0, end("stays"))
    goes = cores.begin(1.0, 1.0, end("goes"))
    engine.advance(1.0)
    assert cores.give_up(goes) == 0.5, "in one second it has had half of the core"
    assert cores.give_up(goes) == 0.0
    finish(engine)
    assert ends == {"stays": (1.5, 1.5)}


def test_in_company_work_is_as_slow_as_was_measured(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    cores.begin(1.0, 2.0, end("a"), company=Company(crowded=0.8))
    cores.begin(1.0, 2.0, end("b"), company=Company(crowded=0.8))
    finish(engine)
    assert ends == {"a": (2.5, 2.5), "b": (2.5, 2.5)}


def test_what_goes_on_in_the_background_drags_until_it_has_ended(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    load = cores.begin(1.0, 1.0, end("load"), background=True)
    cores.begin(1.0, 1.5, end("call"), company=Company(dragged=0.5))
    engine.advance(1.0)
    assert "load" not in ends, "it has had half of a processor"
    cores.give_up(load)
    finish(engine)
    assert ends == {"call": (1.5, 1.5)}


def test_what_is_crowded_is_not_dragged_too(engine: Engine, ends: Ends, end: End) -> None:
    cores = Cores(engine, 2.0)
    cores.begin(9.0, 1.0, end("load"), background=True)
    cores.begin(1.0, 2.0, end("a"), company=Company(dragged=0.5))
    cores.begin(1.0, 2.0, end("b"), company=Company(dragged=0.5))
    finish(engine)
    assert ends["a"] == ends["b"] == (2.0, 2.0)
