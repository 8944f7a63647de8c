"""The paper's test vectors (seconds until P(call) reaches p, for a rate in calls a minute) and our two additions."""

from __future__ import annotations

import math

import pytest

from instainfer.policy.predict.poisson import LONE_GAP_S, Poisson, PoissonForecast


@pytest.mark.parametrize(
    ("per_minute", "expected"),
    [
        (0.1, (30.78, 37.13, 1138.3, 1688.1)),
        (0.5, (6.16, 7.43, 227.7, 337.6)),
        (1, (3.08, 3.71, 113.8, 168.8)),
        (2, (1.54, 1.86, 56.9, 84.4)),
        (5, (0.62, 0.74, 22.8, 33.8)),
        (10, (0.31, 0.37, 11.4, 16.9)),
    ],
)
def test_load_and_offload_times_of_the_paper(per_minute: float, expected: tuple[float, ...]) -> None:
    window_s = 5 / (per_minute / 60)
    forecast = PoissonForecast(5, 0.0, window_s, window_s)
    for p, seconds in zip((0.05, 0.06, 0.85, 0.94), expected, strict=True):
        assert forecast.due_at(p) - window_s == pytest.approx(seconds, rel=0.002, abs=0.006)


def test_the_rate_is_the_window_over_the_time_between_its_first_and_last_arrival() -> None:
    forecast = Poisson(window=5).forecast([0.0, 100.0, 130.0, 160.0, 190.0, 220.0])
    assert forecast is not None
    assert forecast.rate(220.0) == pytest.approx(5 / 120)
    assert forecast.probability(220.0, 24.0) == pytest.approx(1 - math.exp(-1))


def test_the_rate_falls_as_the_silence_grows() -> None:
    forecast = Poisson().forecast([0.0, 10.0, 20.0, 30.0, 40.0])
    assert forecast is not None
    rates = [forecast.rate(at) for at in (40.0, 80.0, 160.0, 400.0)]
    assert rates == [pytest.approx(5 / 40), pytest.approx(5 / 80), pytest.approx(5 / 160), pytest.approx(5 / 400)]


def test_one_arrival_counts_as_one_a_minute_and_a_burst_in_an_instant_as_a_finite_rate() -> None:
    lone = Poisson().forecast([100.0])
    assert lone is not None
    assert lone.rate(100.0) == pytest.approx(1 / LONE_GAP_S)
    burst = Poisson().forecast([100.0] * 9)
    assert burst is not None
    assert 1.0 < burst.rate(100.0) < 100.0
    assert burst.due_at(0.94) < math.inf


def test_no_history_no_forecast() -> None:
    assert Poisson().forecast([]) is None
