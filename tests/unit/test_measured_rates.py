"""What a node learns about its functions as a whole: waits for neighbours' ends, and first calls."""

from __future__ import annotations

import pytest

from instainfer.core.eviction_delay import GUESS_S, MOST, WEIGHT, EvictionDelay
from instainfer.core.first_calls import PRIOR_CALLS, PRIOR_S, FirstCallRate


def test_the_worked_example_of_endings() -> None:
    eviction_delay = EvictionDelay()
    eviction_delay.waited(1, 0.020)
    eviction_delay.waited(3, 0.026)
    assert eviction_delay.waits_s[:6] == (0.0, 0.020, 0.020, 0.026, 0.026, 0.026)


def test_before_anything_was_seen_there_is_a_guess_and_nobody_waits_for_nobody() -> None:
    assert EvictionDelay().waits_s[:3] == (0.0, GUESS_S, GUESS_S)


def test_waits_are_means_of_the_recent_ones_and_never_fall() -> None:
    eviction_delay = EvictionDelay()
    eviction_delay.waited(2, 0.1)
    eviction_delay.waited(2, 0.2)
    assert eviction_delay.waits_s[2] == pytest.approx(0.1 + WEIGHT * 0.1)
    eviction_delay.waited(MOST + 5, 0.05)
    assert eviction_delay.waits_s[MOST] == pytest.approx(eviction_delay.waits_s[2])
    assert len(eviction_delay.waits_s) == MOST + 1


def test_the_worked_example_of_first_calls() -> None:
    first_calls = FirstCallRate()
    for _ in range(8):
        first_calls.registered(0.0)
    for _ in range(4):
        first_calls.called(0.0, 30.0)
    assert first_calls.rate(60.0) == pytest.approx(4.1 / 540)
    assert first_calls.rate(60.0 + 86_400) == pytest.approx(4.1 / (540 + 345_600))


def test_what_is_removed_uncalled_was_no_first_call() -> None:
    first_calls = FirstCallRate()
    first_calls.registered(100.0)
    first_calls.removed(100.0, 400.0)
    assert first_calls.rate(1e6) == pytest.approx(PRIOR_CALLS / (PRIOR_S + 300.0))
