"""Two clocks for backends: one for an event loop, and one that is moved by hand, for tests and deterministic fakes."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass, field


class LoopClock:
    """Monotonic time, with timers of an asyncio event loop (the running loop, unless another one is given).

    `now` does not use the loop's own time, because uvloop's time moves in steps of a millisecond. A whole start should
    take less than that.
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

    Timers fire in the order of their times. Timers for the same time fire in the order in which they were set. While
    a timer fires, `now` is the time of that timer. A timer set for the past fires at the next `advance`, even
    `advance(0)`.
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
        """The time of the earliest timer, or None when no timer is set."""
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0].when if self._timers else None

    def advance(self, seconds: float) -> None:
        """Move time forward. Fire every timer that falls due, including timers that are set meanwhile."""
        self.advance_to(self._now + seconds)

    def advance_to(self, when: float) -> None:
        """Move time forward to `when`, as `advance` does.

        Raises ValueError when `when` lies in the past.
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
        """Move time from timer to timer, and fire each, until no timer is left."""
        while (due := self.next_at()) is not None:
            self.advance_to(max(due, self._now))
