"""Whether what has been killed can run code of its users no more, long before its memory has been given back.

A process that was sent SIGKILL runs none of its own code from the moment on at which each of its threads has begun to
exit, which the kernel shows as a flag of the thread (``PF_EXITING``, in the field ``flags`` of ``/proc/PID/stat``). It
then still has to give back its memory, tens of milliseconds for some hundred megabytes.

A thread needs a processor to begin to exit, and on a machine of few processors it waits for one behind the first of its
neighbours, which gives back its memory already. But it need not get there: a thread that was asleep in the kernel
before it was sent SIGKILL, and has not been on a processor since, will find the signal before it returns to its
program. How often a thread has been put on a processor is the third number of ``/proc/PID/task/TID/schedstat``. Most
residents are idle and so asleep.

A process that has been sent SIGKILL starts no others: a fork that was under way has either attached the child to the
tree before, or fails. So whoever walks the tree after the kill finds all that is left of it, but for a process whose
parent ends during the walk and that is handed on to an ancestor which was looked at before. Hence nothing is believed
after one walk: in a second one nothing new must be found. Sources: `docs/adr/0018-hand-over-without-waiting.md`.
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
"""Places in ``/proc/PID/stat`` after the name."""


class _Stat(NamedTuple):
    is_exiting: bool
    is_asleep: bool


class Quiet:
    """Kills the processes that it finds, and says when none of them can run its user's code any more."""

    def __init__(self, on_exiting: Callable[[int], None]) -> None:
        """`on_exiting` is told of each process, by its id, once that is so of all its threads."""
        self._on_exiting = on_exiting
        self._known: set[int] = set()
        self._quiet: set[int] = set()
        self._asleep: dict[int, int] = {}
        """By thread that was asleep before it was killed: how often it had been on a processor."""

    def note_asleep(self, pids: Iterable[int]) -> list[int]:
        """Take note of the threads that are asleep of processes that will be killed next.

        Returns the processes of which all threads are asleep.
        """
        return [pid for pid in pids if self._note_all_asleep(pid)]

    def _note_all_asleep(self, pid: int) -> bool:
        noted = [self._note_asleep(pid, tid) for tid in _threads(pid)]  # each of them, also after one that is awake
        return all(noted)

    def _note_asleep(self, pid: int, tid: int) -> bool:
        # In this order: a thread that sleeps now, and is not put on a processor from here on, stays where it is.
        runs = _runs(pid, tid)
        stat = _stat("/proc/{}/task/{}/stat".format(pid, tid))
        if runs is None or stat is None or not stat.is_asleep:
            return False
        self._asleep[tid] = runs
        return True

    def look(self, ending: Iterable[int], staying: Collection[int | None]) -> bool:
        """Walk once over all below this process but the families of those `staying`, named by their groups.

        `ending` are processes that have been told to end, wherever in the tree they are.
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
        """Whether all that was found last can run no more, though there may be others."""
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
    """Children of this process that are in none of these groups."""
    found = []
    for pid in children(os.getpid()):
        with suppress(ProcessLookupError):
            if os.getpgid(pid) not in groups:
                found.append(pid)
    return found


def is_exiting(pid: int, asleep: Mapping[int, int] | None = None) -> bool:
    """Whether no thread of a process that was killed will run its program again; true also when there is none.

    `asleep`: threads that were asleep before it was killed, with how often each had been on a processor.
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
    """How often a thread has been put on a processor; None where the kernel does not tell, or it has ended."""
    raw = _read("/proc/{}/task/{}/schedstat".format(pid, tid))
    runs = int(raw.split()[2]) if raw else 0
    return runs or None  # a kernel that does not count says 0


def _stat(path: str) -> _Stat | None:
    """None when there is no such thread any more."""
    raw = _read(path)
    if not raw:
        return None
    # The name, in brackets, may contain anything.
    fields = raw.rpartition(b")")[2].split()
    is_exiting = bool(int(fields[_FLAGS]) & _PF_EXITING) or fields[_STATE] in b"ZXx"
    return _Stat(is_exiting, is_asleep=fields[_STATE] in b"SDTtI")


def _read(path: str) -> bytes:
    """Empty when there is no such thread any more."""
    # On the path of a call, so without the file object's dozen of system calls.
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
