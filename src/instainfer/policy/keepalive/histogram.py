"""The hybrid histogram policy of "Serverless in the Wild": keep a container only when its function is usually called.

Algorithm. An idle time of a function is the time from the end of a run to the next call. The policy counts each
function's idle times in bins of one minute over a range of four hours. Longer idle times are out of bounds. When a run
ends, it applies the first rule that fits:

1. There are fewer than `LEAST_TIMES` idle times: keep the container for the whole range, four hours.
2. Most idle times were out of bounds: forecast the next one. Stop the container, create it again after 0.85 of the
   forecast, and keep it until 1.15 of the forecast (a margin of 15 % on each side).
3. The histogram is too flat (the coefficient of variation of its bins' counts is below 2): do the same as in 1.
4. Stop the container, create it again after 0.9 of the head, and keep it until 1.1 of the tail. The head is the 5th
   percentile, rounded down to the begin of its bin; the tail is the 99th percentile, rounded up to the end of its bin.
   If the head is 0, the container is not stopped.

Worked example. There are twenty idle times of 5.5 minutes, all in the bin from 5 to 6 minutes. The mean count of a bin
is 20 / 240, and the coefficient of variation of the counts is 15.5, so rule 4 applies. A run ends at 12:00:00. The
container is stopped, created again at 12:04:30 (0.9 x 5 min), and stopped at 12:06:36 (1.1 x 6 min) if no call comes.
With five idle times of 10 hours, rule 2 applies: the container is created again after 8.5 hours and stopped after 11.5.

Sources. Shahrad et al., "Serverless in the Wild", ATC 2020, section 4. Public implementations that we compared:
osukhoroslov/dslab (``hybrid_histogram.rs``), IntelliSys-Lab/RainbowCake-ASPLOS24 (``Histogram.scala``),
aFuerst/faascache-sim, IntelliSys-Lab/Reproducing-paper-Serverless-in-the-Wild. They differ. We chose:

- "Most" idle times are more than half of them (as in dslab; others use 0.8).
- The time for which a container is kept ends with the tail: it is tail x 1.1 - head x 0.9 long (RainbowCake), and not
  tail x 1.1 from the moment when the container is created again (dslab, faascache-sim). The paper's own window for
  forecasts, from 0.85 to 1.15 of the idle time, is of the first kind. The second kind keeps a container for as long as
  the head after the tail has passed.
- At least four idle times are needed (one implementation says "more than three").
- The coefficient of variation is that of all 240 counts as a population, not as a sample. It is computed from the sum
  of their squares.

The paper does this for an application, and we do it for a function. Calls can overlap: an idle time begins at the
latest end of a run, and only the first call after it counts. The paper forecasts by an ARIMA model. Here the catalog
provides the forecast; with fewer than `LEAST_FORECAST` idle times, or without a forecast, it is the median of the idle
times out of bounds.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from statistics import median
from typing import Final, TypeAlias

from ...core.model import FunctionKey
from ...core.ports import Idle, KeptContainer, Remembered, Use

LEAST_TIMES: Final = 4
LEAST_FORECAST: Final = 8
REPRESENTATIVE_CV: Final = 2.0
MOST: Final = 0.5
MARGIN: Final = 0.10
FORECAST_MARGIN: Final = 0.15
REMEMBERED: Final = 64
"""Number of idle times that are remembered one by one, for the forecast."""

#: Forecasts the next idle time from the idle times so far, oldest first, all in seconds.
ForecastIdle: TypeAlias = Callable[[Sequence[float]], float]


@dataclass(slots=True)
class _IdleTimes:
    """What is known of one function's idle times."""

    counts: list[int]
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    total: int = 0
    out_of_bounds: int = 0
    squares: int = 0
    """Sum of the squares of `counts`."""
    ended_at: float | None = None
    """When the latest run of the function ended."""
    called_since: bool = False
    window_s: tuple[float, float] | None = None
    """Begin and end of the time, in seconds after the end of a run, for which a container is kept. None when it has to
    be computed again."""


