"""Whether what has been killed can run code of its users no more, long before its memory has been given back.

A process that was sent SIGKILL runs none of its own code from the moment on at which each of its threads has begun to
exit, which the kernel shows as a flag of the thread (``PF_EXITING``, in the field ``flags`` of ``/proc/PID/stat``). It
then still has to give back its memory, tens of milliseconds for some hundred megabytes.

A process that has been sent SIGKILL starts no others: a fork that was under way has either attached the child to the
tree before, or fails. So whoever walks the tree after the kill finds all that is left of it, but for a process whose
parent ends during the walk and that is handed on to an ancestor which was looked at before. Hence nothing is believed
after one walk: in a second one nothing new must be found. Sources: `docs/adr/0018-hand-over-without-waiting.md`.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import NamedTuple

from .memory import children

_PF_EXITING = 0x4
_STATE, _FLAGS, _THREADS = 0, 6, 17
"""Places in ``/proc/PID/stat`` after the name."""


class _Stat(NamedTuple):
    is_exiting: bool
    threads: int


class Quiet:
    """Kills the processes that it finds, and says when none of them can run its user's code any more."""

    def __init__(self, on_exiting: Callable[[int], None]) -> None:
        """`on_exiting` is told of each process, by its id, once that is so of all its threads."""
        self._on_exiting = on_exiting
        self._known: set[int] = set()
        self._exiting: set[int] = set()

    def look(self, ending: Collection[int], staying: Collection[int | None]) -> bool:
        """Walk once over all below this process but the families of those `staying`, named by their groups.

        `ending` are processes that have been killed already, wherever in the tree they are.
        """
        found = _walk(ending, staying)
        fresh = found - self._known
        for pid in fresh.difference(ending):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        self._known = found
        self._exiting &= found
        return self.are_exiting() and not fresh

    def are_exiting(self) -> bool:
        """Whether all that were found in the last walk have begun to exit; much quicker than another walk."""
        for pid in self._known - self._exiting:
            if is_exiting(pid):
                self._exiting.add(pid)
                self._on_exiting(pid)
        return self._known == self._exiting


def _walk(ending: Collection[int], staying: Collection[int | None]) -> set[int]:
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


def is_exiting(pid: int) -> bool:
    """Whether no thread of a process will run its program again; true also when there is no such process."""
    stat = _stat("/proc/{}/stat".format(pid))
    if stat is None:
        return True
    if stat.threads <= 1:
        return stat.is_exiting
    try:
        threads = os.listdir("/proc/{}/task".format(pid))
    except OSError:
        return True
    stats = (_stat("/proc/{}/task/{}/stat".format(pid, tid)) for tid in threads)
    return all(stat is None or stat.is_exiting for stat in stats)


def _stat(path: str) -> _Stat | None:
    """None when there is no such thread any more."""
    # On the path of a call, so without the file object's dozen of system calls.
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        # The name, in brackets, may contain anything.
        fields = os.read(fd, 1024).rpartition(b")")[2].split()
    except OSError:
        return None
    finally:
        os.close(fd)
    is_exiting = bool(int(fields[_FLAGS]) & _PF_EXITING) or fields[_STATE] in b"ZXx"
    return _Stat(is_exiting, int(fields[_THREADS]))
