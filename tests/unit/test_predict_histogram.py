"""The worked example of the predictor, and what a forecast by ages must do whatever the gaps."""

from __future__ import annotations

import math
from collections import deque
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instainfer.core.ports import Forecast
from instainfer.policy.predict import ages
from instainfer.policy.predict.histogram import Histogram

EDGE_S = 2.0**8.25
"""304.4 s: where the range ends that begins at 256 s."""


def after(*gaps_s: float) -> Forecast:
    forecast = Histogram().forecast(list(accumulate(gaps_s, initial=0.0)))
    assert forecast is not None
    return forecast


def test_the_worked_example() -> None:
    forecast = after(300.0, 300.0, 300.0)
    assert forecast.probability(900.0, 256.0) == pytest.approx(49 / 82 / 4)
    assert forecast.probability(900.0, EDGE_S) == pytest.approx((3 + 50 / 82) / 4)
    assert forecast.probability(900.0 + 256.0, EDGE_S - 256.0) == pytest.approx(0.885, abs=0.001)


def test_within_a_range_every_moment_is_as_likely() -> None:
    forecast = after(300.0, 300.0, 300.0)
    middle = (49 / 82 + (3 + 1 / 82) / 2) / 4
    assert forecast.probability(900.0, (256.0 + EDGE_S) / 2) == pytest.approx(middle)
    assert forecast.due_at(middle) == pytest.approx(900.0 + (256.0 + EDGE_S) / 2)


def test_beyond_the_last_range_a_silence_doubles_with_probability_one_half() -> None:
    forecast = after(300.0)
    assert forecast.probability(300.0 + 100_000.0, 100_000.0) == pytest.approx(0.5)
    assert forecast.due_at(1 - 1 / 4 / 82) == pytest.approx(300.0 + 2 * ages.EDGES_S[-1])


def test_the_rate_of_a_regular_function_is_low_after_a_call_high_when_it_is_due_and_falls_when_it_does_not_come() -> (
    None
):
    forecast = after(*[300.0] * 20)
    just_called, due, late, forgotten = (forecast.rate(6000.0 + age_s) for age_s in (1.0, 260.0, 400.0, 40_000.0))
    assert due > 20 * just_called
    assert late < due / 10
    assert forgotten < late / 10


def test_the_rate_is_the_one_that_has_the_same_median() -> None:
    forecast = after(*[300.0] * 20)
    median_s = forecast.due_at(0.5) - 6000.0
    assert 256.0 < median_s < EDGE_S
    at = 6000.0 + 256.0
    soon_s = math.log(2) / forecast.rate(at)
    assert soon_s < 60.0
    assert forecast.probability(at, soon_s) == pytest.approx(0.5)


def test_farther_off_than_the_horizon_the_rate_is_the_one_as_likely_to_bring_a_call_within_it() -> None:
    forecast = after(*[300.0] * 20)
    at = 6000.0 + 100.0
    assert -math.expm1(-forecast.rate(at) * 60.0) == pytest.approx(forecast.probability(at, 60.0))


def test_the_rate_of_a_busy_function_is_of_the_order_of_its_calls_and_not_of_the_horizon() -> None:
    forecast = after(*[0.9] * 63)
    assert 0.5 < forecast.rate(0.9 * 63) < 2.0


def test_a_lone_call_leaves_all_ranges_as_likely() -> None:
    forecast = after()
    assert forecast.probability(0.0, 1.0) == pytest.approx(17 / 82)
    assert forecast.due_at(41 / 82) == pytest.approx(64.0)


def test_calls_at_one_instant_are_a_gap_of_the_first_range() -> None:
    forecast = after(0.0, 0.0, 0.0)
    assert forecast.probability(0.0, 1 / 16) == pytest.approx((3 + 1 / 82) / 4)


def test_logarithms_of_gaps_fill_the_same_table() -> None:
    gaps_s = [0.0, 0.3, 70.0, 70.0, 1e6]
    assert ages.from_logs(0.0, 60.0, ages.logs_of(gaps_s)) == ages.from_gaps(0.0, 60.0, gaps_s)


@given(
    st.lists(st.sampled_from([0.0, 0.05, 1.0, 70.0, 3600.0, 1e6]) | st.floats(0.0, 1e5), min_size=1, max_size=40),
    st.integers(2, 12),
)
def test_carried_on_from_call_to_call_it_is_the_forecast_made_anew(gaps_s: list[float], remembered: int) -> None:
    arrivals: deque[float] = deque(maxlen=remembered)
    carried: Forecast | None = None
    for at in accumulate(gaps_s, initial=0.0):
        arrivals.append(at)
        carried = Histogram().forecast(arrivals, carried)
        assert carried == Histogram().forecast(arrivals)
