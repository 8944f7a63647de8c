"""Gaps as a linear process: ARIMA on their logarithms.

Algorithm. The logarithm of the next gap is a linear function of the last gaps' and of the last errors, plus an error:
ARIMA(p, d, q) with p, q <= 1 and d <= 1. The library behind the fit (`instainfer.forecasting.arima`) takes d = 1 when
differences vary less than the values themselves, and of the orders that remain the one with the least corrected
Akaike criterion. How the forecast of a value becomes a distribution of the next call stands in `fitted`.

Worked example. Gaps have been halving and doubling, 60, 30, 60, 30, ... s, within a few per cent. The model finds
p = 1 with a coefficient close to -1. After a gap of 30 s the next call is expected 60 s later; P(call within 42 s),
which a histogram would put at one half, is a few per cent.

Sources. Box and Jenkins, "Time Series Analysis". ARIMA is a predictor of Table 4 of the paper (SoCC 2024), which does
not say how it maps it to P_load and P_offload, and the forecast of "Serverless in the Wild" (ATC 2020) for
applications with rare calls; there it is given idle times as they are. We take logarithms: gaps are positive, span
six orders of magnitude, and an error of 15 % means the same at a second and at an hour.

Caveats. Needs the extra ``forecast``. A fit takes some 50 ms (see `fitted` for how rarely) in the event loop of its
node: meant for simulation, for rarely called functions, and as a member of `auto`. At most 63 gaps are seen, so that
a daily rhythm is not.
"""

from __future__ import annotations

from .fitted import Fitted


class Arima(Fitted):
    """`fit`: `instainfer.forecasting.arima.fitter`; `horizon_s`: how far ahead the forecast's rate looks."""
