"""The deadlines of a node. The node asks its driver for one timer only: the nearest deadline."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import Final

_SLACK: Final = 64
"""The heap is cleaned up when its disarmed entries outnumber the armed ones by more than this."""


@dataclass(slots=True)
class Timers:
    """Deadlines by name. Only the earliest deadline of a name is armed.

    When a deadline moves to a later time, the early one still fires; its handler looks again and arms the later one.
    So a container that is used a thousand times a second does not leave a thousand timers behind.
    """

    plan_at: float | None = None
    """When the next pre-load plan is due even if nothing happens before. Every plan replaces it."""
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
        """Drop the deadline of this name, if there is one."""
        if self._armed.pop(name, None) is not None and len(self._heap) > 2 * len(self._armed) + _SLACK:
            self._heap = [entry for entry in self._heap if self._armed.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def fired(self, at: float) -> list[str]:
        """The names whose deadlines have passed, the earliest first. They are disarmed."""
        self._asked = None
        names = []
        while self._heap and self._heap[0][0] <= at:
            when, _, name = heapq.heappop(self._heap)
            if self._armed.get(name) == when:
                del self._armed[name]
                names.append(name)
        return names

    def ask(self) -> float | None:
        """The nearest deadline, or None if the driver was already asked for this one or for an earlier one."""
        nearest = self._heap[0][0] if self._heap else None
        if self.plan_at is not None and (nearest is None or self.plan_at < nearest):
            nearest = self.plan_at
        if nearest is None or (self._asked is not None and self._asked <= nearest):
            return None
        self._asked = nearest
        return nearest
