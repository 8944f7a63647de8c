"""Processes on their way out: what is to be said of each once it is gone, and those that nobody knows any more."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

from ..wire.messages import Failure
from .memory import children
from .process import Process


class Farewell(NamedTuple):
    """What is to be said of a process once it is gone."""

    process: Process
    failure: Failure | None
    load_failed: bool = False
    again: bool = False
    """Nothing yet: it is to be started once more."""


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

    def note_reaped(self, pid: int) -> bool:
        """Whether it was one of these, or a stray."""
        if pid in self._strays:
            self._strays.discard(pid)
            return True
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

    def hunt_strays(self, living: Iterable[Process]) -> None:
        """Kill our children that belong to no group of ours: their function has ended, or they had left its group."""
        heads = {process.pid for process in (*living, *self._farewells)}
        for pid in children(os.getpid()):
            if pid in self._strays:
                continue
            with suppress(ProcessLookupError):
                if os.getpgid(pid) not in heads:
                    os.kill(pid, signal.SIGKILL)
                    self._strays.add(pid)
