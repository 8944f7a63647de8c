"""Finds out whether killed processes can still run their program, long before the kernel has freed their memory.

A process that was sent SIGKILL runs none of its program any more when each of its threads has begun to exit. The kernel
shows this as a flag of the thread: ``PF_EXITING``, in the field ``flags`` of ``/proc/PID/task/TID/stat``. After that,
the kernel still has to free the memory, which takes tens of milliseconds for some hundred megabytes.

A thread needs a processor to begin to exit. On a machine with few processors, it may have to wait until the memory of
the first killed process has been freed. But there is no need to wait for this: a thread that was asleep in the kernel
before it was sent SIGKILL, and has not been on a processor since, will find the signal before it returns to its
program. The third number of ``/proc/PID/task/TID/schedstat`` counts how often a thread has been put on a processor.
Most residents are idle, and so all their threads are asleep.

A process that was sent SIGKILL starts no other processes: a fork that was under way has either added the child to the
process tree already, or fails. So a walk over the tree after the kill finds all processes that are left, with one
exception: if a process ends during the walk, its children get a new parent, which the walk may have visited before.
Therefore one walk is not believed; a second walk must find nothing new. For the sources see
`docs/adr/0018-hand-over-without-waiting.md`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from typing import NamedTuple

from .memory import children

_PF_EXITING = 0x4
_STATE, _FLAGS = 0, 6
"""Positions in ``/proc/PID/stat``, counted from the first field after the name."""


class _Stat(NamedTuple):
    is_exiting: bool
    is_asleep: bool


class Quiet:
    """Kills the processes that it finds, and tells when none of them can run its program any more."""

    def __init__(self, on_exiting: Callable[[int], None]) -> None:
        """`on_exiting` is called with the id of each process when all threads of that process have begun to exit."""
        self._on_exiting = on_exiting
        self._known: set[int] = set()
        self._quiet: set[int] = set()
        self._asleep: dict[int, int] = {}
        """For each thread that was asleep before it was killed: how often it had been put on a processor."""

    def note_asleep(self, pids: Iterable[int]) -> list[int]:
        """Remember the sleeping threads of processes that will be killed next.

        Returns the processes whose threads are all asleep.
        """
        return [pid for pid in pids if self._note_all_asleep(pid)]

    def _note_all_asleep(self, pid: int) -> bool:
        noted = [self._note_asleep(pid, tid) for tid in _threads(pid)]  # a list, so that no thread is left out
        return all(noted)

    def _note_asleep(self, pid: int, tid: int) -> bool:
        # The count must be read before the state: then an unchanged count proves that the thread has slept since.
        runs = _runs(pid, tid)
        stat = _stat("/proc/{}/task/{}/stat".format(pid, tid))
        if runs is None or stat is None or not stat.is_asleep:
            return False
        self._asleep[tid] = runs
        return True

    def look(self, ending: Iterable[int], staying: Collection[int | None]) -> bool:
        """Walk once over the process tree below this process. Returns whether nothing in it can run any more.

        `ending` are processes that were told to end, wherever in the tree they are. `staying` are the process groups
        that are left out.
        """
        found = _walk(ending, staying)
        fresh = found - self._known
        for pid in fresh:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._known = found
        self._quiet &= found
        for pid in found - self._quiet:
            if is_exiting(pid, self._asleep):
                self._quiet.add(pid)
                self._on_exiting(pid)
        return not fresh and self._quiet == found

    @property
    def has_seen_all_quiet(self) -> bool:
        """Whether no process found by the last walk can run any more. There may be others that it did not find."""
        return self._quiet == self._known


def _walk(ending: Iterable[int], staying: Collection[int | None]) -> set[int]:
    pending = [*ending, *strays(staying)]
    found: set[int] = set()
    while pending:
        pid = pending.pop()
        if pid not in found:
            found.add(pid)
            pending += children(pid)
    return found


def strays(groups: Collection[int | None]) -> list[int]:
    """The children of this process that are in none of these process groups."""
    found = []
    for pid in children(os.getpid()):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) not in groups:
                found.append(pid)
    return found


def is_exiting(pid: int, asleep: Mapping[int, int] | None = None) -> bool:
    """Whether no thread of a killed process will run its program again. True also for a process that does not exist.

    `asleep` holds the threads that were asleep before the kill, and how often each had been put on a processor.
    """
    return all(_is_done(pid, tid, {} if asleep is None else asleep) for tid in _threads(pid))


def _is_done(pid: int, tid: int, asleep: Mapping[int, int]) -> bool:
    before = asleep.get(tid)
    if before is not None and _runs(pid, tid) == before:
        return True
    stat = _stat("/proc/{}/task/{}/stat".format(pid, tid))
    return stat is None or stat.is_exiting


def _threads(pid: int) -> list[int]:
    try:
        return [int(tid) for tid in os.listdir("/proc/{}/task".format(pid))]
    except OSError:
        return []


def _runs(pid: int, tid: int) -> int | None:
    """How often a thread has been put on a processor. None if the kernel does not count it, or the thread has ended."""
    raw = _read("/proc/{}/task/{}/schedstat".format(pid, tid))
    runs = int(raw.split()[2]) if raw else 0
    return runs or None  # a kernel that does not count gives 0


def _stat(path: str) -> _Stat | None:
    """None when the thread has ended."""
    raw = _read(path)
    if not raw:
        return None
    # The name of the process, in brackets, may contain any characters.
    fields = raw.rpartition(b")")[2].split()
    is_exiting = bool(int(fields[_FLAGS]) & _PF_EXITING) or fields[_STATE] in b"ZXx"
    return _Stat(is_exiting, is_asleep=fields[_STATE] in b"SDTtI")


def _read(path: str) -> bytes:
    """The content of a file in ``/proc``. Empty when the thread has ended."""
    # Every hand-over runs this code, so it does without file objects, which cost a dozen system calls.
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(fd, 1024)
    except OSError:
        return b""
    finally:
        os.close(fd)
