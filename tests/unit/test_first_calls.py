"""What a node learns about its functions as a whole: how soon first calls come."""

from __future__ import annotations

import pytest

from instainfer.core.first_calls import PRIOR_CALLS, PRIOR_S, FirstCallRate


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
