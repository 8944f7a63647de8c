"""When a model is fitted and how its forecasts become probabilities, with a model that says what the test wants."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from instainfer.core.ports import Forecast
from instainfer.policy.predict.ages import AgeForecast
from instainfer.policy.predict.fitted import LEAST_GAPS, REFIT_CALLS, REFIT_S, Fitted
from instainfer.policy.predict.histogram import Histogram


@dataclass(frozen=True)
class AsLong:
    """As long as the last one, give or take its errors."""

    errors: tuple[float, ...]

    def next(self, series: Sequence[float]) -> float:
        return series[-1]


class Fits:
    """Counts how often it is asked."""

    def __init__(self, *errors: float) -> None:
        self.errors = errors
        self.lengths: list[int] = []

    def __call__(self, series: Sequence[float]) -> AsLong:
        self.lengths.append(len(series))
        return AsLong(self.errors)


def follow(predictor: Fitted, moments: Sequence[float], history: int = 64) -> Forecast:
    forecast: Forecast | None = None
    for n in range(len(moments)):
        forecast = predictor.forecast(moments[max(0, n + 1 - history) : n + 1], forecast)
    assert forecast is not None
    return forecast


def test_errors_around_what_the_model_says_are_the_possible_gaps() -> None:
    moments = [70.0 * n for n in range(LEAST_GAPS + 1)]
    forecast = follow(Fitted(Fits(0.0, 0.0, math.log(2.0))), moments)
    # Of three gaps held possible, two are of 70 s (range from 64 to 76.1 s), one of 140 s (from 128 to 152.2 s).
    last = moments[-1]
    assert forecast.probability(last, 64.0) == pytest.approx(41 / 82 / 4)
    assert forecast.probability(last, 64.0 * 2**0.25) == pytest.approx((2 + 42 / 82) / 4)
    assert forecast.probability(last, 128.0 * 2**0.25) == pytest.approx((3 + 46 / 82) / 4)


def test_until_there_is_enough_to_fit_it_says_what_the_histogram_says() -> None:
    fits = Fits(0.0)
    moments = [70.0 * n for n in range(LEAST_GAPS)]
    forecast, histogram = follow(Fitted(fits), moments), Histogram().forecast(moments)
    assert isinstance(forecast, AgeForecast)
    assert isinstance(histogram, AgeForecast)
    assert (forecast.gaps, forecast.within) == (histogram.gaps, histogram.within)
    assert fits.lengths == []


def test_a_model_is_fitted_anew_when_enough_calls_have_come_and_enough_time_has_gone_by() -> None:
    slow, fast = Fits(0.0), Fits(0.0)
    follow(Fitted(slow), [100.0 * n for n in range(LEAST_GAPS + 1 + 2 * REFIT_CALLS)])
    assert slow.lengths == [LEAST_GAPS, LEAST_GAPS + REFIT_CALLS, 63]
    follow(Fitted(fast), [1.0 * n for n in range(LEAST_GAPS + 1 + int(REFIT_S))])
    assert fast.lengths == [LEAST_GAPS, 63]


def test_between_fits_the_model_is_applied_to_the_latest_gaps() -> None:
    fits = Fits(0.0)
    moments = [70.0 * n for n in range(LEAST_GAPS + 1)]
    moments.append(moments[-1] + 300.0)
    forecast = follow(Fitted(fits), moments)
    assert fits.lengths == [LEAST_GAPS]
    assert forecast.probability(moments[-1], 256.0) < 0.5 < forecast.probability(moments[-1], 305.0)
