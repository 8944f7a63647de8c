"""The two clocks of a backend: the event loop's, and one moved by hand for tests and deterministic fakes."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class LoopClock:
    """Monotonic time, and timers of an asyncio event loop (the running one unless given).

    Not the loop's own time: uvloop's moves in steps of a millisecond, longer than a whole start should take.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self._loop = loop if loop is not None else asyncio.get_running_loop()

    def now(self) -> float:
        return time.monotonic()

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        return self._loop.call_later(max(0.0, when - time.monotonic()), callback).cancel


@dataclass(order=True, slots=True)
class _Timer:
    when: float
    number: int
    callback: Callable[[], None] | None = field(compare=False)

    def cancel(self) -> None:
        self.callback = None


class ManualClock:
    """Time that stands still until `advance` moves it.

    Timers fire in the order of their times, those of the same time in the order in which they were set, and `now`
    is each timer's own time while it fires. A timer set for the past fires at the next `advance`, even by zero.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self._now = start_s
        self._timers: list[_Timer] = []
        self._count = 0

    def now(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        timer = _Timer(when, self._count, callback)
        self._count += 1
        heapq.heappush(self._timers, timer)
        return timer.cancel

    def next_at(self) -> float | None:
        """The time of the earliest timer, None when there is none."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

    def advance(self, seconds: float) -> None:
        """Move time forward, firing every timer that falls due, also those that are set meanwhile."""
        self.advance_to(self._now + seconds)

    def advance_to(self, when: float) -> None:
        """Like `advance`, to a time.

        Raises ValueError when it lies in the past.
        """
        if when < self._now:
            raise ValueError(f"time cannot go back from {self._now} to {when}; give a later time")
        while (due := self.next_at()) is not None and due <= when:
            timer = heapq.heappop(self._timers)
            self._now = max(self._now, timer.when)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                callback()
        self._now = when

    def run(self) -> None:
        """Fire timers, moving time from one to the next, until none is left."""
        while (due := self.next_at()) is not None:
            self.advance_to(max(due, self._now))
