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
"""Between the looks at 60 and at 84.9 s."""


@dataclass(frozen=True)
class Claim:
    """What it says at the looks at 0 and at 60 s; nobody may ask about other moments."""

    early: float
    late: float
    last_at: float

    def rate(self, at: float) -> float:
        return self.late

    def probability(self, at: float, within_s: float) -> float:
        return {(0.0, 60.0): self.early, (60.0, 24.85): self.late}[round(at - self.last_at, 6), round(within_s, 2)]

    def due_at(self, probability: float) -> float:
        return self.last_at + probability


class Claiming:
    """Says these, one after the other: for the looks at 0 and at 60 s, or for the one at 60 s; None: no forecast."""

    def __init__(self, *claims: tuple[float, float] | float | None) -> None:
        self.claims = [(0.0, claim) if isinstance(claim, float) else claim for claim in claims]

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        claim = self.claims[len(arrivals) - 1]
        return None if claim is None else Claim(*claim, arrivals[-1])


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
    first, second = Claiming((0.5, 0.2), (0.5, 0.4), 0.5), Claiming((0.375, 0.8), (0.8, 0.05), 0.5)
    beginning, after_one, after_two = told(Auto({"first": first, "second": second}), calls_every(GAP_S, 3))
    assert beginning.chosen == "first"
    assert [s.mean for s in after_one.standings] == [pytest.approx(2.303, abs=1e-3), pytest.approx(0.693, abs=1e-3)]
    assert after_one.chosen == "second"
    assert [s.mean for s in after_two.standings] == [pytest.approx(1.954, abs=1e-3), pytest.approx(2.659, abs=1e-3)]
    assert after_two.chosen == "first"


def test_the_chosen_one_speaks() -> None:
    auto = Auto({"first": Claiming(0.1, 0.3), "second": Claiming(0.5, (0.6, 0.7))})
    forecast = told(auto, calls_every(GAP_S, 2))[-1]
    assert (forecast.rate(GAP_S), forecast.due_at(0.25)) == (0.7, GAP_S + 0.25)
    assert forecast.probability(GAP_S, 60.0) == 0.6


def test_calls_within_the_horizon_are_all_alike() -> None:
    for gap_s in (0.0, 1.0, 59.9):
        said = told(Auto({"only": Claiming((0.25, 0.9), 0.5)}), calls_every(gap_s, 2))
        assert said[-1].standings[0].charge == pytest.approx(-math.log(0.25))


def test_a_silence_longer_than_the_last_look_is_judged_up_to_that() -> None:
    auto = Auto({"poisson": Poisson(), "histogram": Histogram()})
    poisson, histogram = told(auto, [0.0, 1e7])[-1].standings
    assert 0.0 < histogram.charge < WORST
    assert poisson.charge == pytest.approx(WORST)


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


def test_its_poisson_counts_gaps_so_that_its_members_rates_can_be_compared() -> None:
    auto = policies(load_config(preload={"predictor": "auto", "members": "poisson"})).predictor
    alone = policies(load_config(preload={"predictor": "poisson"})).predictor
    moments = [30.0 * n for n in range(5)]
    (said, paper) = (predictor.forecast(moments) for predictor in (auto, alone))
    assert said is not None
    assert paper is not None
    assert said.rate(120.0) == pytest.approx(1 / 30.0)
    assert paper.rate(120.0) == pytest.approx(5 / 120.0)
    assert said.due_at(0.5) - 120.0 == pytest.approx(1.25 * (paper.due_at(0.5) - 120.0))
    lone = auto.forecast([7.0])
    assert lone is not None
    assert lone.rate(7.0) == pytest.approx(1 / 60.0)
