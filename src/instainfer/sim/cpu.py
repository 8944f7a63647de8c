"""Loads, runs and ends that share a machine's processors.

Each is work of so many seconds on a machine of its own, in which it keeps some number of cores busy. As long as there
are enough for all, everything takes as long as it takes alone. If not, those in the foreground get equal parts, and
what one has no use for goes to the others (max-min fairness: what Linux does with autogroups, where a container is one
party whatever its threads). What is loaded in the background gets what is left over, and `BACKGROUND_SHARE` at least.

Equal parts are a lower bound of what really happens: the threads of one call wait for each other, and where one has to
wait for its processor all do. So work can say how fast it goes in company (`Company`), as measured by
`experiments.crowding`.

Worked example: two cores, a call that uses both, and another that comes in its middle. From then on each has one core
and runs at half its speed; the second one, once alone, at full speed again. With `crowded` = 0.8 both run at 0.4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from .engine import Engine, Rank, Timer, cancel

_REPORT = int(Rank.REPORT)

BACKGROUND_SHARE = 0.015
"""Of the cores: the weight of nice 19 beside that of nice 0 is 15 to 1024."""

Stretched: TypeAlias = Callable[..., None]
"""Called at the end, without an argument when nothing was slowed down, else with how many times as long it took."""


class Company(NamedTuple):
    """How fast work goes in company."""

    crowded: float = 1.0
    """By what its speed is multiplied when it gets less than it wants."""
    dragged: float = 1.0
    """Its speed beside something in the background, although it gets what it wants."""


UNDISTURBED: Final = Company()


class Processors(Protocol):
    """Where work is done."""

    def begin(
        self,
        seconds: float,
        cores: float,
        then: Stretched,
        *,
        background: bool = False,
        company: Company = UNDISTURBED,
    ) -> Any:
        """Do so much, then call `then`; returns what `give_up` and `hurry` take."""
        ...

    def give_up(self, work: Any) -> None:
        """It will not be finished."""
        ...

    def hurry(self, work: Any) -> None:
        """It is in the background no longer."""
        ...


class Plenty:
    """As many cores as are wanted: nothing slows anything down, and nothing has to be kept in mind."""

    def __init__(self, engine: Engine) -> None:
        self._after = engine.after

    def begin(
        self,
        seconds: float,
        cores: float,
        then: Stretched,
        *,
        background: bool = False,
        company: Company = UNDISTURBED,
    ) -> Timer:
        return self._after(seconds, _REPORT, then)

    def give_up(self, work: Timer) -> None:
        cancel(work)

    def hurry(self, work: Timer) -> None: ...


class _Work:
    __slots__ = (
        "background",
        "began_s",
        "company",
        "cores",
        "left_s",
        "seconds",
        "since_s",
        "slowed",
        "speed",
        "then",
        "timer",
    )

    def __init__(
        self,
        seconds: float,
        cores: float,
        then: Stretched,
        now: float,
        *,
        background: bool,
        company: Company,
    ) -> None:
        self.seconds = self.left_s = seconds
        self.cores = cores
        self.then = then
        self.background = background
        self.company = company
        self.began_s = self.since_s = now
        self.speed = 1.0
        self.slowed = False
        self.timer: Timer | None = None


class Cores:
    """So many and no more."""

    def __init__(self, engine: Engine, cores: float) -> None:
        self._engine = engine
        self._cores = cores
        self._works: dict[_Work, None] = {}
        """Under way, in the order of their beginnings; what needs no processor is not in it."""
        self._wanted = 0.0

    def begin(
        self,
        seconds: float,
        cores: float,
        then: Stretched,
        *,
        background: bool = False,
        company: Company = UNDISTURBED,
    ) -> _Work:
        now = self._engine.now
        work = _Work(seconds, cores, then, now, background=background, company=company)
        self._schedule(work)
        if cores > 0.0:
            self._works[work] = None
            self._wanted += cores
            if self._wanted > self._cores:
                self._share()
        return work

    def give_up(self, work: _Work) -> None:
        if work.timer is not None:
            cancel(work.timer)
            self._remove(work)

    def hurry(self, work: _Work) -> None:
        if work.background:
            work.background = False
            if self._wanted > self._cores:
                self._share()

    def _schedule(self, work: _Work) -> None:
        if work.timer is not None:
            cancel(work.timer)
        work.timer = self._engine.after(work.left_s / work.speed, _REPORT, lambda: self._end(work))

    def _end(self, work: _Work) -> None:
        self._remove(work)
        if work.slowed and work.seconds > 0.0:
            work.then((self._engine.now - work.began_s) / work.seconds)
        else:
            work.then()

    def _remove(self, work: _Work) -> None:
        work.timer = None
        if work in self._works:
            del self._works[work]
            was_short = self._wanted > self._cores
            # Summed anew when nothing is left, so that rounding does not add up.
            self._wanted = self._wanted - work.cores if self._works else 0.0
            if was_short:
                self._share()

    def _share(self) -> None:
        """Give every work its speed anew."""
        background = [work for work in self._works if work.background]
        foreground = [work for work in self._works if not work.background]
        left = self._divide(foreground, self._cores, drags=bool(background))
        self._divide(background, max(left, BACKGROUND_SHARE * self._cores), drags=False)

    def _divide(self, works: Iterable[_Work], cores: float, *, drags: bool) -> float:
        """Divide cores among equals, of which `drags` says whether there is work in the background; returns what is
        left."""
        modest_first = sorted(works, key=lambda work: work.cores)
        for number, work in enumerate(modest_first):
            part = min(work.cores, cores / (len(modest_first) - number))
            cores -= part
            if part < work.cores:
                self._set_speed(work, part / work.cores * work.company.crowded)
            else:
                self._set_speed(work, work.company.dragged if drags else 1.0)
        return max(0.0, cores)

    def _set_speed(self, work: _Work, speed: float) -> None:
        if speed == work.speed:
            return
        now = self._engine.now
        work.left_s = max(0.0, work.left_s - (now - work.since_s) * work.speed)
        work.since_s, work.speed, work.slowed = now, speed, True
        self._schedule(work)
