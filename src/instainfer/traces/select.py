"""Selects parts of traces: functions by number of calls and by class of arrivals, and windows of time.

The order of the steps is fixed, so that the options alone determine a selection. First the window is cut. Then
functions with too few or too many calls in it are dropped, then those of another class. From the rest `functions` are
drawn with ``random.Random(seed)``, or all are taken. Selected functions stay in the order of the trace.

The class depends on where calls lie within their minutes; the same seed places them (see `traces.placement`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..errors import BadInput
from .azure2019 import Trace
from .classes import ArrivalClass, classify
from .counts import Counts
from .workload import Arrival, Row, Workload


@dataclass(frozen=True, slots=True)
class Selection:
    """Which part of a trace is wanted."""

    first_minute: int = 0
    """First minute of the window, counted from 0 at the beginning of the trace."""
    minutes: int | None = None
    """Length of the window; None: to the end of the trace."""
    min_calls: int = 1
    max_calls: int | None = None
    kind: ArrivalClass | None = None
    functions: int | None = None
    """How many functions are drawn; None: all that fit."""
    seed: int = 1


@dataclass(slots=True)
class Gaps:
    """Number of calls of a function, and mean and variance of the gaps between them (by Welford's method)."""

    calls: int = 0
    last_s: float = 0.0
    _mean_s: float = 0.0
    _squares: float = 0.0

    def add(self, at_s: float) -> None:
        self.calls += 1
        if self.calls > 1:
            gap_s = at_s - self.last_s
            off_s = gap_s - self._mean_s
            self._mean_s += off_s / (self.calls - 1)
            self._squares += off_s * (gap_s - self._mean_s)
        self.last_s = at_s

    @property
    def cov(self) -> float | None:
        """The CoV as `traces.classes.cov` defines it."""
        if self.calls < 3 or self._mean_s == 0:
            return None
        return math.sqrt(self._squares / (self.calls - 1)) / self._mean_s


def gaps(workload: Workload, seed: int) -> list[Gaps]:
    """Return the gaps of each function, in one pass over the trace."""
    found = [Gaps() for _ in workload.functions]
    for arrival in workload.arrivals(seed):
        found[arrival.function].add(arrival.at_s)
    return found


def select(workload: Workload, wanted: Selection) -> Workload:
    """Return the selected part; a trace of counts per minute remains one.

    Raises `BadInput` when the window lies outside the trace, or when too few functions are left.
    """
    whole = _window(workload, wanted)
    most = math.inf if wanted.max_calls is None else wanted.max_calls
    left = [n for n, calls in enumerate(_calls(whole, wanted.seed)) if max(1, wanted.min_calls) <= calls <= most]
    if wanted.kind is not None:
        # Only now are calls given times: the busiest functions would cost the most time, and few of them are usually
        # left.
        candidates = _only(whole, left)
        kinds = [classify(each.cov) for each in gaps(candidates, wanted.seed)]
        left = [n for n, kind in zip(left, kinds, strict=True) if kind is wanted.kind]
    if wanted.functions is not None:
        if len(left) < wanted.functions:
            raise BadInput(f"{wanted.functions} functions are wanted, and {len(left)} are like that; ask for fewer")
        left = sorted(random.Random(wanted.seed).sample(left, wanted.functions))
    if not left:
        raise BadInput(f"no function of {workload.source} is like that; ask for less")
    return _only(whole, left)


class Part:
    """Some functions of a workload within a window of time; with `end_s` None the window ends with the workload."""

    def __init__(
        self, whole: Workload, functions: Sequence[int], begin_s: float = 0.0, end_s: float | None = None
    ) -> None:
        self.source = whole.source
        self.functions: Sequence[Row] = [whole.functions[n] for n in functions]
        self.duration_s = (whole.duration_s if end_s is None else end_s) - begin_s
        self._whole = whole
        self._begin_s, self._end_s = begin_s, math.inf if end_s is None else end_s
        self._index = {old: new for new, old in enumerate(functions)}

    @property
    def calls(self) -> int:
        return sum(1 for _ in self.arrivals(0))

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        for at_s, function, duration_s in self._whole.arrivals(seed):
            if at_s >= self._end_s:
                return
            if at_s >= self._begin_s and function in self._index:
                yield Arrival(at_s - self._begin_s, self._index[function], duration_s)


def _window(workload: Workload, wanted: Selection) -> Workload:
    begin_s = wanted.first_minute * 60.0
    if not 0 <= begin_s < workload.duration_s or (wanted.minutes is not None and wanted.minutes < 1):
        minutes = math.ceil(workload.duration_s / 60)
        raise BadInput(f"the window is empty: {workload.source} has the minutes 0 to {minutes - 1}; choose among them")
    if wanted.first_minute == 0 and wanted.minutes is None:
        return workload
    last = None if wanted.minutes is None else wanted.first_minute + wanted.minutes
    if isinstance(workload, Counts):
        trace, first = workload.trace, wanted.first_minute
        cut = tuple(replace(function, counts=function.counts[first:last]) for function in trace.functions)
        return Counts(Trace(cut, len(cut[0].counts), trace.source, trace.first_minute + first))
    end_s = None if last is None or last * 60.0 > workload.duration_s else last * 60.0
    return Part(workload, range(len(workload.functions)), begin_s, end_s)


def _calls(workload: Workload, seed: int) -> list[int]:
    if isinstance(workload, Counts):
        return [sum(function.counts) for function in workload.trace.functions]
    counts = [0] * len(workload.functions)
    for arrival in workload.arrivals(seed):
        counts[arrival.function] += 1
    return counts


def _only(workload: Workload, functions: Sequence[int]) -> Workload:
    if isinstance(workload, Counts):
        trace = workload.trace
        return Counts(replace(trace, functions=tuple(trace.functions[n] for n in functions)))
    return Part(workload, functions)
