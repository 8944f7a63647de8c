"""The container's memory: measured, compared with its limits, and reported when it has changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ..wire.messages import Failure, Measured
from .memory import children, pss_bytes
from .resident import Resident, State

BUSY_S = 0.1
"""Seconds between two looks while something loads or runs."""
IDLE_S = 2.0

_MIB = 1024 * 1024
_WORTH_TELLING_BYTES = _MIB


class Watch:
    """Looks at the residents now and then; `fail` ends the one that takes too much."""

    def __init__(
        self,
        limit_bytes: int,
        residents: Mapping[str, Resident],
        ending_bytes: Callable[[], int],
        fail: Callable[[Resident, Failure], None],
        report: Callable[[Any], None],
    ) -> None:
        self.next_at: float | None = None
        """When to look next, in monotonic seconds."""
        self._limit_bytes = limit_bytes
        self._residents = residents
        self._ending_bytes = ending_bytes
        self._fail = fail
        self._report = report
        self._own_bytes = pss_bytes(os.getpid())
        self._told_bytes = 0

    def hurry(self) -> None:
        """Something loads or runs from now on."""
        soon = time.monotonic() + BUSY_S
        if self.next_at is None or self.next_at > soon:
            self.next_at = soon

    def total_bytes(self) -> int:
        """The container's memory as it was last measured: its residents, those that are ending, the manager."""
        residents_bytes = sum(r.resident_bytes for r in self._residents.values())
        self._told_bytes = residents_bytes + self._ending_bytes() + self._own_bytes
        return self._told_bytes

    def look(self, now: float) -> None:
        """If it is time: measure, end what is above its limit, report what has changed."""
        if self.next_at is None or self.next_at > now:
            return
        orphans = children(os.getpid())
        idle: dict[str, int] = {}
        for resident in list(self._residents.values()):
            resident.meter.find(self._of_group(orphans, resident.pid))
            known_bytes = resident.resident_bytes
            is_idle = resident.state is State.READY
            if is_idle and resident.meter.is_stale:
                resident.meter.measure()
            resident.resident_bytes = resident.meter.glance()
            if is_idle and abs(resident.resident_bytes - known_bytes) > _WORTH_TELLING_BYTES:
                idle[resident.key] = resident.resident_bytes
        for resident in sorted(self._residents.values(), key=_least_needed):
            if self.is_over_limit(resident):
                idle.pop(resident.key, None)
        told_bytes = self._told_bytes
        total_bytes = self.total_bytes()
        if idle or abs(total_bytes - told_bytes) > _WORTH_TELLING_BYTES:
            self._report(Measured(idle, total_bytes))
        busy = any(r.state is not State.READY for r in self._residents.values())
        self.next_at = now + (BUSY_S if busy else IDLE_S) if self._residents else None

    def is_over_limit(self, resident: Resident) -> bool:
        """End a resident if it takes more than it may, or the container does; says whether it did.

        What the manager itself takes is not charged to the functions.
        """
        own_limit = resident.function.memory_bytes
        if own_limit and resident.meter.exceeds(own_limit):
            text = "the function took {:.0f} MiB of memory, its limit is {:.0f} MiB; raise the limit".format(
                resident.meter.glance() / _MIB, own_limit / _MIB
            )
        elif self._limit_bytes and self._container_exceeds():
            text = "the functions of the container took more than its {:.0f} MiB; this one was ended for it".format(
                self._limit_bytes / _MIB
            )
        else:
            return False
        self._fail(resident, Failure("out_of_memory", text))
        return True

    def adopted(self, group: int) -> list[int]:
        """Processes of a group whose parents have ended."""
        return self._of_group(children(os.getpid()), group)

    def _of_group(self, orphans: list[int], group: int) -> list[int]:
        found = []
        for pid in orphans:
            with suppress(ProcessLookupError):
                if pid != group and os.getpgid(pid) == group:
                    found.append(pid)
        return found

    def _container_exceeds(self) -> bool:
        residents = self._residents.values()
        return (
            sum(r.meter.glance() for r in residents) > self._limit_bytes
            and sum(r.meter.measure() for r in residents) > self._limit_bytes
        )


def _least_needed(resident: Resident) -> tuple[bool, float]:
    """What loads goes before what is loaded, the newest first; what runs is alone."""
    return resident.state is not State.LOADING, -resident.began_at
