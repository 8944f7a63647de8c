"""Predicts the next gap between two calls from the distribution of the gaps that were seen.

Algorithm. Every gap between two consecutive remembered calls (64 calls by default) counts once in the table of
`ages`. The weight of one more gap is spread over all ranges, for gaps that were not seen. The next gap is distributed
like those in the table. Gaps that are shorter than the time since the last call no longer count.

Worked example. There are four calls, 300 s apart. So three gaps are in the range from 256 to 304.4 s, and 49 of the 82
ranges are before this one. P(call within 256 s) = (49 / 82) / 4 = 0.149, and
P(call within 304.4 s) = (3 + 50 / 82) / 4 = 0.902. When 256 s have passed without a call, the probability of a call
within the next 48.4 s is 1 - (1 - 0.902) / (1 - 0.149) = 0.885.

Sources. A histogram is one of the predictors in Table 4 of the paper (SoCC 2024), which does not say how it maps the
histogram to P_load and P_offload. The histogram of "Serverless in the Wild" (ATC 2020) has bins of one minute over four
hours, to decide about containers. But loading a model takes seconds, and functions are called many times a minute. So
the ranges here are short for short gaps and long for long ones. The weight of the unseen gaps is a Dirichlet prior with
a concentration of one.

Caveats. The order of the gaps is ignored: a long gap that always follows a short one is as likely after any gap. When
the behaviour of a function changes, the forecast follows only as fast as old calls are forgotten.
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
    """A forecast with the order of its gaps, so that the next forecast can drop the oldest one."""

    in_turn: bytes
    """The ranges of the gaps, one byte each, oldest first."""


class Histogram:
    """`horizon_s` is how far ahead the forecast's rate looks."""

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
