"""Draws a synthetic population of functions like that of Azure 2019: owners, triggers, rates, regularity, durations.

`traces.published` has the published figures. They are put together in `traces.applications` (sizes and triggers),
`traces.rates` (calls a day) and `traces.renewal` (times of calls). This module draws the rest and makes the calls:

- Timers fire at a fixed interval, each starting at a random time. Every other function gets a coefficient of variation
  (CoV) of its gaps. Only the CoV of applications is published, which mixes the calls of several functions. So `_COV` is
  fitted until the *applications'* CoV, counted over 14 days or 1,500 calls, follows the published curve. A shorter
  count finds smaller values: n calls cannot show a CoV above the square root of n. By trigger the fit is worse: of the
  applications that have only timers, 0.71 have a CoV of 0 here, but 0.45 in the source; of those without timers, 0.15
  here and 0.11 in the source.
- Functions with equal gaps (timers and others) are called at all hours alike, so they are the flat part of the day. The
  rates of the others vary more over the day, so that all functions together follow the published hours.
- The mean duration of a function is lognormal, as published. The durations of its calls are lognormal around that mean,
  with a sigma that was not published. We take 0.8: over 500 functions of the released trace, the ratio of mean to
  median gives 0.82, that of the 99th to the 50th percentile 0.79, and the quartiles give 0.46.
- Memory is drawn per application. Owners have 1.65 applications on average, as in the released trace.
- Functions are otherwise independent, within an application too; these share only owner and memory, and their triggers
  are drawn together.

Everything follows from the seed alone. A larger population begins with the smaller one (whose last application may be
incomplete), and a longer trace begins with the shorter one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from ..errors import BadInput
from .applications import draw_application
from .azure2019 import Trace, TraceFunction
from .curves import Burr, Curve, LogNormal
from .published import (
    APPS,
    CALLS_BY_HOUR,
    MEAN_DURATION_S_MU,
    MEAN_DURATION_S_SIGMA,
    MEMORY_MB_C,
    MEMORY_MB_K,
    MEMORY_MB_SCALE,
    MOST_DURATION_S,
    MOST_MEMORY_MB,
    OWNERS,
    TRIGGERS,
)
from .rates import draw_calls_per_day, share_below, share_up_to
from .renewal import REGULAR, by_the_hour, renewals
from .workload import Arrival, Row

MEAN_DURATION_S = LogNormal(MEAN_DURATION_S_MU, MEAN_DURATION_S_SIGMA, MOST_DURATION_S)
MEMORY_MB = Burr(MEMORY_MB_C, MEMORY_MB_K, MEMORY_MB_SCALE, MOST_MEMORY_MB)
CALL_SIGMA = 0.8
"""Standard deviation of the logarithm of the durations of one function's calls."""

_DAY_S, _HOUR_S = 86_400.0, 3_600.0
_COV = Curve(
    ((0, 0.22), (0.1, 0.265), (0.5, 0.39), (1, 0.413), (2, 0.544), (4, 0.69), (10, 0.83), (33.3, 0.935), (100, 1))
)
_SWING = 1 / (1 - _COV.at(0))
_HOURS = tuple(1 + _SWING * (len(CALLS_BY_HOUR) * calls / sum(CALLS_BY_HOUR) - 1) for calls in CALLS_BY_HOUR)
"""Relative rate in each hour of the day (mean 1) of functions whose gaps are not all equal."""
_LEAST_SHARE = 0.001
"""Smallest share of the published functions that a range of rates may contain; below it, too many draws are wasted."""


@dataclass(frozen=True, slots=True)
class Member:
    """One function of a population."""

    owner: str
    app: str
    name: str
    trigger: str
    """The name that Azure 2019 uses."""
    calls_per_day: float
    """The rate that was drawn, before `max_per_minute` limits it."""
    cov: float
    """CoV of the gaps in the process that makes the calls."""
    mean_duration_s: float
    memory_mb: float
    """Memory of the function's application."""


