"""How loads, runs and ends of residents share the processors of one machine.

A piece of work takes a known number of seconds when it is alone, and keeps a known number of cores busy. As long as the
cores suffice for all work, nothing is slowed down. Otherwise the works in the foreground get equal shares, and what one
of them does not need goes to the others (max-min fairness; Linux does the same with autogroups, where each container
counts once, however many threads it has). Background loads get what is left, and at least `BACKGROUND_SHARE`.

Equal shares are too optimistic: the threads of a call wait for each other, so one thread that waits for a processor
holds up all of them. Therefore a piece of work can say how fast it is beside other work (`Company`);
`experiments.crowding` measures that.

Worked example: on two cores, a second call arrives when the first one is half done; each call uses both cores. From
then on each has one core and runs at half speed; as soon as one has ended, the other runs at full speed. With `crowded`
= 0.8 both run at 0.4 of full speed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from .engine import Engine, Rank, Timer, cancel

_REPORT = int(Rank.REPORT)

BACKGROUND_SHARE = 0.015
"""Share of all cores. The scheduler's weights are 15 for nice 19 and 1024 for nice 0."""

Stretched: TypeAlias = Callable[..., None]
"""Callback for the end of work. Its argument is the actual time over the time alone; left out if nothing was slowed."""


class Company(NamedTuple):
    """How fast a piece of work is beside other work."""

    crowded: float = 1.0
    """Factor on its speed when it gets fewer cores than it wants."""
    dragged: float = 1.0
    """Factor on its speed when it gets all cores it wants, but something runs in the background."""


UNDISTURBED: Final = Company()


class Processors(Protocol):
    """The processors of one machine."""

    def begin(
        self,
        seconds: float,
        cores: float,
        then: Stretched,
        *,
        background: bool = False,
        company: Company = UNDISTURBED,
    ) -> Any:
        """Start work that takes `seconds` alone; call `then` at its end. The result is for `give_up` and `hurry`."""
        ...

    def give_up(self, work: Any) -> float:
        """Cancel the work. Return the seconds that the rest of it would have taken alone."""
        ...

    def hurry(self, work: Any) -> None:
        """Move the work from the background to the foreground."""
        ...


class Plenty:
    """Processors that are never short, so that no work slows down other work."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
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

    def give_up(self, work: Timer) -> float:
        cancel(work)
        return self._engine.left_s(work)

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
    """A limited number of cores."""

    def __init__(self, engine: Engine, cores: float) -> None:
        self._engine = engine
        self._cores = cores
        self._works: dict[_Work, None] = {}
        """Work under way, in the order in which it began, except work that needs no processor."""
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

    def give_up(self, work: _Work) -> float:
        if work.timer is None:
            return 0.0
        left_s = self._engine.left_s(work.timer) * work.speed
        cancel(work.timer)
        self._remove(work)
        return left_s

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
            # Reset to 0 when nothing is left, so that rounding errors do not add up.
            self._wanted = self._wanted - work.cores if self._works else 0.0
            if was_short:
                self._share()

    def _share(self) -> None:
        """Set the speed of each work from what runs now."""
        background = [work for work in self._works if work.background]
        foreground = [work for work in self._works if not work.background]
        left = self._divide(foreground, self._cores, drags=bool(background))
        self._divide(background, max(left, BACKGROUND_SHARE * self._cores), drags=False)

    def _divide(self, works: Iterable[_Work], cores: float, *, drags: bool) -> float:
        """Divide `cores` among `works`, and return how many cores are left.

        `drags` tells whether there is also work in the background.
        """
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
