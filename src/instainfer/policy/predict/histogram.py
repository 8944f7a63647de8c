"""What has been seen: the gaps between the remembered calls, conditioned on the silence so far.

Algorithm. Every gap between two consecutive remembered calls (64 calls by default) counts once in the table of
`ages`; one more gap's weight is spread over all ranges for what has not been seen. The next call is as far from the
last one as one of those gaps; those that are shorter than the silence so far no longer count.

Worked example. Four calls, 300 s apart: three gaps in the range from 256 to 304.4 s, before which there are 49 ranges
of the 82. P(call within 256 s) = (49 / 82) / 4 = 0.149, P(call within 304.4 s) = (3 + 50 / 82) / 4 = 0.902. When
256 s have passed in silence, a call comes within the next 48.4 s with probability
1 - (1 - 0.902) / (1 - 0.149) = 0.885.

Sources. Table 4 of the paper (SoCC 2024) has a histogram among its predictors and does not say how it turns it into
P_load and P_offload. The one of "Serverless in the Wild" (ATC 2020) has bins of one minute over four hours, for
keeping containers; loading a model takes seconds and functions are called many times a minute, hence ranges that
grow with the gap. The weight of the unseen is Dirichlet's prior with a concentration of one.

Caveats. Order is not looked at: a long gap that always follows a short one is as likely as any other. A function
whose habits change is followed only as fast as its calls are forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...core.ports import Forecast
from ...core.values import value
from . import ages

_BYTE: Final = tuple(bytes((n,)) for n in range(ages.RANGES))


@value(frozen=True, slots=True)
class HistogramForecast(ages.AgeForecast):
    in_turn: bytes
    """The ranges of the gaps, oldest first."""


class Histogram:
    """`horizon_s`: how far ahead the forecast's rate looks."""

    def __init__(self, horizon_s: float = 60.0) -> None:
        self.horizon_s = horizon_s

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        if not arrivals:
            return None
        last_at, gaps = arrivals[-1], min(len(arrivals) - 1, ages.MOST_GAPS)
        if isinstance(before, HistogramForecast) and gaps and before.last_at == arrivals[-2]:
            new, within, in_turn = ages.range_of(last_at - before.last_at), before.within, before.in_turn
            if before.gaps == gaps - 1:
                return self._forecast(last_at, ages.with_gap(within, new), in_turn + _BYTE[new])
            if before.gaps == gaps:
                within = ages.in_place_of(within, in_turn[0], new)
                return self._forecast(last_at, within, in_turn[1:] + _BYTE[new])
        in_turn = bytes(map(ages.range_of, ages.gaps_of(arrivals)[-ages.MOST_GAPS :]))
        return self._forecast(last_at, ages.from_ranges(in_turn), in_turn)

    def _forecast(self, last_at: float, within: bytes, in_turn: bytes) -> HistogramForecast:
        return HistogramForecast(last_at, self.horizon_s, len(in_turn), within, in_turn)
