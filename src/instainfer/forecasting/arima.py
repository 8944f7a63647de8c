"""ARIMA, fitted by statsmodels; applied by a recursion of our own, which takes microseconds where the library's
state space takes milliseconds.

With y the values after d-fold differencing, m their mean (0 where d = 1) and z = y - m:

    error[t] = z[t] - ar z[t - 1] - ma error[t - 1]        next value = m + ar z[t] + ma error[t]    (+ value[t])

from the first value on, whose error is taken as 0 (conditional sum of squares). That is the likelihood's own one-step
forecast but for the first few values.

Which order: d = 1 when differences vary less than values (differencing too much makes a series vary more); p and q
by the least corrected Akaike criterion. A series that does not vary is its own mean.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean, pvariance
from typing import Any, Final

from . import missing

#: (p, q).
ORDERS: Final = ((0, 0), (1, 0), (0, 1), (1, 1))
_FLAT: Final = 1e-12
"""Variance below which a series does not vary."""
_LEAST: Final = 1e-3
"""Stands for all smaller values where a logarithm is wanted."""
_FARTHEST: Final = math.log(2.0)
"""A forecast is at most twice the largest value seen."""


@dataclass(frozen=True, slots=True)
class ArimaModel:
    """`ar`, `ma`: coefficients; `mean`: of the values, or 0 of their differences."""

    differenced: bool
    mean: float
    ar: float
    ma: float
    errors: tuple[float, ...] = ()

    def next(self, series: Sequence[float]) -> float:
        z, error = self._run(series)[-1]
        expected = self.mean + self.ar * z + self.ma * error
        return series[-1] + expected if self.differenced else expected

    def fitted(self, series: Sequence[float]) -> ArimaModel:
        """The same with its errors on a series, but for the first value's, before which nothing was known."""
        errors = tuple(error for _, error in self._run(series)[1:])
        return ArimaModel(self.differenced, self.mean, self.ar, self.ma, errors)

    def _run(self, series: Sequence[float]) -> list[tuple[float, float]]:
        values = _differences(series) if self.differenced else series
        z, error = values[0] - self.mean, 0.0
        run = [(z, error)]
        for value in values[1:]:
            last = z
            z = value - self.mean
            error = z - self.ar * last - self.ma * error
            run.append((z, error))
        return run


def fitter() -> Callable[[Sequence[float]], ArimaModel]:
    """What fits. Raises `HostError` when statsmodels is not installed."""
    try:
        from statsmodels.tsa.arima.model import ARIMA
    except ModuleNotFoundError as error:
        raise missing("arima", "statsmodels") from error

    def fit(series: Sequence[float]) -> ArimaModel:
        differences = _differences(series)
        differenced = pvariance(differences) < pvariance(series)
        values = differences if differenced else list(series)
        mean = 0.0 if differenced else fmean(values)
        model = ArimaModel(differenced, mean, 0.0, 0.0)
        if pvariance(values) > _FLAT:
            model = min((_estimate(ARIMA, values, differenced, *order) for order in ORDERS), key=lambda e: e[0])[1]
        return model.fitted(series)

    return fit


def forecaster() -> Callable[[Sequence[float]], float]:
    """What forecasts the next of a series of positive values, by their logarithms. Raises as `fitter` does."""
    fit = fitter()

    def forecast(values: Sequence[float]) -> float:
        logs = [math.log(max(value, _LEAST)) for value in values]
        return math.exp(min(fit(logs).next(logs), max(logs) + _FARTHEST))

    return forecast


def _estimate(arima: Any, values: Sequence[float], differenced: bool, p: int, q: int) -> tuple[float, ArimaModel]:
    """Corrected Akaike criterion and model."""
    with warnings.catch_warnings():
        # About starting values and early ends of the search: the criterion judges what comes out.
        warnings.simplefilter("ignore")
        result = arima(values, order=(p, 0, q), trend="n" if differenced else "c").fit()
    parameters = dict(zip(result.param_names, map(float, result.params), strict=True))
    mean, ar, ma = (parameters.get(name, 0.0) for name in ("const", "ar.L1", "ma.L1"))
    return float(result.aicc), ArimaModel(differenced, mean, ar, ma)


def _differences(series: Sequence[float]) -> list[float]:
    return [b - a for a, b in pairwise(series)]
