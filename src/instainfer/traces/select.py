"""Parts of traces: functions by number of calls and by class of arrivals, and windows of time.

Everything is decided in this order, so that a selection can be repeated from its options alone: the window is cut, the
functions with too few or too many calls in it fall away, then those of another class; of the rest `functions` are drawn
with ``random.Random(seed)``, or all are taken. Those that remain stay in the order of the trace.

The class depends on where calls lie inside their minutes: they are placed by the same seed (see `traces.placement`).
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
    """What is wanted of a trace."""

    first_minute: int = 0
    """Minutes since the trace began."""
    minutes: int | None = None
    """None: to its end."""
    min_calls: int = 1
    max_calls: int | None = None
    kind: ArrivalClass | None = None
    functions: int | None = None
    """How many; None: all there are."""
    seed: int = 1


@dataclass(slots=True)
class Gaps:
    """The calls of one function, summed up: number, and mean and variance of the gaps (Welford's method)."""

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
        """As `traces.classes.cov`."""
        if self.calls < 3 or self._mean_s == 0:
            return None
        return math.sqrt(self._squares / (self.calls - 1)) / self._mean_s


def gaps(workload: Workload, seed: int) -> list[Gaps]:
    """The calls of each function; one pass over the trace."""
    found = [Gaps() for _ in workload.functions]
    for arrival in workload.arrivals(seed):
        found[arrival.function].add(arrival.at_s)
    return found


def select(workload: Workload, wanted: Selection) -> Workload:
    """The wanted part; counts per minute stay counts per minute.

    Raises `BadInput` when the window lies outside the trace, or nothing or too little is left.
    """
    whole = _window(workload, wanted)
    most = math.inf if wanted.max_calls is None else wanted.max_calls
    left = [n for n, calls in enumerate(_calls(whole, wanted.seed)) if max(1, wanted.min_calls) <= calls <= most]
    if wanted.kind is not None:
        # Only now are calls placed in time: of the busiest functions, which cost most, few are usually left.
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
    """Some functions of a workload, in a window of time; `end_s` None: to its end, that moment included."""

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
