"""Processes on their way out: what is to be said of each once it is gone, and those that nobody knows any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from ..wire.messages import Failure
from .process import Process
from .quiet import Quiet


class Farewell(NamedTuple):
    """What is to be said of a process once it is gone."""

    process: Process
    failure: Failure | None
    load_failed: bool = False
    again: bool = False
    """Nothing yet: it is to be started once more."""
    is_told: bool = False
    """Nothing more: its end has been reported already, as it would not come."""


class Ends:
    """All that has been told to end and is not gone."""

    def __init__(self) -> None:
        self._farewells: dict[Process, Farewell] = {}
        self._strays: set[int] = set()
        """Processes that left their function's group and outlived it; killed, not reaped yet."""

    def add(self, farewell: Farewell) -> None:
        """In the place of what was to be said of the same process."""
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
        """Whether nothing but the families of `living` can run code of a function's any more; as of one walk."""
        if self.unborn():
            return False  # it may be born at any moment
        heads = [process.pid for process in self._farewells if process.pid is not None and not process.is_reaped]
        return quiet.look(heads, {process.pid for process in living})

    def is_told(self, key: str) -> None:
        """Nothing more is to be said of the end of this one."""
        farewell = self.of(key)
        if farewell is not None:
            self.add(farewell._replace(load_failed=False, again=False, is_told=True))

    def note_reaped(self, pid: int) -> bool:
        """Whether it was one of these."""
        self._strays.discard(pid)
        for process in self._farewells:
            if process.pid == pid:
                process.is_reaped = True
                return True
        return False

    def take_gone(self) -> list[Farewell]:
        """Those of which nothing is left."""
        gone = [farewell for process, farewell in self._farewells.items() if process.is_gone]
        for farewell in gone:
            del self._farewells[farewell.process]
        return gone

    def hunt(self, found: Iterable[int], living: Iterable[Process]) -> None:
        """Kill what belongs to no living function: its function has ended, or it had left the function's group.

        `found` are children of ours, listed before it was last heard who is living: a process that is being forked
        says so before it becomes our child, so that none of these can be one that is not known yet.
        """
        groups = {process.pid for process in living}
        heads = {process.pid for process in self._farewells}
        for pid in found:
            with suppress(ProcessLookupError):
                if pid not in heads and pid not in self._strays and os.getpgid(pid) not in groups:
                    os.kill(pid, signal.SIGKILL)
                    self._strays.add(pid)
