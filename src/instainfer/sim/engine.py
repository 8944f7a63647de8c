"""Virtual time: what is to happen is kept in a heap ordered by (time, rank, order of asking).

Ties are the trap of discrete-event simulation: what happens "at the same time" must happen in an order that somebody
chose. Ours is the order of `Rank`: reports first (a run that ends at the very moment of a call leaves its container
free for that call), then the alarms that a node asked for, then new calls. Among equals, first asked is first served.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeAlias

from ..core.errors import InternalError

Action: TypeAlias = Callable[[], None]

#: ``[at, rank, number, action]``; the action is None once it was cancelled.
Timer: TypeAlias = list[Any]


class Rank(IntEnum):
    """Who comes first of those that happen at the same time."""

    REPORT = 0
    """Something that was under way has ended."""
    ALARM = 1
    """A moment has come that a node asked to be woken at."""
    CALL = 2


# Plain integers: the heap compares them millions of times.
_CALL = int(Rank.CALL)


def cancel(timer: Timer) -> None:
    """Call off what a timer was to do; nothing happens if it has been done already."""
    # It stays in the heap until its time comes; taking it out would cost more.
    timer[3] = None


class Engine:
    """`now`: the time of what is happening, or has happened last, in float seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[Timer] = []
        self._count = 0

    def after(self, seconds: float, rank: int, action: Action) -> Timer:
        """Do something `seconds` from now; to call it off, give the result to `cancel`."""
        return self.at(self.now + seconds, rank, action)

    def at(self, when: float, rank: int, action: Action) -> Timer:
        """Do something at a time, now at the earliest."""
        self._count += 1
        timer: Timer = [when if when > self.now else self.now, rank, self._count, action]
        heapq.heappush(self._heap, timer)
        return timer

    def advance(self, until: float, before: int = _CALL) -> None:
        """Do everything that comes before `until`, and of that very moment what ranks lower than `before`.

        Afterwards it is `until`. Raises `InternalError` when that lies in the past.
        """
        if until < self.now:
            raise InternalError(f"simulated time cannot go back from {self.now} to {until}")
        heap = self._heap
        while heap and (heap[0][0] < until or (heap[0][0] == until and heap[0][1] < before)):
            self._do(heapq.heappop(heap))
        self.now = until

    def step(self) -> bool:
        """Do the next thing there is, whenever it is; False if there is none."""
        while self._heap:
            timer = heapq.heappop(self._heap)
            if timer[3] is not None:
                self._do(timer)
                return True
        return False

    def _do(self, timer: Timer) -> None:
        action = timer[3]
        if action is not None:
            self.now = timer[0]
            timer[3] = None
            action()
