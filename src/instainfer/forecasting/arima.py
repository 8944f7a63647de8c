"""ARIMA models, fitted by statsmodels. Our own recursion applies them: it takes microseconds, where the library's state
space takes milliseconds.

Let y be the values after d-fold differencing, m their mean (0 if d = 1) and z = y - m. Then

    error[t] = z[t] - ar z[t - 1] - ma error[t - 1]        next value = m + ar z[t] + ma error[t]    (+ value[t])

where ``+ value[t]`` applies if d = 1. The recursion begins with the first value, whose error is taken as 0 (conditional
sum of squares). Except for the first few values it gives the one-step forecasts of the exact likelihood.

The order is chosen as follows: d is 1 if the differences vary less than the values, because too much differencing makes
a series vary more. p and q have the smallest corrected Akaike criterion. The forecast of a constant series is its mean.
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

#: The candidates for (p, q).
ORDERS: Final = ((0, 0), (1, 0), (0, 1), (1, 1))
_FLAT: Final = 1e-12
"""A series with a smaller variance is taken as constant."""
_LEAST: Final = 1e-3
"""Smaller values are raised to this before their logarithm is taken."""
_FARTHEST: Final = math.log(2.0)
"""A forecast is at most twice the largest value seen; this is the logarithm of 2."""


@dataclass(frozen=True, slots=True)
class ArimaModel:
    """`ar` and `ma` are coefficients; `mean` is the mean of the values, or 0 if they are differenced."""

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
        """Return the model with its errors on a series, except for the first value, which has no predecessor."""
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
    """Return a function that fits a series. Raises `HostError` when statsmodels is not installed."""
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
    """Return a function that forecasts the next of positive values from their logarithms. Raises as `fitter` does."""
    fit = fitter()

    def forecast(values: Sequence[float]) -> float:
        logs = [math.log(max(value, _LEAST)) for value in values]
        return math.exp(min(fit(logs).next(logs), max(logs) + _FARTHEST))

    return forecast


def _estimate(arima: Any, values: Sequence[float], differenced: bool, p: int, q: int) -> tuple[float, ArimaModel]:
    """Return the corrected Akaike criterion and the model."""
    with warnings.catch_warnings():
        # The warnings are about start values and early ends of the search; the criterion judges the result anyway.
        warnings.simplefilter("ignore")
        result = arima(values, order=(p, 0, q), trend="n" if differenced else "c").fit()
    parameters = dict(zip(result.param_names, map(float, result.params), strict=True))
    mean, ar, ma = (parameters.get(name, 0.0) for name in ("const", "ar.L1", "ma.L1"))
    return float(result.aicc), ArimaModel(differenced, mean, ar, ma)


def _differences(series: Sequence[float]) -> list[float]:
    return [b - a for a, b in pairwise(series)]
