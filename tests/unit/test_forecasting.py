"""Library-backed models: the worked examples of `arima` and `forest`, and our way of asking beside the library's."""

from __future__ import annotations

import math
import random
import sys
from itertools import accumulate, cycle, islice

import pytest
from sklearn.ensemble import RandomForestRegressor
from statsmodels.tsa.arima.model import ARIMA

from instainfer.config import KeepAliveConfig, PreloadConfig
from instainfer.core.ports import Forecast
from instainfer.errors import HostError
from instainfer.forecasting import arima, forest
from instainfer.policy import catalog
from instainfer.policy.predict.arima import Arima
from instainfer.policy.predict.fitted import LEAST_GAPS
from instainfer.policy.predict.forest import Forest


def jittered(*pattern_s: float, count: int, share: float = 0.03) -> list[float]:
    """A pattern of gaps again and again, each within `share` of what it should be."""
    noise = random.Random(7)
    return [gap_s * (1 + noise.uniform(-share, share)) for gap_s in islice(cycle(pattern_s), count)]


def arrivals_of(gaps_s: list[float]) -> list[float]:
    return list(accumulate(gaps_s, initial=0.0))


def within(forecast: Forecast | None, last_at: float, span_s: float) -> float:
    assert forecast is not None
    return forecast.probability(last_at, span_s)


def test_arima_finds_that_gaps_halve_and_double() -> None:
    gaps_s = jittered(60.0, 30.0, count=60)
    moments = arrivals_of(gaps_s)
    model = arima.fitter()([math.log(gap_s) for gap_s in gaps_s])
    assert not model.differenced
    assert model.ar < -0.9
    predictor = Arima(arima.fitter())
    assert within(predictor.forecast(moments), moments[-1], 42.0) < 0.02
    assert within(predictor.forecast(moments[:-1]), moments[-2], 42.0) > 0.95


def test_arima_differences_a_series_that_wanders_and_not_one_that_returns() -> None:
    noise = random.Random(3)
    steps = [noise.gauss(0.0, 0.2) for _ in range(60)]
    fit = arima.fitter()
    assert fit(list(accumulate(steps))).differenced
    assert not fit(steps).differenced


def test_arima_says_what_the_library_says() -> None:
    noise = random.Random(5)
    series = [0.0]
    for _ in range(60):
        series.append(1.0 + 0.6 * (series[-1] - 1.0) + noise.gauss(0.0, 0.3))
    result = ARIMA(series, order=(1, 0, 1), trend="c").fit()
    mean, ar, ma = (float(result.params[n]) for n in range(3))
    ours = arima.ArimaModel(False, mean, ar, ma)
    assert ours.next(series) == pytest.approx(float(result.forecast()[0]), abs=1e-3)
    assert ours.fitted(series).errors[10:] == pytest.approx([float(e) for e in result.resid[11:]], abs=1e-2)


def test_arima_of_differences_adds_to_the_last_value() -> None:
    model = arima.ArimaModel(True, 0.0, 0.5, 0.0)
    assert model.next([1.0, 2.0, 4.0]) == 4.0 + 0.5 * 2.0
    assert model.fitted([1.0, 2.0, 4.0]).errors == (2.0 - 0.5 * 1.0,)


def test_a_series_that_does_not_vary_is_its_own_forecast() -> None:
    model = arima.fitter()([4.0] * LEAST_GAPS)
    assert model.next([4.0] * LEAST_GAPS) == 4.0
    assert set(model.errors) == {0.0}


def test_the_forecast_of_an_idle_time_is_positive_and_not_far_above_what_was_seen() -> None:
    forecast = arima.forecaster()
    assert forecast([36_000.0] * 8) == pytest.approx(36_000.0)
    growing = [15_000.0 * 2**n for n in range(10)]
    assert 0 < forecast(growing) <= 2 * growing[-1] * (1 + 1e-9)


def test_the_forest_knows_calls_in_threes() -> None:
    gaps_s = jittered(2.0, 2.0, 100.0, count=60)
    moments = arrivals_of(gaps_s)
    predictor = Forest(forest.fitter())
    after_long = predictor.forecast(moments)
    after_two_short = predictor.forecast(moments[:-1])
    assert within(after_long, moments[-1], 50.0) > 0.9
    assert within(after_two_short, moments[-2], 50.0) < 0.1


def test_the_forest_says_what_the_library_says() -> None:
    noise = random.Random(11)
    series = [noise.gauss(3.0, 1.0) for _ in range(63)]
    model = forest.fitter()(series)
    library = RandomForestRegressor(forest.TREES, min_samples_leaf=forest.LEAST_IN_LEAF, random_state=forest.SEED)
    library.fit([series[n : n + forest.LAGS] for n in range(len(series) - forest.LAGS)], series[forest.LAGS :])
    for end in range(forest.LAGS, len(series) + 1):
        question = series[:end]
        assert model.next(question) == pytest.approx(float(library.predict([question[-forest.LAGS :]])[0]))
    assert len(model.errors) == len(series) - forest.LAGS


@pytest.mark.parametrize(
    ("predictor", "module", "library"),
    [("arima", "statsmodels.tsa.arima.model", "statsmodels"), ("forest", "sklearn.ensemble", "scikit-learn")],
)
def test_without_its_library_a_predictor_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, predictor: str, module: str, library: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(HostError, match=rf"{predictor} needs {library}.*pip install 'instainfer\[forecast\]'"):
        catalog.PREDICTORS[predictor](PreloadConfig())


def test_without_its_library_the_histogram_of_idle_times_needs_none_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels.tsa.arima.model", None)
    catalog.KEEPALIVES["histogram"](KeepAliveConfig())
    with pytest.raises(HostError, match="statsmodels"):
        catalog.KEEPALIVES["histogram"](KeepAliveConfig(forecast="arima"))


def test_auto_can_have_them_as_members_and_no_others_than_there_are() -> None:
    moments = arrivals_of(jittered(60.0, 30.0, count=40))
    auto = catalog.PREDICTORS["auto"](PreloadConfig(members="poisson, arima, forest"))
    assert within(auto.forecast(moments), moments[-1], 1e6) > 0.9
    for wrong in ("poisson,tarot", "auto"):
        with pytest.raises(KeyError, match="no policy"):
            catalog.PREDICTORS["auto"](PreloadConfig(members=wrong))
