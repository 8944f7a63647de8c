"""Arrivals as a Poisson process: the predictor of the paper (SoCC 2024, section 4.1).

Algorithm. From the last W arrivals, lambda = W / (time between the first and the last of them). A call comes within
t of the last one with probability 1 - exp(-lambda t), hence by probability p after t = -ln(1 - p) / lambda.

Worked example. Five calls at 0, 30, 60, 90 and 120 s: lambda = 5 / 120 s = 2.5 a minute. With P_load = 0.06 the
function is worth pre-loading 1.5 s after the last call, and with P_offload = 0.94 it is given up 67.5 s after it.

Two additions to the paper, since a rate must follow what has not happened as well as what has:

- The rate falls as the silence grows: once the silence is longer than it should be, lambda = W / (now - first).
- A single arrival has no window: it counts as one call per `LONE_GAP_S`. A window shorter than `SHORTEST_WINDOW_S`
  (a burst in one instant) counts as that long, so that lambda is large and never infinite.

The paper's W points span W - 1 gaps and it still divides W by them; so do we (it errs to the safe side: earlier). With
`by_gaps` it is W - 1, as it should be where rates are compared with those of another predictor: 1.25 times too much for
the functions that this one speaks for would be room taken from the others.
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
    count: int
    """Calls in the window."""
    first_at: float
    last_at: float
    window_s: float

    def rate(self, at: float) -> float:
        age_s = at - self.first_at
        return self.count / (age_s if age_s > self.window_s else self.window_s)

    def probability(self, at: float, within_s: float) -> float:
        # `rate`, spelt out: every call is judged by this (`auto`).
        age_s = at - self.first_at
        return -math.expm1(-self.count / (age_s if age_s > self.window_s else self.window_s) * within_s)

    def due_at(self, probability: float) -> float:
        return self.last_at - math.log1p(-probability) * self.window_s / self.count


class Poisson:
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
