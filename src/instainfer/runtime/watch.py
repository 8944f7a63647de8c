"""Measures the memory of a container, compares it with the limits, and reports it when it has changed."""

from __future__ import annotations

import os
import time
from typing import Protocol

from ..wire.messages import Failure, Measured
from .memory import charged_bytes, children, of_group
from .process import Process, State

BUSY_S = 0.1
"""Seconds between two looks while something loads or runs."""
IDLE_S = 2.0

_MIB = 1024 * 1024
_WORTH_TELLING_BYTES = _MIB


class Watched(Protocol):
    """The parts of the manager that the watch needs."""

    def processes(self) -> list[Process]:
        """All processes of functions and templates."""

    def spare(self) -> list[Process]:
        """The templates that can be given up: those from which no process is being forked."""

    def template_of(self, process: Process) -> Process | None:
        """The function template that a process was forked from, if that template is still there."""

    def measure(self, process: Process) -> int:
        """Measure the memory of a process exactly."""

    def ending_bytes(self) -> int: ...

    def fail(self, process: Process, failure: Failure) -> None:
        """End a process that uses too much memory."""

    def report(self, message: Measured) -> None: ...


class Watch:
    """Looks at the processes regularly, and ends those that use too much memory."""

    def __init__(self, limit_bytes: int, manager: Watched) -> None:
        self.next_at: float | None = None
        """When to look next, in monotonic seconds."""
        self._limit_bytes = limit_bytes
        self._manager = manager
        self._own_bytes = charged_bytes(os.getpid())
        self._told_bytes = 0

    def resize(self, limit_bytes: int) -> None:
        """The container has another limit from now on."""
        self._limit_bytes = limit_bytes

    def hurry(self) -> None:
        """Look soon, because something loads or runs now, or because shared memory is divided differently."""
        soon = time.monotonic() + BUSY_S
        if self.next_at is None or self.next_at > soon:
            self.next_at = soon

    def total_bytes(self) -> int:
        """The memory of the container as measured last: of its processes, of ending processes, and of the manager."""
        processes_bytes = sum(p.resident_bytes for p in self._manager.processes())
        self._told_bytes = processes_bytes + self._manager.ending_bytes() + self._own_bytes
        return self._told_bytes

    def has_room_for_what_ends(self) -> bool:
        """Whether the container's limit holds its processes and the memory that ending processes still have."""
        ending_bytes = self._manager.ending_bytes()
        if not ending_bytes or not self._limit_bytes:
            return True
        return sum(p.resident_bytes for p in self._manager.processes()) + ending_bytes <= self._limit_bytes

    def look(self, now: float) -> None:
        """If it is time, measure all processes, end those above a limit, and report the sizes that have changed."""
        if self.next_at is None or self.next_at > now:
            return
        orphans = children(os.getpid())
        heads = {process.pid for process in self._manager.processes()}
        idle: dict[str, int] = {}
        for process in self._manager.processes():
            process.meter.find(of_group(orphans, process.pid), heads)
            known_bytes = process.resident_bytes
            is_idle = process.state is State.READY
            if is_idle and process.meter.is_stale:
                self._manager.measure(process)
            process.resident_bytes = process.meter.glance()
            process.meter.note_peak(process.resident_bytes)
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
        """End a process that has just been loaded if its own limit or the container's is exceeded.

        Returns whether it was ended. The memory of the manager itself is not charged to the functions. When the
        container's limit is exceeded, templates that can be given up are ended first.
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
        """Whether the process was ended because its function uses more than its limit.

        A resident and the template that it was forked from are one function's. The template is ended first.
        """
        limit_bytes = process.limit_bytes
        template = self._manager.template_of(process)
        if template is not None and limit_bytes and _exceed(limit_bytes, process, template):
            self._fail_for_its_limit(template, process.meter.glance() + template.meter.glance())
        if not limit_bytes or not _exceed(limit_bytes, process):
            return False
        self._fail_for_its_limit(process, process.meter.glance())
        return True

    def _fail_for_its_limit(self, process: Process, took_bytes: int) -> None:
        text = "the function took {:.0f} MiB of memory, its limit is {:.0f} MiB; raise the limit".format(
            took_bytes / _MIB, process.limit_bytes / _MIB
        )
        self._manager.fail(process, Failure("out_of_memory", text))

    def _end_for_the_containers_limit(self, process: Process) -> None:
        took_bytes = sum(each.meter.glance() for each in self._manager.processes())
        text = "the functions of the container took {:.0f} MiB, more than its {:.0f}; this one was ended for it".format(
            took_bytes / _MIB, self._limit_bytes / _MIB
        )
        self._manager.fail(process, Failure("out_of_memory", text))

    def _spare_templates(self) -> bool:
        """End the templates that can be given up. The next look finds out whether that was enough."""
        spare = self._manager.spare()
        for template in spare:
            text = "given up: the functions of the container need its {:.0f} MiB for themselves".format(
                self._limit_bytes / _MIB
            )
            self._manager.fail(template, Failure("out_of_memory", text))
        return bool(spare)

    def adopted(self, group: int | None) -> list[int]:
        """The processes of a group whose parents have ended."""
        return of_group(children(os.getpid()), group)

    def _container_exceeds(self) -> bool:
        processes = self._manager.processes()
        if not self._limit_bytes or sum(map(_at_most, processes)) <= self._limit_bytes:
            return False
        return sum(p.meter.glance() if _is_known(p) else p.meter.exact() for p in processes) > self._limit_bytes


def _exceed(limit_bytes: int, *processes: Process) -> bool:
    """Whether processes use more than this together. Measures exactly only if a quick estimate is above it."""
    if sum(process.meter.most() for process in processes) <= limit_bytes:
        return False
    return sum(process.meter.exact() for process in processes) > limit_bytes


def _is_known(process: Process) -> bool:
    return process.state is State.READY and not process.meter.is_stale


def _at_most(process: Process) -> int:
    return process.meter.glance() if _is_known(process) else process.meter.most()


def _least_needed(process: Process) -> tuple[bool, float]:
    """Sort key for ending processes: first those that are loading, the newest first. A running one is alone."""
    return process.state is not State.LOADING, -process.began_at
