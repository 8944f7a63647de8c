"""Predicts calls as a Poisson process: the predictor of the paper (SoCC 2024, section 4.1).

Algorithm. From the last W calls, lambda = W / (time between the first and the last of them). A call comes within t
seconds of the last one with probability 1 - exp(-lambda t). So it has come with probability p after
t = -ln(1 - p) / lambda.

Worked example. There are five calls at 0, 30, 60, 90 and 120 s: lambda = 5 / 120 s, or 2.5 a minute. With P_load = 0.06
the function is to be pre-loaded 1.5 s after the last call, and with P_offload = 0.94 it is given up 67.5 s after it.

There are two additions to the paper:

- When no call comes, the rate falls: at any later time `now` lambda = W / (now - first).
- A single call has no window, so it counts as one call per `LONE_GAP_S`. A window shorter than `SHORTEST_WINDOW_S` (a
  burst at one moment) counts as that long, so that lambda is never infinite.

W calls have only W - 1 gaps between them, but the paper divides W by their length. We do the same, which means that
functions are loaded a little too early rather than too late. With `by_gaps` it is W - 1. This is needed where the rates
of different predictors are compared: with W = 5, this predictor's rates would be 1.25 times too high, and its functions
would take memory from the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from ...core.ports import Forecast
from ...core.values import value

LONE_GAP_S = 60.0
SHORTEST_WINDOW_S = 0.5


@value(frozen=True, slots=True)
class PoissonForecast:
    """The forecast from one window of calls."""

    count: int
    """Number of calls that are counted in the window."""
    first_at: float
    last_at: float
    window_s: float
    """Time between the first and the last call."""

    def rate(self, at: float) -> float:
        age_s = at - self.first_at
        return self.count / (age_s if age_s > self.window_s else self.window_s)

    def probability(self, at: float, within_s: float) -> float:
        # This is `rate` written out, because `auto` asks for a probability on every call.
        age_s = at - self.first_at
        return -math.expm1(-self.count / (age_s if age_s > self.window_s else self.window_s) * within_s)

    def due_at(self, probability: float) -> float:
        return self.last_at - math.log1p(-probability) * self.window_s / self.count


class Poisson:
    """`window` is W. `by_gaps` counts the gaps instead of the calls."""

    def __init__(self, window: int = 5, *, by_gaps: bool = False) -> None:
        self.window = window
        self.by_gaps = by_gaps

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        if not arrivals:
            return None
        count = min(len(arrivals), self.window)
        first_at, last_at = arrivals[-count], arrivals[-1]
        window_s = LONE_GAP_S if count == 1 else max(last_at - first_at, SHORTEST_WINDOW_S)
        calls = count - 1 if self.by_gaps and count > 1 else count
        return PoissonForecast(calls, first_at, last_at, window_s)
