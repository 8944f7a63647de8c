"""What a node learns about its functions as a whole: waits for neighbours' ends, and first calls."""

from __future__ import annotations

import pytest

from instainfer.core.endings import GUESS_S, MOST, WEIGHT, Endings
from instainfer.core.firsts import PRIOR_CALLS, PRIOR_S, Firsts


def test_the_worked_example_of_endings() -> None:
    endings = Endings()
    endings.waited(1, 0.020)
    endings.waited(3, 0.026)
    assert endings.waits_s[:6] == (0.0, 0.020, 0.020, 0.026, 0.026, 0.026)


def test_before_anything_was_seen_there_is_a_guess_and_nobody_waits_for_nobody() -> None:
    assert Endings().waits_s[:3] == (0.0, GUESS_S, GUESS_S)


def test_waits_are_means_of_the_recent_ones_and_never_fall() -> None:
    endings = Endings()
    endings.waited(2, 0.1)
    endings.waited(2, 0.2)
    assert endings.waits_s[2] == pytest.approx(0.1 + WEIGHT * 0.1)
    endings.waited(MOST + 5, 0.05)
    assert endings.waits_s[MOST] == pytest.approx(endings.waits_s[2])
    assert len(endings.waits_s) == MOST + 1


def test_the_worked_example_of_first_calls() -> None:
    firsts = Firsts()
    for _ in range(8):
        firsts.registered(0.0)
    for _ in range(4):
        firsts.called(0.0, 30.0)
    assert firsts.rate(60.0) == pytest.approx(4.1 / 540)
    assert firsts.rate(60.0 + 86_400) == pytest.approx(4.1 / (540 + 345_600))


def test_what_is_removed_uncalled_was_no_first_call() -> None:
    firsts = Firsts()
    firsts.registered(100.0)
    firsts.removed(100.0, 400.0)
    assert firsts.rate(1e6) == pytest.approx(PRIOR_CALLS / (PRIOR_S + 300.0))
