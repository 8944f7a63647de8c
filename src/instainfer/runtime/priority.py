"""Priorities: background loads yield the processor and the disk, and a call that joins one raises it again at once.

Lowering a priority needs no privilege, but raising it does. So nothing is lowered that could not be raised again. The
kernel has priorities of threads, not of processes. Where it groups sessions (autogroup), a thread competes only with
the threads of its own session, and the session as a whole (the container) has a priority of its own. Raising that one
to normal needs no privilege.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress

from .linux import CAP_SYS_NICE, IO_IDLE, IO_NORMAL, has_capability, set_io_class, this_cpu

_LOW, _NORMAL = 19, 0
_RLIMIT_FOR_NORMAL = 20  # RLIMIT_NICE counts the other way round: 20 - nice


class Priority:
    """Lowers and raises processes of this session."""

    def __init__(self) -> None:
        self._can_raise = has_capability(CAP_SYS_NICE) or _soft_nice_limit() >= _RLIMIT_FOR_NORMAL
        self._autogroup = os.path.exists("/proc/self/autogroup")
        self._session_is_low = False
        self._cpus = os.sched_getaffinity(0)

    def lower(self, pid: int) -> None:
        """Make a process that has just been started yield to others. The processes that it starts inherit this."""
        if self._can_raise:
            self._set(pid, _LOW, IO_IDLE)

    def let_die(self, pid: int) -> None:
        """Let a process that is being ended free its memory only when no other process wants the processor.

        It does so on another processor than this one, since the call goes on here: the kernel takes some milliseconds
        until it interrupts a process that is freeing memory.
        """
        elsewhere = self._cpus - {this_cpu()}
        for tid in map(int, _threads(pid)):
            with suppress(OSError):  # the thread has ended
                os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, tid, _LOW)
                if elsewhere:
                    os.sched_setaffinity(tid, elsewhere)

    def restore(self, pids: list[int]) -> None:
        """Give all threads of these processes their normal priority back."""
        if self._can_raise:
            for pid in pids:
                self._set(pid, _NORMAL, IO_NORMAL)

    def set_session(self, low: bool) -> None:
        """Make the whole container yield (`low`, for one that only loads in the background), or end this."""
        if self._can_raise and self._autogroup and low is not self._session_is_low:
            # EAGAIN: an unprivileged process may change this ten times a second only. The next change will succeed.
            with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as nice:
                nice.write(str(_LOW if low else _NORMAL))
                nice.flush()
                self._session_is_low = low

    def _set(self, pid: int, nice: int, io_class: int) -> None:
        done: set[str] = set()
        # A thread whose priority has not been set yet may start another one. So look again until no thread is new.
        while True:
            new = set(_threads(pid)) - done
            if not new:
                return
            for tid in new:
                with suppress(OSError):  # the thread has ended
                    os.setpriority(os.PRIO_PROCESS, int(tid), nice)
                    set_io_class(int(tid), io_class)
            done |= new


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir("/proc/{}/task".format(pid))
    except OSError:
        return []


def _soft_nice_limit() -> int:
    soft = resource.getrlimit(resource.RLIMIT_NICE)[0]
    return _RLIMIT_FOR_NORMAL if soft == resource.RLIM_INFINITY else soft
