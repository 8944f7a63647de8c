"""The hybrid histogram of "Serverless in the Wild": a container is there when its function is usually called again.

Algorithm. For each function the idle times (from the end of a run to the next call) are counted in bins of one minute
over four hours; longer ones are out of bounds. When a run ends:

1. With fewer than `LEAST_TIMES` idle times, the container is kept for the range: four hours.
2. Else if most idle times were out of bounds, the next one is forecast. The container goes, comes back after 0.85 of
   the forecast and is kept until 1.15 of it (a margin of 15 % on each side).
3. Else if the histogram says little (the coefficient of variation of its bins' counts is below 2), as in 1.
4. Else the container goes and comes back after 0.9 of the head (the 5th percentile, rounded down to a bin's begin), and
   is kept until 1.1 of the tail (the 99th percentile, rounded up to a bin's end). If the head is 0 it does not go.

Worked example. Twenty idle times of 5.5 minutes: all in the bin from 5 to 6 minutes. The mean count is 20 / 240; the
counts' coefficient of variation is 15.5. A run ends at 12:00:00: the container is stopped, there again at 12:04:30
(0.9 x 5 min) and stopped at 12:06:36 (1.1 x 6 min) unless a call comes.
Five idle times of 10 hours: the container is there again after 8.5 hours and stopped after 11.5.

Sources. Shahrad et al., "Serverless in the Wild", ATC 2020, section 4. Public implementations that we compared:
osukhoroslov/dslab (``hybrid_histogram.rs``), IntelliSys-Lab/RainbowCake-ASPLOS24 (``Histogram.scala``),
aFuerst/faascache-sim, IntelliSys-Lab/Reproducing-paper-Serverless-in-the-Wild. They disagree, and we chose:

- "Most" out of bounds is more than half of them (dslab; others 0.8), as the word says.
- The keep-alive window ends with the tail: it is tail x 1.1 - head x 0.9 long (RainbowCake), not tail x 1.1 from the
  moment the container is back (dslab, faascache-sim). The paper's own window for forecasts, 0.30 of an idle time after
  0.85 of it, is of the first kind, and the second one keeps a container for a head's length after its last chance.
- Four idle times at least, before which there is no telling (one implementation says "more than three").
- The coefficient of variation is that of all 240 counts (not a sample's), kept by their sum of squares.

The unit is a function here (an application there). Calls overlap: an idle time is counted from the latest end of a run
at which it began, once. The forecast is an ARIMA there; here it is what the catalog hands in, if at least
`LEAST_FORECAST` idle times are known, and else the median of those out of bounds.
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

#: From idle times in seconds, oldest first, the next one.
ForecastIdle: TypeAlias = Callable[[Sequence[float]], float]


@dataclass(slots=True)
class _IdleTimes:
    """What is known of one function's idle times."""

    counts: list[int]
    latest: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    total: int = 0
    out_of_bounds: int = 0
    squares: int = 0
    """Sum of the squares of the counts."""
    ended_at: float | None = None
    """When its latest run ended."""
    called_since: bool = False
    window_s: tuple[float, float] | None = None
    """From when until when, after the end of a run, a container is to be there; None when that has to be found anew."""


class HybridHistogram:
    """`bin_s`, `range_s`: of the histogram, in seconds; `head`, `tail`: percentiles, as shares."""

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
        """From when until when after the end of a run a container is to be there, in seconds."""
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
        """Coefficient of variation of the bins' counts: their standard deviation over their mean."""
        return math.sqrt(max(0.0, self._bins * squares / counted**2 - 1.0))

    def _forecast(self, times: _IdleTimes) -> float:
        if self.forecast is not None and len(times.latest) >= LEAST_FORECAST:
            return max(0.0, self.forecast(times.latest))
        # Some of those that were counted may have been forgotten.
        return median([idle_s for idle_s in times.latest if idle_s >= self.range_s] or times.latest)
