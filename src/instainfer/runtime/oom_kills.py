"""Tells whether the kernel has ended a process because the container had reached its memory limit.

The kernel counts such ends for the container's control group, where there is one. A process that was killed while the
count has grown was ended for its memory; otherwise nobody would know why.
"""

from __future__ import annotations

_PLACES = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
"""Where a container sees its own control group: version 2, and version 1."""
_COUNT = "oom_kill"


class OomKills:
    """The kernel's count, and how much of it has been told."""

    def __init__(self) -> None:
        self._told = count()

    def explains_end(self) -> bool:
        """Whether the kernel has ended one more process than has been told. Then that is told now."""
        if count() <= self._told:
            return False
        self._told += 1
        return True


def count() -> int:
    """How many processes the kernel has ended for want of memory in the control group. 0 if it does not say."""
    for place in _PLACES:
        try:
            with open(place, encoding="ascii") as file:
                for line in file:
                    name, _, number = line.partition(" ")
                    if name == _COUNT:
                        return int(number)
        except (OSError, ValueError):
            continue
    return 0
