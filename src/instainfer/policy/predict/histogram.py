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

from ...core.ports import Forecast
from ...core.values import value
from . import ages


@value(frozen=True, slots=True)
class HistogramForecast(ages.AgeForecast):
    ranges: bytes
    """Of the gaps, oldest first."""


class Histogram:
    """`horizon_s`: how far ahead the forecast's rate looks."""

    def __init__(self, horizon_s: float = 60.0) -> None:
        self.horizon_s = horizon_s

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        if not arrivals:
            return None
        last_at, gaps = arrivals[-1], len(arrivals) - 1
        if isinstance(before, HistogramForecast) and gaps and before.last_at == arrivals[-2]:
            known = len(before.ranges)
            if known == gaps - 1:
                return self._with_gap(before, last_at, forget=False)
            if known == gaps:
                return self._with_gap(before, last_at, forget=True)
        ranges = bytes(map(ages.range_of, ages.gaps_of(arrivals)))
        return HistogramForecast(last_at, self.horizon_s, gaps + 1.0, ages.from_ranges(ranges), ranges)

    def _with_gap(self, before: HistogramForecast, last_at: float, *, forget: bool) -> HistogramForecast:
        """The table with one gap more, and without the oldest if that is remembered no longer: few numbers change."""
        new, ranges = ages.range_of(last_at - before.last_at), before.ranges
        within, weight = list(before.within), before.weight
        if not forget:
            weight += 1.0
            first, end, change = new, len(within), 1.0
        else:
            oldest, ranges = ranges[0], ranges[1:]
            first, end, change = (new, oldest, 1.0) if new < oldest else (oldest, new, -1.0)
        within[first:end] = [each + change for each in within[first:end]]
        return HistogramForecast(last_at, self.horizon_s, weight, within, ranges + bytes((new,)))
