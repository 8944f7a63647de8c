"""Runs several predictors (its members) at once and uses, for each function, the one that was best so far.

Algorithm. All members forecast the next call. The time after a call is divided into periods: the first one ends after
the horizon H, and the end of each further one is sqrt(2) times as long after the call as the end before. For each
period, a member gives the probability of a call in it, given that none came before it. When the call has come, each
member is charged -ln P, where P is the product of the probabilities that it gave to what then happened: no call in each
period before, and a call in the last one. This is the logarithmic score. It is a proper score: a member does best if it
gives the probabilities that it believes. Calls within H are not told apart, since a function that is called so soon is
still resident. A member's mean charge weights each call `FORGETTING` times as much as the next one, so that about the
last hundred calls count. The member with the least mean charge is used until the next call; of equal ones, the one that
is named first. A member without a forecast is not charged and cannot be used.

Worked example. H = 60 s, and there are two members. The gap is 70 s, so it ends in the period from 60 to 84.9 s. The
first member gave 0.5 to a call within 60 s, and 0.2 to one in the period after: P = 0.5 x 0.2, charge 2.30. The second
one gave 0.375 and 0.8: P = 0.625 x 0.8, charge 0.69. So the second member is used. The next gap is 70 s, too. The first
member gave 0.5 and 0.4, the second one 0.8 and 0.05: charges 1.61 and 4.61. The means are now
(0.99 x 2.30 + 1.61) / 1.99 = 1.95 and (0.99 x 0.69 + 4.61) / 1.99 = 2.66. So the first member is used.

The rates of different functions are compared with each other, whichever member they come from. So all members have to
mean the same by a rate: `poisson` counts gaps as a member, without the paper's surplus of one call.

Sources. Dawid, "Present position and potential developments: the prequential approach" (1984), judges forecasts only
by what then happened. Gneiting and Raftery, "Strictly Proper Scoring Rules" (2007). Using the best member so far, with
forgetting, is a simple case of prediction with expert advice (Cesa-Bianchi and Lugosi, 2006).

Caveats. What a good forecast is worth depends on memory and on other functions, which a score does not know. A function
that is called in bursts has few long gaps to judge by, so the wrong member may be used for the first of them. One
charge is at most `WORST`, so that a member is not ruled out by one surprise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from ...core.ports import Forecast, Predictor
from ...core.values import value

FORGETTING: Final = 0.99
WORST: Final = 7.0
LOOKS: Final = 21
"""Number of period ends; the last one is 1,024 horizons after the call."""
_WORST_PROBABILITY: Final = math.exp(-WORST)


@value(frozen=True, slots=True)
class Standing:
    """The charges of one member so far."""

    charge: float = 0.0
    """Weighted sum of the charges."""
    weight: float = 0.0
    """Sum of the weights."""
    mean: float = math.inf
    """`charge` / `weight`. It is stored because it is read more often than it changes."""

    def with_charge(self, charge: float) -> Standing:
        charge, weight = FORGETTING * self.charge + charge, FORGETTING * self.weight + 1.0
        return Standing(charge, weight, charge / weight)


@value(frozen=True, slots=True)
class AutoForecast:
    chosen: str
    """Name of the member that is used."""
    best: Forecast
    """The forecast of that member."""
    members: tuple[Forecast | None, ...]
    standings: tuple[Standing, ...]

    def rate(self, at: float) -> float:
        return self.best.rate(at)

    def probability(self, at: float, within_s: float) -> float:
        return self.best.probability(at, within_s)

    def due_at(self, probability: float) -> float:
        return self.best.due_at(probability)


class Auto:
    """`members` are predictors by name, at least one. `horizon_s` is H."""

    def __init__(self, members: Mapping[str, Predictor], horizon_s: float = 60.0) -> None:
        self.names = tuple(members)
        self.members = tuple(members.values())
        self.looks_s = tuple(horizon_s * 2.0 ** (n / 2) for n in range(LOOKS))
        self._untried = (Standing(),) * len(self.members)
        self._silent: tuple[Forecast | None, ...] = (None,) * len(self.members)

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        standings = self._untried
        said: tuple[Forecast | None, ...] = self._silent
        if isinstance(before, AutoForecast) and len(arrivals) > 1:
            said = before.members
            standings = self._judged(before, arrivals[-2], arrivals[-1] - arrivals[-2])
        forecasts: list[Forecast | None] = []
        best: Forecast | None = None
        chosen, least = "", math.inf
        for name, member, last, standing in zip(self.names, self.members, said, standings, strict=True):
            forecast = member.forecast(arrivals, last)
            forecasts.append(forecast)
            if forecast is not None and (best is None or standing.mean < least):
                best, chosen, least = forecast, name, standing.mean
        return None if best is None else AutoForecast(chosen, best, tuple(forecasts), standings)

    def _judged(self, before: AutoForecast, last_at: float, gap_s: float) -> tuple[Standing, ...]:
        """The standings after a call came `gap_s` seconds after the one at `last_at`, for which `before` was made."""
        horizon_s = self.looks_s[0]
        judged: list[Standing] = []
        for forecast, standing in zip(before.members, before.standings, strict=True):
            if forecast is None:
                judged.append(standing)
                continue
            true = forecast.probability(last_at, horizon_s)
            if gap_s >= horizon_s:
                true = (1.0 - true) * self._later(forecast, last_at, gap_s)
            judged.append(standing.with_charge(-math.log(true) if true > _WORST_PROBABILITY else WORST))
        return tuple(judged)

    def _later(self, forecast: Forecast, last_at: float, gap_s: float) -> float:
        """Product of the probabilities that a member gave to what happened after the first period."""
        true, age_s = 1.0, self.looks_s[0]
        for look_s in self.looks_s[1:]:
            called = forecast.probability(last_at + age_s, look_s - age_s)
            if gap_s < look_s:
                return true * called
            true *= 1.0 - called
            age_s = look_s
        return true
