"""Predicts the next gap between two calls by an ARIMA model of the gaps' logarithms.

Algorithm. The logarithm of the next gap is a linear function of the logarithms of the last gaps and of the last errors,
plus a new error: ARIMA(p, d, q) with p, d and q at most 1. The library that fits the model
(`instainfer.forecasting.arima`) chooses d = 1 when the differences vary less than the values themselves. Of the
remaining orders it chooses the one with the least corrected Akaike information criterion. `fitted` describes how the
predicted value becomes a distribution of the next call.

Worked example. The gaps alternate: 60, 30, 60, 30, ... s, within a few per cent. The model finds p = 1 with a
coefficient close to -1. After a gap of 30 s the next call is expected 60 s later. P(call within 42 s) is a few per
cent, while a histogram would say one half.

Sources. Box and Jenkins, "Time Series Analysis". ARIMA is one of the predictors in Table 4 of the paper (SoCC 2024),
which does not say how it maps the model to P_load and P_offload. "Serverless in the Wild" (ATC 2020) uses ARIMA for
applications with rare calls, on the idle times themselves. We take logarithms, because gaps are positive and span six
orders of magnitude, and an error of 15 % should mean the same for a second and for an hour.

Caveats. It needs the extra ``forecast``. A fit takes about 50 ms in the event loop of its node (`fitted` says how often
that happens). So it is meant for simulations, for rarely called functions, and as a member of `auto`. It sees at most
63 gaps, too few to find a daily rhythm.
"""

from __future__ import annotations

from .fitted import Fitted


class Arima(Fitted):
    """`fit` comes from `instainfer.forecasting.arima`. `horizon_s` is how far ahead the forecast's rate looks."""