class HybridHistogram:
    """`bin_s` and `range_s` are the width of a bin and of the histogram in seconds. `head` and `tail` are percentiles
    between 0 and 1. `forecast` is for functions whose idle times are mostly out of bounds."""

    def __init__(
        self,
        *,
        bin_s: float = 60.0,
        range_s: float = 14_400.0,
        head: float = 0.05,
        tail: float = 0.99,
        forecast: ForecastIdle | None = None,
    ) -> None:
        self.bin_s = bin_s
        self.range_s = range_s
        self.head = head
        self.tail = tail
        self.forecast = forecast
        self._bins = math.ceil(range_s / bin_s)
        self._idle_times: dict[FunctionKey, _IdleTimes] = {}

    def spends(self, namespace: str) -> bool:
        return False

    def called(self, function: FunctionKey, at: float) -> None:
        times = self._idle_times.get(function)
        if times is None or times.ended_at is None or times.called_since:
            return
        times.called_since = True
        self._count(times, at - times.ended_at)

    def idle(self, use: Use) -> Idle:
        if use.owner is None:
            return Idle(use.at + self.range_s)
        times = self._idle_times.setdefault(use.owner, _IdleTimes([0] * self._bins))
        if use.after_call:
            times.ended_at, times.called_since = use.at, False
        begin_s, end_s = times.window_s or self._window(times)
        times.window_s = begin_s, end_s
        if use.after_call and begin_s > 0.0:
            return Idle(use.at, prewarm_at=use.at + begin_s)
        ended_at = use.at if times.ended_at is None else times.ended_at
        return Idle(max(use.at, ended_at + end_s))

    def evicted(self, container: KeptContainer) -> None:
        pass

    def ended(self, container: KeptContainer) -> None:
        pass

    def forget(self, function: FunctionKey) -> None:
        self._idle_times.pop(function, None)

    def remembered(self) -> Remembered:
        return Remembered(functions=self._idle_times.keys())

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle

    def _count(self, times: _IdleTimes, idle_s: float) -> None:
        times.latest.append(idle_s)
        times.total += 1
        times.window_s = None
        n = int(idle_s / self.bin_s)
        if idle_s >= self.range_s:
            times.out_of_bounds += 1
        else:
            times.squares += 2 * times.counts[n] + 1
            times.counts[n] += 1

    def _window(self, times: _IdleTimes) -> tuple[float, float]:
        """Begin and end of the time, in seconds after the end of a run, for which a container is kept."""
        if times.total < LEAST_TIMES:
            return 0.0, self.range_s
        if times.out_of_bounds > MOST * times.total:
            idle_s = self._forecast(times)
            return idle_s * (1 - FORECAST_MARGIN), idle_s * (1 + FORECAST_MARGIN)
        counted = times.total - times.out_of_bounds
        if self._variation(times.squares, counted) < REPRESENTATIVE_CV:
            return 0.0, self.range_s
        reached = list(accumulate(times.counts))
        head = bisect_left(reached, self.head * counted)
        tail = bisect_left(reached, self.tail * counted)
        return head * self.bin_s * (1 - MARGIN), (tail + 1) * self.bin_s * (1 + MARGIN)

    def _variation(self, squares: int, counted: int) -> float:
        """Coefficient of variation of the bins' counts: the standard deviation divided by the mean."""
        return math.sqrt(max(0.0, self._bins * squares / counted**2 - 1.0))

    def _forecast(self, times: _IdleTimes) -> float:
        if self.forecast is not None and len(times.latest) >= LEAST_FORECAST:
            return max(0.0, self.forecast(times.latest))
        # The idle times out of bounds may be so old that none of them is among the remembered ones.
        return median([idle_s for idle_s in times.latest if idle_s >= self.range_s] or times.latest)
