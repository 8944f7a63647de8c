"""The processes that are being ended: what to report about each once it is gone, and strays of ended functions."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from ..wire.messages import Failure
from .process import Process
from .quiet import Quiet

_LOOK_S = 0.001


class Farewell(NamedTuple):
    """What the manager reports about a process once it is gone."""

    process: Process
    failure: Failure | None
    load_failed: bool = False
    again: bool = False
    """True: nothing is reported, and the process is started once more."""
    is_told: bool = False
    """True: nothing is reported, since its end was reported before it came."""


class Ends:
    """All processes that were told to end and are not gone yet."""

    def __init__(self) -> None:
        self._farewells: dict[Process, Farewell] = {}
        self._strays: set[int] = set()
        """Processes that had left their function's group and outlived the function. Killed, and not reaped yet."""

    def add(self, farewell: Farewell) -> None:
        """Add a farewell. It replaces an earlier one for the same process."""
        self._farewells[farewell.process] = farewell

    def of(self, key: str) -> Farewell | None:
        return next((f for f in self._farewells.values() if f.process.key == key), None)

    def keys(self) -> set[str]:
        return {process.key for process in self._farewells}

    def processes(self) -> list[Process]:
        return list(self._farewells)

    def unborn(self) -> list[Process]:
        return [process for process in self._farewells if process.pid is None]

    def total_bytes(self) -> int:
        return sum(process.resident_bytes for process in self._farewells)

    @property
    def all_gone(self) -> bool:
        return not self._farewells and not self._strays

    def are_quiet(self, quiet: Quiet, living: Iterable[Process]) -> bool:
        """Whether only the families of `living` can still run code of a function, as found by one walk."""
        if self.unborn():
            return False  # a template may fork such a process at any moment
        heads = [process.pid for process in self._farewells if process.pid is not None and not process.is_reaped]
        return quiet.look(heads, {process.pid for process in living})

    def is_told(self, key: str) -> None:
        """Report nothing about the end of this function's process."""
        farewell = self.of(key)
        if farewell is not None:
            self.add(farewell._replace(load_failed=False, again=False, is_told=True))

    def note_reaped(self, pid: int) -> bool:
        """Note that a process was reaped. Returns whether it is the head of one of these."""
        self._strays.discard(pid)
        for process in self._farewells:
            if process.pid == pid:
                process.is_reaped = True
                return True
        return False

    def next_look_at(self) -> float | None:
        """When to look again whether a process is gone, in monotonic seconds. None if a signal will tell.

        The kernel says that a process has ended a moment before nothing is left of it. When its parent is the manager,
        the manager learns of it later than that.
        """
        late = any(p.is_reaped and not p.is_child for p in self._farewells)
        return time.monotonic() + _LOOK_S if late else None

    def take_gone(self) -> list[Farewell]:
        """Remove and return the farewells of the processes of which nothing is left."""
        gone = [farewell for process, farewell in self._farewells.items() if process.is_gone]
        for farewell in gone:
            del self._farewells[farewell.process]
        return gone

    def hunt(self, found: Iterable[int], living: Iterable[Process]) -> None:
        """Kill the processes that belong to no living function: their function has ended, or they left its group.

        `found` are children of the manager. They must have been listed before the messages were read from which
        `living` is known. A process that a template forks sends a message before it becomes a child of the manager, so
        none of `found` can be a new process that is not among `living` yet.
        """
        groups = {process.pid for process in living}
        heads = {process.pid for process in self._farewells}
        for pid in found:
            with suppress(ProcessLookupError):
                if pid not in heads and pid not in self._strays and os.getpgid(pid) not in groups:
                    os.kill(pid, signal.SIGKILL)
                    self._strays.add(pid)
