"""Compares a trace with what was published about Azure 2019.

Only what the trace can show is compared: a number of calls a day if it makes at least ten calls in the trace's time,
the busiest 1 % if there are at least a hundred functions, hours if the trace has whole days, and applications, triggers
and durations if the layout has them. A layout with a row per call does not list functions without calls, so it shows
too few rarely called functions.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from typing import NamedTuple

from .counts import Counts
from .curves import Curve, LogNormal
from .published import (
    APP_COV,
    CALLS_BY_HOUR,
    CALLS_PER_DAY,
    FUNCTIONS_PER_APP,
    MEAN_DURATION_S_MU,
    MEAN_DURATION_S_SIGMA,
    SHARE_OF_THE_BUSIEST,
    TRIGGERS,
)
from .select import Gaps
from .workload import Row, Workload

_ENOUGH_CALLS = 10
_SIZES = (1, 10, 100)
_CALLS_PER_DAY = (1, 10, 24, 288, 1_440, 10_000, 86_400)
_COVS = (0.5, 1, 4, 10)
_DURATIONS_S = (0.1, 1, 10, 60)
_BUSY_HOURS = range(13, 19)


class Line(NamedTuple):
    of: str
    """What the shares add up to: all functions, applications or calls."""
    what: str
    here: float
    published: float


def compare(workload: Workload, seed: int) -> list[Line]:
    """Return every comparison that is possible; `seed` gives times to calls that have none in the trace."""
    seen = _Seen(workload, seed)
    days = workload.duration_s / 86_400
    lines: list[Line] = []
    if all(row.app for row in workload.functions):
        sizes = Counter(_app(row) for row in workload.functions).values()
        lines += _up_to("applications", "functions ≤ {:,}", sizes, _SIZES, Curve(FUNCTIONS_PER_APP).at)
    per_day = [calls / days for calls in seen.calls] if days else []
    shown = [calls for calls in _CALLS_PER_DAY if calls * days >= _ENOUGH_CALLS]
    lines += _up_to("functions", "calls a day ≤ {:,}", per_day, shown, Curve(CALLS_PER_DAY, log=True).at)
    lines += _busiest(seen.calls)
    if isinstance(workload, Counts):
        lines += _triggers(Counter(function.trigger for function in workload.trace.functions))
    covs = [gaps.cov for gaps in seen.gaps.values() if gaps.calls >= _ENOUGH_CALLS]
    known = [cov for cov in covs if cov is not None]
    lines += _up_to("applications", "CoV ≤ {:g}", known, _COVS, Curve(APP_COV).at)
    mean_s = LogNormal(MEAN_DURATION_S_MU, MEAN_DURATION_S_SIGMA)
    lines += _up_to("functions", "mean duration ≤ {:g} s", seen.mean_durations_s(), _DURATIONS_S, mean_s.at)
    if days >= 1 and any(seen.hours):
        what = f"in the hours {_BUSY_HOURS[0]} to {_BUSY_HOURS[-1]}"
        lines.append(Line("calls", what, _in_busy_hours(seen.hours), _in_busy_hours(CALLS_BY_HOUR)))
    return lines


class _Seen:
    """Figures gathered in one pass over the calls of a trace."""

    def __init__(self, workload: Workload, seed: int) -> None:
        apps = [_app(row) for row in workload.functions]
        self.calls = [0] * len(apps)
        self.gaps: dict[Hashable, Gaps] = {app: Gaps() for app in apps}
        self.hours = [0] * 24
        self._durations_s = [0.0] * len(apps)
        begins_s = 60.0 * (workload.trace.first_minute - 1) if isinstance(workload, Counts) else 0.0
        whole_days_s = workload.duration_s // 86_400 * 86_400
        for at_s, number, duration_s in workload.arrivals(seed):
            self.calls[number] += 1
            self.gaps[apps[number]].add(at_s)
            self._durations_s[number] += math.nan if duration_s is None else duration_s
            if at_s < whole_days_s:
                self.hours[int((begins_s + at_s) // 3600) % 24] += 1

    def mean_durations_s(self) -> list[float]:
        """Return the mean durations of those called functions of which every duration is known."""
        means = (summed_s / calls for summed_s, calls in zip(self._durations_s, self.calls, strict=True) if calls)
        return [mean_s for mean_s in means if not math.isnan(mean_s)]


def _app(row: Row) -> Hashable:
    """Return a key for the application of a row; a row without application counts as one of its own."""
    return (row.owner, row.app) if row.app else row


def _in_busy_hours(calls: Sequence[int]) -> float:
    return sum(calls[hour] for hour in _BUSY_HOURS) / sum(calls)


def _up_to(
    of: str, what: str, values: Collection[float], limits: Collection[float], published: Callable[[float], float]
) -> Iterator[Line]:
    for limit in limits if values else ():
        here = sum(1 for value in values if value <= limit) / len(values)
        yield Line(of, what.format(limit), here, published(limit))


def _busiest(calls: Collection[int]) -> Iterator[Line]:
    ordered = sorted(calls, reverse=True)
    for share, published in SHARE_OF_THE_BUSIEST:
        number = round(share * len(ordered))
        if number and sum(ordered):
            yield Line(
                "calls",
                f"of the busiest {100 * share:g} % of the functions",
                sum(ordered[:number]) / sum(ordered),
                published,
            )


def _triggers(counts: Counter[str]) -> Iterator[Line]:
    every = sum(trigger.functions for trigger in TRIGGERS.values())
    known = sum(counts[trigger.name] for trigger in TRIGGERS.values())
    for trigger in TRIGGERS.values() if known else ():
        yield Line("functions", f"trigger {trigger.name}", counts[trigger.name] / known, trigger.functions / every)