class Population:
    """Functions, and a workload of their calls, which are made while they are read."""

    def __init__(
        self,
        members: Sequence[Member],
        duration_s: float,
        seed: int,
        *,
        max_per_minute: float = math.inf,
        start_hour: int = 0,
    ) -> None:
        """`max_per_minute` limits the mean rate of each function (see `slowed`); `start_hour` is 0 to 23."""
        self.members = tuple(members)
        self.duration_s = duration_s
        self.seed = seed
        self.max_per_minute = max_per_minute
        self.start_hour = start_hour
        self.source = f"population, seed {seed}"

    @cached_property
    def functions(self) -> Sequence[Row]:
        return tuple(Row(member.owner, member.app, member.name) for member in self.members)

    @property
    def slowed(self) -> Sequence[Member]:
        """The functions whose drawn rate is above `max_per_minute`, and which are therefore limited to it."""
        return [member for member in self.members if member.calls_per_day > self._most_per_day]

    @property
    def calls_kept(self) -> float:
        """Expected calls with the limit, divided by expected calls without it."""
        wanted = math.fsum(member.calls_per_day for member in self.members)
        return math.fsum(min(member.calls_per_day, self._most_per_day) for member in self.members) / wanted

    @cached_property
    def calls(self) -> int:
        """The number of calls; counting makes all of them, once."""
        return sum(1 for number in range(len(self.members)) for _ in self.times(number))

    def times(self, number: int) -> Iterator[float]:
        """Yield the call times of one function, ascending, in seconds since the trace began."""
        member = self.members[number]
        rng = random.Random(f"{self.seed}/{member.name}")
        calls_s = renewals(_DAY_S / min(member.calls_per_day, self._most_per_day), member.cov, rng)
        if member.cov >= REGULAR:
            calls_s = by_the_hour(calls_s, _HOURS, self.start_hour)
        return takewhile(lambda at_s: at_s < self.duration_s, calls_s)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the calls by time, with one hour in memory. `seed` is not used: the population has its own."""
        streams = [_Stream(number, self.times(number), self._durations(number)) for number in range(len(self.members))]
        end_s = 0.0
        while streams:
            end_s += _HOUR_S
            calls = [call for stream in streams for call in stream.until(end_s)]
            calls.sort()
            yield from calls
            streams = [stream for stream in streams if stream.next_s < math.inf]

    @property
    def _most_per_day(self) -> float:
        return self.max_per_minute * 1_440

    def _durations(self, number: int) -> Iterator[float]:
        member = self.members[number]
        draw = random.Random(f"{self.seed}/{member.name}/durations").lognormvariate
        mu = math.log(member.mean_duration_s) - CALL_SIGMA**2 / 2
        while True:
            yield draw(mu, CALL_SIGMA)


class _Stream:
    """The calls of one function."""

    __slots__ = ("_durations", "_number", "_times", "next_s")

    def __init__(self, number: int, times: Iterator[float], durations: Iterator[float]) -> None:
        self._number, self._times, self._durations = number, times, durations
        self.next_s = next(times, math.inf)
        """Time of the next call; infinite after the last."""

    def until(self, end_s: float) -> Iterator[Arrival]:
        while self.next_s < end_s:
            yield Arrival(self.next_s, self._number, next(self._durations))
            self.next_s = next(self._times, math.inf)


def population(
    functions: int,
    duration_s: float,
    seed: int,
    *,
    min_per_day: float = 0.0,
    max_per_day: float = math.inf,
    max_per_minute: float = math.inf,
    start_hour: int = 0,
) -> Population:
    """Draw `functions` functions, and make their calls for `duration_s` seconds.

    Functions called less than `min_per_day` or more than `max_per_day` times a day are left out; the other functions of
    their applications stay. Functions above `max_per_minute` are kept and limited to that rate.

    Raises `BadInput` when hardly any function lies between `min_per_day` and `max_per_day`.
    """
    share = share_up_to(max_per_day) - share_below(min_per_day)
    if share < _LEAST_SHARE:
        raise BadInput(
            f"hardly any function is called {min_per_day:g} to {max_per_day:g} times a day "
            f"({max(0.0, share):.2%}); take wider bounds"
        )
    members: list[Member] = []
    for member in _draw(random.Random(f"{seed}/population")):
        if min_per_day <= member.calls_per_day <= max_per_day:
            members.append(member)
            if len(members) == functions:
                break
    return Population(members, duration_s, seed, max_per_minute=max_per_minute, start_hour=start_hour)


def to_counts(drawn: Population) -> Trace:
    """Count the calls per minute. Minutes are numbered from the start of the day; the last may be incomplete."""
    minutes = math.ceil(drawn.duration_s / 60)
    rows = []
    for number, member in enumerate(drawn.members):
        counts = [0] * minutes
        for at_s in drawn.times(number):
            counts[int(at_s // 60)] += 1
        rows.append(TraceFunction(member.owner, member.app, member.name, member.trigger, tuple(counts)))
    return Trace(tuple(rows), minutes, drawn.source, 1 + 60 * drawn.start_hour)


def _draw(rng: random.Random) -> Iterator[Member]:
    owners: list[str] = []
    while True:
        # A new owner is as likely as in the released trace; otherwise the owner of a random earlier application is
        # taken again.
        new = not owners or rng.random() < OWNERS / APPS
        owners.append(_random_hash(rng) if new else rng.choice(owners))
        app, memory_mb = _random_hash(rng), MEMORY_MB.quantile(rng.random())
        for letter in draw_application(rng):
            yield Member(
                owner=owners[-1],
                app=app,
                name=_random_hash(rng),
                trigger=TRIGGERS[letter].name,
                calls_per_day=draw_calls_per_day(letter, rng),
                cov=0.0 if letter == "T" else _COV.quantile(rng.random()),
                mean_duration_s=MEAN_DURATION_S.quantile(1 - rng.random()),
                memory_mb=memory_mb,
            )


def _random_hash(rng: random.Random) -> str:
    """Return a random name that looks like the trace's hashes."""
    return f"{rng.getrandbits(64):016x}"
