"""Several predictors at once, each judged by what it says as time goes by: the best so far is believed.

Algorithm. All members forecast every next call. The silence is looked at when it is 0 s old, when it is as old as the
horizon H, and from then on whenever it has become longer by half an octave (the square root of two). Each time a
member says how probable a call is before the next look, given that none has come. When the call is there, the member
is charged -ln P, where P is the product of what it had said for what came true: for none before each look, and for one
after the last. That is the logarithmic score, a proper one: who says what it believes does best. Calls within H are
all alike to it, since what is called so soon is still resident. Charges are averaged with weights that fall by
`FORGETTING` with every call, so that what counts is about the last hundred. The member with the least mean charge
speaks until the next call; of equals, the one that is named first. A member that has no forecast yet is not judged,
and cannot speak.

Worked example. H = 60 s, two members. The gap is 70 s, between the looks at 60 and 84.9 s. The first had said 0.5 for a
call within 60 s and then 0.2: P = 0.5 x 0.2, charge 2.30. The second had said 0.375 and 0.8: P = 0.625 x 0.8, charge
0.69; it speaks. The next gap is like that too; they had said 0.5 and 0.4, and 0.8 and 0.05: charges 1.61 and 4.61. The
means are (0.99 x 2.30 + 1.61) / 1.99 = 1.95 and (0.99 x 0.69 + 4.61) / 1.99 = 2.66; now the first one speaks.

Whoever speaks, rates of different functions are compared with each other, so members must mean the same by a rate: the
Poisson process among them counts gaps (`poisson`), without the paper's surplus of one call.

Sources. Dawid, "Present position and potential developments: the prequential approach" (1984), for judging forecasts
by the sequence of their outcomes alone; Gneiting and Raftery, "Strictly Proper Scoring Rules" (2007); following the
leader with forgetting is a simple case of prediction with expert advice (Cesa-Bianchi and Lugosi, 2006).

Caveats. What a good forecast is worth depends on memory and neighbours, which no score knows. A function that is
called in bursts has few long silences to judge by: the first of them cost what the wrong member costs. One charge is
at most `WORST`, so that a member is not condemned for one surprise.
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
"""After the first one; the last is 1,024 horizons after the call."""
_WORST_PROBABILITY: Final = math.exp(-WORST)


@value(frozen=True, slots=True)
class Standing:
    """A member's charges so far."""

    charge: float = 0.0
    weight: float = 0.0
    mean: float = math.inf
    """`charge` / `weight`; kept, since it is asked for more often than it changes."""

    def with_charge(self, charge: float) -> Standing:
        charge, weight = FORGETTING * self.charge + charge, FORGETTING * self.weight + 1.0
        return Standing(charge, weight, charge / weight)


@value(frozen=True, slots=True)
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
    """`members`: predictors by name, at least one; `horizon_s`: sooner calls are all alike."""

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
        """The standings, once the call has come that was forecast at `last_at`."""
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
        """Product of what it said for what came true after the first look."""
        true, age_s = 1.0, self.looks_s[0]
        for look_s in self.looks_s[1:]:
            called = forecast.probability(last_at + age_s, look_s - age_s)
            if gap_s < look_s:
                return true * called
            true *= 1.0 - called
            age_s = look_s
        return true
