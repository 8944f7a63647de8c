"""The container's memory: measured, compared with its limits, and reported when it has changed."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import Protocol

from ..wire.messages import Failure, Measured
from .memory import charged_bytes, children
from .process import Process, State

BUSY_S = 0.1
"""Seconds between two looks while something loads or runs."""
IDLE_S = 2.0

_MIB = 1024 * 1024
_WORTH_TELLING_BYTES = _MIB


class Watched(Protocol):
    """What it needs of the manager."""

    def processes(self) -> list[Process]:
        """All that are there."""

    def spare(self) -> list[Process]:
        """Those that are to make room first: templates that nobody waits for."""

    def ending_bytes(self) -> int: ...

    def fail(self, process: Process, failure: Failure) -> None:
        """End one that takes too much."""

    def report(self, message: Measured) -> None: ...


class Watch:
    """Looks at the processes now and then; ends those that take too much."""

    def __init__(self, limit_bytes: int, manager: Watched) -> None:
        self.next_at: float | None = None
        """When to look next, in monotonic seconds."""
        self._limit_bytes = limit_bytes
        self._manager = manager
        self._own_bytes = charged_bytes(os.getpid())
        self._told_bytes = 0

    def hurry(self) -> None:
        """Something loads or runs from now on, or has changed what others are charged."""
        soon = time.monotonic() + BUSY_S
        if self.next_at is None or self.next_at > soon:
            self.next_at = soon

    def total_bytes(self) -> int:
        """The container's memory as it was last measured: its processes, those that are ending, the manager."""
        processes_bytes = sum(p.resident_bytes for p in self._manager.processes())
        self._told_bytes = processes_bytes + self._manager.ending_bytes() + self._own_bytes
        return self._told_bytes

    def has_room_for_what_ends(self) -> bool:
        """Whether the container's limit holds what is there and what of those that end has not been given back yet."""
        ending_bytes = self._manager.ending_bytes()
        if not ending_bytes or not self._limit_bytes:
            return True
        return sum(p.resident_bytes for p in self._manager.processes()) + ending_bytes <= self._limit_bytes

    def look(self, now: float) -> None:
        """If it is time: measure, end what is above its limit, report what has changed."""
        if self.next_at is None or self.next_at > now:
            return
        orphans = children(os.getpid())
        idle: dict[str, int] = {}
        for process in self._manager.processes():
            process.meter.find(_of_group(orphans, process.pid))
            known_bytes = process.resident_bytes
            is_idle = process.state is State.READY
            if is_idle and process.meter.is_stale:
                process.meter.measure()
            process.resident_bytes = process.meter.glance()
            if is_idle and abs(process.resident_bytes - known_bytes) > _WORTH_TELLING_BYTES:
                idle[process.key] = process.resident_bytes
        for process in self._manager.processes():
            self._ends_for_its_own_limit(process)
        spared = False
        while self._container_exceeds() and not spared:
            spared = self._spare_templates()
            if not spared:
                self._end_for_the_containers_limit(min(self._manager.processes(), key=_least_needed))
        there = {p.key for p in self._manager.processes()}
        idle = {key: size for key, size in idle.items() if key in there}
        told_bytes = self._told_bytes
        total_bytes = self.total_bytes()
        if idle or abs(total_bytes - told_bytes) > _WORTH_TELLING_BYTES:
            self._manager.report(Measured(idle, total_bytes))
        processes = self._manager.processes()
        busy = spared or any(p.state is not State.READY for p in processes)
        self.next_at = now + (BUSY_S if busy else IDLE_S) if processes else None

    def is_over_limit(self, process: Process) -> bool:
        """End a process that has just loaded if it takes more than it may, or the container does; says whether it did.

        What the manager itself takes is not charged to the functions. In a container that takes too much, templates
        that can be spared are ended first.
        """
        if self._ends_for_its_own_limit(process):
            return True
        if not self._container_exceeds():
            return False
        if self._spare_templates():
            self.hurry()
        else:
            self._end_for_the_containers_limit(process)
        return process not in self._manager.processes()

    def _ends_for_its_own_limit(self, process: Process) -> bool:
        limit_bytes = process.limit_bytes
        if not limit_bytes or not process.meter.exceeds(limit_bytes):
            return False
        text = "the function took {:.0f} MiB of memory, its limit is {:.0f} MiB; raise the limit".format(
            process.meter.glance() / _MIB, limit_bytes / _MIB
        )
        self._manager.fail(process, Failure("out_of_memory", text))
        return True

    def _end_for_the_containers_limit(self, process: Process) -> None:
        text = "the functions of the container took more than its {:.0f} MiB; this one was ended for it".format(
            self._limit_bytes / _MIB
        )
        self._manager.fail(process, Failure("out_of_memory", text))

    def _spare_templates(self) -> bool:
        """End those that can be spared; whether that was enough, the next look tells."""
        spare = self._manager.spare()
        for template in spare:
            text = "given up: the functions of the container need its {:.0f} MiB for themselves".format(
                self._limit_bytes / _MIB
            )
            self._manager.fail(template, Failure("out_of_memory", text))
        return bool(spare)

    def adopted(self, group: int | None) -> list[int]:
        """Processes of a group whose parents have ended."""
        return _of_group(children(os.getpid()), group)

    def _container_exceeds(self) -> bool:
        processes = self._manager.processes()
        if not self._limit_bytes or sum(map(_at_most, processes)) <= self._limit_bytes:
            return False
        return sum(p.meter.glance() if _is_known(p) else p.meter.measure() for p in processes) > self._limit_bytes


def _is_known(process: Process) -> bool:
    return process.state is State.READY and not process.meter.is_stale


def _at_most(process: Process) -> int:
    return process.meter.glance() if _is_known(process) else process.meter.most()


def _of_group(orphans: list[int], group: int | None) -> list[int]:
    found = []
    for pid in orphans:
        with suppress(ProcessLookupError):
            if pid != group and os.getpgid(pid) == group:
                found.append(pid)
    return found


def _least_needed(process: Process) -> tuple[bool, float]:
    """What loads goes before what is loaded, the newest first; what runs is alone."""
    return process.state is not State.LOADING, -process.began_at
