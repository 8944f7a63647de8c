"""Deadlines of which only the nearest is asked for."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

_SLACK: Final = 64
"""So many entries that are of no interest any longer may be left in the heap, beside as many as are."""


@dataclass(slots=True)
class Timers:
    """Named deadlines. Of each name the earliest is armed: one that has moved on is looked at and armed anew when it
    comes, so that a container that is used a thousand times a second does not leave a thousand timers behind."""

    plan_at: float | None = None
    """When the pre-load plan has to be made anew; replaced by every plan."""
    _heap: list[tuple[float, int, str]] = field(default_factory=list)
    _armed: dict[str, float] = field(default_factory=dict)
    _count: int = 0
    _asked: float | None = None

    def arm(self, when: float, name: str) -> None:
        armed = self._armed.get(name)
        if armed is None or when < armed:
            self._armed[name] = when
            self._count += 1
            heapq.heappush(self._heap, (when, self._count, name))

    def disarm(self, name: str) -> None:
        """What was armed under this name is of no interest any longer."""
        if self._armed.pop(name, None) is not None and len(self._heap) > 2 * len(self._armed) + _SLACK:
            self._heap = [entry for entry in self._heap if self._armed.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def fired(self, at: float) -> list[str]:
        """Names whose time has come, in the order of their times."""
        self._asked = None
        names = []
        while self._heap and self._heap[0][0] <= at:
            when, _, name = heapq.heappop(self._heap)
            if self._armed.get(name) == when:
                del self._armed[name]
                names.append(name)
        return names

    def ask(self) -> float | None:
        """The nearest deadline, if it is nearer than what has been asked for already."""
        nearest = self._heap[0][0] if self._heap else None
        if self.plan_at is not None and (nearest is None or self.plan_at < nearest):
            nearest = self.plan_at
        if nearest is None or (self._asked is not None and self._asked <= nearest):
            return None
        self._asked = nearest
        return nearest
