"""Virtual time: a heap of actions, ordered by (time, rank, order of scheduling).

Actions at the same time must run in a deliberate order, or results depend on chance. We use the order of `Rank`: first
reports (when a run ends at the moment of a new call, its container is free for that call), then the alarms that a node
asked for, then new calls. Actions of equal rank run in the order in which they were scheduled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from enum import IntEnum
from typing import Any, TypeAlias

from ..core.errors import InternalError

Action: TypeAlias = Callable[[], None]

#: ``[at, rank, number, action]``; the action is None after it was cancelled.
Timer: TypeAlias = list[Any]


class Rank(IntEnum):
    """Order of actions at the same time: the lowest value runs first."""

    REPORT = 0
    """Something that was under way has ended."""
    ALARM = 1
    """A time has come at which a node asked to be woken."""
    CALL = 2


# Plain integers: the heap compares them millions of times.
_CALL = int(Rank.CALL)


def cancel(timer: Timer) -> None:
    """Cancel a timer's action; this has no effect after the action has run."""
    # The timer stays in the heap until its time comes: removing it would cost more.
    timer[3] = None


class Engine:
    """The virtual clock. `now` is the time of the latest action, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[Timer] = []
        self._count = 0

    def after(self, seconds: float, rank: int, action: Action) -> Timer:
        """Schedule an action `seconds` from now. Give the result to `cancel` to call it off."""
        return self.at(self.now + seconds, rank, action)

    def at(self, when: float, rank: int, action: Action) -> Timer:
        """Schedule an action for the time `when`, or for now if that is past."""
        self._count += 1
        timer: Timer = [when if when > self.now else self.now, rank, self._count, action]
        heapq.heappush(self._heap, timer)
        return timer

    def left_s(self, timer: Timer) -> float:
        """Return the seconds until a timer's time."""
        return float(timer[0]) - self.now

    def advance(self, until: float, before: int = _CALL) -> None:
        """Run all actions before `until`, and those at `until` itself whose rank is lower than `before`.

        Afterwards `now` is `until`. Raises `InternalError` when `until` is in the past.
        """
        if until < self.now:
            raise InternalError(f"simulated time cannot go back from {self.now} to {until}")
        heap = self._heap
        while heap and (heap[0][0] < until or (heap[0][0] == until and heap[0][1] < before)):
            self._do(heapq.heappop(heap))
        self.now = until

    def step(self) -> bool:
        """Run the next action, whenever it is due; return False if there is none."""
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
