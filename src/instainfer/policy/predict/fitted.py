"""A forecast of the next gap by a model that a library fits: what `arima` and `forest` have in common.

The series is that of the logarithms of the gaps between calls. A model says what comes next in it and which errors it
has made on the series that it was fitted to; the next gap is thought to be as far from what it says as it was off
then. These possible gaps, one for each error, fill the table of `ages`. Before `LEAST_GAPS` gaps have been seen, the
gaps themselves do, as with the predictor `histogram`.

Fitting takes tens of milliseconds, and no call waits for its forecast less than for its answer: a model is fitted
anew only when `REFIT_CALLS` calls have come and `REFIT_S` seconds have gone by since, and is applied to the latest
gaps in between, which takes microseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

from ...core.ports import Forecast
from ...core.values import value
from . import ages

LEAST_GAPS: Final = 16
REFIT_CALLS: Final = 32
REFIT_S: Final = 600.0


class Model(Protocol):
    """What has been fitted to a series."""

    @property
    def errors(self) -> Sequence[float]:
        """What came less what the model would have said, for values of the series; at least one."""
        ...

    def next(self, series: Sequence[float]) -> float:
        """The value expected after this series: the one that was fitted, or what it has become."""
        ...


#: Fits a model to a series of `LEAST_GAPS` values or more, oldest first.
Fit: TypeAlias = Callable[[Sequence[float]], Model]


@value(frozen=True, slots=True)
class FittedForecast(ages.AgeForecast):
    model: Model
    fitted_at: float
    calls: int
    """Calls since the model was fitted."""


class Fitted:
    """`horizon_s`: how far ahead the forecast's rate looks."""

    def __init__(self, fit: Fit, horizon_s: float = 60.0) -> None:
        self.fit = fit
        self.horizon_s = horizon_s

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        if not arrivals:
            return None
        last_at, gaps_s = arrivals[-1], ages.gaps_of(arrivals)
        if len(gaps_s) < LEAST_GAPS:
            return ages.from_gaps(last_at, self.horizon_s, gaps_s)
        series = ages.logs_of(gaps_s)
        if isinstance(before, FittedForecast) and not _is_old(before, last_at):
            model, fitted_at, calls = before.model, before.fitted_at, before.calls + 1
        else:
            model, fitted_at, calls = self.fit(series), last_at, 0
        expected = model.next(series)
        table = ages.from_logs(last_at, self.horizon_s, [expected + error for error in model.errors])
        return FittedForecast(last_at, self.horizon_s, table.gaps, table.within, model, fitted_at, calls)


def _is_old(forecast: FittedForecast, at: float) -> bool:
    return forecast.calls + 1 >= REFIT_CALLS and at - forecast.fitted_at >= REFIT_S
