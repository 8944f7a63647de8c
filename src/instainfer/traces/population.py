"""A made-up population of functions like that of Azure 2019: who owns what, what starts it, how often, how regularly.

What was published is in `traces.published`; how it is put together is in `traces.applications` (sizes and triggers),
`traces.rates` (calls a day) and `traces.renewal` (when the calls come). Here the rest is drawn, and the calls are made:

- Timers fire regularly, each at a moment of its own. Of the other functions each has a coefficient of variation of its
  gaps (CoV). Published is that of applications, which mixes the calls of several functions. `_COV` is fitted to it: it
  is such that the *applications'* CoV, counted over 14 days or 1,500 calls, follows the published curve. A shorter look
  finds less: n calls cannot show a CoV above the root of n. By triggers it is not followed: of the applications with
  nothing but timers 0.71 have a CoV of 0, and 0.45 of the published ones; without timers 0.15, and 0.11.
- Functions that are called regularly, timers and others, are so at all hours; they are the flat part of the day. The
  others swing that much more, so that all together have the published hours.
- The mean duration of a function is lognormal, as published. Its single calls are lognormal around it; how wide was not
  published. A sigma of 0.8 is what 500 functions of the release say by mean over median (0.82) and by the 99th over the
  50th percentile (0.79); by the quartiles it is 0.46.
- Memory belongs to an application, and owners have applications as in the release: 1.65 each.
- Functions are independent of each other, within an application too, but for triggers, owner and memory.

Everything depends on the seed alone. A larger population begins with the smaller one, whose last application may be cut
off, and a longer trace begins with the shorter one.
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
"""Of the logarithm of a function's single durations."""

_DAY_S, _HOUR_S = 86_400.0, 3_600.0
_COV = Curve(
    ((0, 0.22), (0.1, 0.265), (0.5, 0.39), (1, 0.413), (2, 0.544), (4, 0.69), (10, 0.83), (33.3, 0.935), (100, 1))
)
_SWING = 1 / (1 - _COV.at(0))
_HOURS = tuple(1 + _SWING * (len(CALLS_BY_HOUR) * calls / sum(CALLS_BY_HOUR) - 1) for calls in CALLS_BY_HOUR)
"""Calls in the hours of the day of functions that are not regular, in units of their mean."""
_LEAST_SHARE = 0.001
"""Of the published functions; a narrower window of rates would be drawn in vain too often."""


@dataclass(frozen=True, slots=True)
class Member:
    """One function of a population."""

    owner: str
    app: str
    name: str
    trigger: str
    """As Azure 2019 names them."""
    calls_per_day: float
    """As they were drawn, before any limit."""
    cov: float
    """Of the process that its calls come from."""
    mean_duration_s: float
    memory_mb: float
    """Of its application."""


class Population:
    """Functions, and their calls as a workload that is made while it is read."""

    def __init__(
        self,
        members: Sequence[Member],
        duration_s: float,
        seed: int,
        *,
        max_per_minute: float = math.inf,
        start_hour: int = 0,
    ) -> None:
        """`max_per_minute` limits the mean rate of each function; see `slowed`. `start_hour`: of the day, 0 to 23."""
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
        """The functions that would be called more often than `max_per_minute`, and are called that often."""
        return [member for member in self.members if member.calls_per_day > self._most_per_day]

    @property
    def calls_kept(self) -> float:
        """The share of the calls that are expected without the limit which are still expected with it."""
        wanted = math.fsum(member.calls_per_day for member in self.members)
        return math.fsum(min(member.calls_per_day, self._most_per_day) for member in self.members) / wanted

    @cached_property
    def calls(self) -> int:
        """Counted by making them, once."""
        return sum(1 for number in range(len(self.members)) for _ in self.times(number))

    def times(self, number: int) -> Iterator[float]:
        """The calls of one function: seconds since the trace began, ascending."""
        member = self.members[number]
        rng = random.Random(f"{self.seed}/{member.name}")
        calls_s = renewals(_DAY_S / min(member.calls_per_day, self._most_per_day), member.cov, rng)
        if member.cov >= REGULAR:
            calls_s = by_the_hour(calls_s, _HOURS, self.start_hour)
        return takewhile(lambda at_s: at_s < self.duration_s, calls_s)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """The calls in the order of time, an hour of them in memory. They have a seed already."""
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
        """When the next call comes; infinite after the last."""

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
    """Draw so many functions, and make their calls for so long.

    `min_per_day` and `max_per_day` leave out functions that are called less or more often; what an application has
    besides stays. `max_per_minute` keeps busier functions, and slows them down to that.

    Raises `BadInput` when hardly any function is called as often as the two bounds want.
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
    """Its calls counted by minutes, which are named as those of the day; a last, shorter one is a minute too."""
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
        # A new owner as often as there is one in the release, else that of some earlier application.
        new = not owners or rng.random() < OWNERS / APPS
        owners.append(_made_up(rng) if new else rng.choice(owners))
        app, memory_mb = _made_up(rng), MEMORY_MB.quantile(rng.random())
        for letter in draw_application(rng):
            yield Member(
                owner=owners[-1],
                app=app,
                name=_made_up(rng),
                trigger=TRIGGERS[letter].name,
                calls_per_day=draw_calls_per_day(letter, rng),
                cov=0.0 if letter == "T" else _COV.quantile(rng.random()),
                mean_duration_s=MEAN_DURATION_S.quantile(1 - rng.random()),
                memory_mb=memory_mb,
            )


def _made_up(rng: random.Random) -> str:
    """In the place of a hash."""
    return f"{rng.getrandbits(64):016x}"
