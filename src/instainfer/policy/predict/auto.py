"""Several predictors at once, each judged by what it said: the best so far is believed.

Algorithm. All members forecast every next call. When it comes, each is charged -ln P, with the probability that it
had given, at the call before, to the range of `ages` in which the gap has turned out to lie (the logarithmic score of
an outcome out of `RANGES`, hence a proper one: who says what it believes does best). Charges are averaged with
weights that fall by `FORGETTING` with every call, so that what counts is about the last twenty calls. The member with
the least mean charge speaks until the next call; of equals, the one that is named first. A member that has no
forecast yet is not judged, and cannot speak.

Worked example. Two members. The gap turns out to be 70 s, in the range from 64 to 76.1 s, to which the first had given
0.10 and the second 0.50: charges 2.30 and 0.69; the second speaks. The next gap had 0.20 and 0.01 at the two:
charges 1.61 and 4.61. The means are (0.95 x 2.30 + 1.61) / 1.95 = 1.95 and (0.95 x 0.69 + 4.61) / 1.95 = 2.70; now the
first one speaks.

Sources. Dawid, "Present position and potential developments: the prequential approach" (1984), for judging forecasts
by the sequence of their outcomes alone; Gneiting and Raftery, "Strictly Proper Scoring Rules" (2007); following the
leader with forgetting is a simple case of prediction with expert advice (Cesa-Bianchi and Lugosi, 2006).

Caveats. What is judged is the forecast at the moment of a call, not how it ages in silence, and what a good forecast
is worth depends on memory and neighbours, which no score knows. One charge is at most `WORST`, so that a member is not
condemned for one surprise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ...core.ports import Forecast, Predictor
from .ages import edges_around

FORGETTING: Final = 0.95
WORST: Final = 7.0


@dataclass(frozen=True, slots=True)
class Standing:
    """A member's charges so far."""

    charge: float = 0.0
    weight: float = 0.0

    @property
    def mean(self) -> float:
        return self.charge / self.weight if self.weight else math.inf

    def with_charge(self, charge: float) -> Standing:
        return Standing(FORGETTING * self.charge + charge, FORGETTING * self.weight + 1.0)


@dataclass(frozen=True, slots=True)
class AutoForecast:
    chosen: str
    """Name of the member that speaks."""
    best: Forecast
    """What it says."""
    members: tuple[Forecast | None, ...]
    standings: tuple[Standing, ...]

    def rate(self, at: float) -> float:
        return self.best.rate(at)

    def probability(self, at: float, within_s: float) -> float:
        return self.best.probability(at, within_s)

    def due_at(self, probability: float) -> float:
        return self.best.due_at(probability)


class Auto:
    """`members`: predictors by name, at least one; of equals the first is believed."""

    def __init__(self, members: Mapping[str, Predictor]) -> None:
        self.names = tuple(members)
        self.members = tuple(members.values())

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        standings = (Standing(),) * len(self.members)
        said: tuple[Forecast | None, ...] = (None,) * len(self.members)
        if isinstance(before, AutoForecast) and len(arrivals) > 1:
            said = before.members
            standings = _judged(before, arrivals[-2], arrivals[-1] - arrivals[-2])
        forecasts = tuple(m.forecast(arrivals, was) for m, was in zip(self.members, said, strict=True))
        able = [(standings[n].mean, n, forecast) for n, forecast in enumerate(forecasts) if forecast is not None]
        if not able:
            return None
        _, chosen, best = min(able, key=lambda each: each[:2])
        return AutoForecast(self.names[chosen], best, forecasts, standings)


def _judged(before: AutoForecast, last_at: float, gap_s: float) -> tuple[Standing, ...]:
    """The standings, once the call has come that was forecast at `last_at`."""
    low_s, high_s = edges_around(gap_s)
    return tuple(
        standing if forecast is None else standing.with_charge(_charge(forecast, last_at, low_s, high_s))
        for forecast, standing in zip(before.members, before.standings, strict=True)
    )


def _charge(forecast: Forecast, last_at: float, low_s: float, high_s: float) -> float:
    until = 1.0 if high_s == math.inf else forecast.probability(last_at, high_s)
    probability = until - forecast.probability(last_at, low_s)
    return -math.log(max(probability, math.exp(-WORST)))
