"""Predicts the next gap between two calls by a model that a library fits: the common part of `arima` and `forest`.

The model is fitted to the series of the logarithms of the gaps. It predicts the next value, and it tells which errors
it made on the series that it was fitted to. The prediction plus one of these errors is a possible next gap. All these
possible gaps, one for each error, fill the table of `ages`. Until `LEAST_GAPS` gaps have been seen, the gaps themselves
fill the table, as in the predictor `histogram`.

A fit takes tens of milliseconds, and calls have to wait for it. So a model is fitted again only after at least
`REFIT_CALLS` calls and `REFIT_S` seconds. In between, the old model is applied to the latest gaps, which takes
microseconds.
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
    """A model that was fitted to a series."""

    @property
    def errors(self) -> Sequence[float]:
        """The actual minus the predicted values of the series. At least one."""
        ...

    def next(self, series: Sequence[float]) -> float:
        """The value expected after `series`: the series that the model was fitted to, or a later state of it."""
        ...


#: Fits a model to a series of at least `LEAST_GAPS` values, oldest first.
Fit: TypeAlias = Callable[[Sequence[float]], Model]


@value(frozen=True, slots=True)
class FittedForecast(ages.AgeForecast):
    """A forecast, together with the model that it was made by."""

    model: Model
    fitted_at: float
    calls: int
    """Calls since the model was fitted."""


class Fitted:
    """`fit` fits the models. `horizon_s` is how far ahead the forecast's rate looks."""

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
