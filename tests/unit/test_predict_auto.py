"""Members that say what the test wants, judged by hand-computed charges; and real ones on histories that suit one."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import pytest

from instainfer.config import load_config
from instainfer.core.ports import Forecast, Predictor
from instainfer.embedded import policies
from instainfer.errors import BadInput
from instainfer.policy.predict.auto import FORGETTING, WORST, Auto, AutoForecast
from instainfer.policy.predict.histogram import Histogram
from instainfer.policy.predict.poisson import Poisson

GAP_S = 70.0
"""In the range from 64 to 76.1 s."""


@dataclass(frozen=True)
class Claim:
    """All that it gives to the range of `GAP_S`."""

    share: float
    last_at: float

    def rate(self, at: float) -> float:
        return self.share

    def probability(self, at: float, within_s: float) -> float:
        assert at == self.last_at, "asked about another moment than the last call"
        return 0.1 + self.share if within_s > GAP_S else 0.1

    def due_at(self, probability: float) -> float:
        return self.last_at + probability


class Claiming:
    """Gives these shares, one after the other; None for no forecast."""

    def __init__(self, *shares: float | None) -> None:
        self.shares = list(shares)

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        share = self.shares[len(arrivals) - 1]
        return None if share is None else Claim(share, arrivals[-1])


def told(auto: Predictor, moments: Sequence[float]) -> list[AutoForecast]:
    """What it says after each of these calls."""
    said: list[AutoForecast] = []
    for n in range(len(moments)):
        forecast = auto.forecast(moments[: n + 1], said[-1] if said else None)
        assert isinstance(forecast, AutoForecast)
        said.append(forecast)
    return said


def calls_every(gap_s: float, count: int) -> list[float]:
    return [n * gap_s for n in range(count)]


def test_the_worked_example() -> None:
    auto = Auto({"first": Claiming(0.10, 0.20, 0.5), "second": Claiming(0.50, 0.01, 0.5)})
    beginning, after_one, after_two = told(auto, calls_every(GAP_S, 3))
    assert beginning.chosen == "first"
    assert [s.mean for s in after_one.standings] == [pytest.approx(2.303, abs=1e-3), pytest.approx(0.693, abs=1e-3)]
    assert after_one.chosen == "second"
    assert [s.mean for s in after_two.standings] == [pytest.approx(1.95, abs=0.01), pytest.approx(2.70, abs=0.01)]
    assert after_two.chosen == "first"


def test_the_chosen_one_speaks() -> None:
    auto = Auto({"first": Claiming(0.1, 0.3), "second": Claiming(0.5, 0.7)})
    forecast = told(auto, calls_every(GAP_S, 2))[-1]
    assert (forecast.rate(GAP_S), forecast.due_at(0.25)) == (0.7, GAP_S + 0.25)
    assert forecast.probability(GAP_S, 100.0) == pytest.approx(0.8)


def test_a_charge_is_bounded_and_old_ones_are_forgotten() -> None:
    auto = Auto({"wrong": Claiming(0.0, 1.0, 1.0, 1.0)})
    said = told(auto, calls_every(GAP_S, 4))
    assert said[1].standings[0].charge == pytest.approx(WORST)
    assert said[3].standings[0].charge == pytest.approx(FORGETTING**2 * WORST)
    assert said[3].standings[0].weight == pytest.approx(1 + FORGETTING + FORGETTING**2)


def test_a_member_without_a_forecast_is_neither_judged_nor_believed() -> None:
    auto = Auto({"late": Claiming(None, None, 0.9, 0.9), "early": Claiming(0.2, 0.2, 0.2, 0.2)})
    said = told(auto, calls_every(GAP_S, 4))
    assert [forecast.chosen for forecast in said] == ["early", "early", "early", "late"]
    assert said[2].standings[0].weight == 0.0
    assert said[3].standings[0].charge == pytest.approx(-math.log(0.9))


def test_without_any_forecast_there_is_none() -> None:
    assert Auto({"silent": Claiming(None)}).forecast([1.0]) is None


def test_it_has_no_memory_but_its_forecasts() -> None:
    auto = Auto({"poisson": Poisson(), "histogram": Histogram()})
    moments = calls_every(GAP_S, 30)
    alone = told(auto, moments)
    beside = told(auto, moments[:15])
    told(auto, [0.0, 1.0, 500.0])
    for n in range(15, len(moments)):
        forecast = auto.forecast(moments[: n + 1], beside[-1])
        assert isinstance(forecast, AutoForecast)
        beside.append(forecast)
    assert beside == alone


def test_a_regular_function_is_best_forecast_by_what_was_seen() -> None:
    auto = Auto({"poisson": Poisson(), "histogram": Histogram()})
    said = told(auto, calls_every(300.0, 40))
    assert {forecast.chosen for forecast in said[10:]} == {"histogram"}


def test_a_function_whose_rate_changes_is_best_forecast_by_the_last_few_calls() -> None:
    random.seed(4)
    gaps_s = [random.expovariate(rate) for rate in (1 / 2, 1 / 600, 1 / 2, 1 / 600) for _ in range(25)]
    auto = Auto({"histogram": Histogram(), "poisson": Poisson()})
    said = told(auto, list(accumulate(gaps_s, initial=0.0)))
    assert said[-1].chosen == "poisson"


def test_an_unknown_member_is_the_configurations_mistake() -> None:
    with pytest.raises(BadInput, match="no policy 'tarot' among the predictors"):
        policies(load_config(preload={"predictor": "auto", "members": "poisson,tarot"}))
