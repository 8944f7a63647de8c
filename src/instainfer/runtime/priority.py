"""Background loads must yield the processor and the disk; a call that joins one must get them back at once.

Lowering needs no privilege but raising does, so nothing is lowered that could not be raised again. The kernel knows
priorities of threads, not of processes. Where it groups sessions (autogroup), threads are weighed only against those
of their own session, so the session (the whole container) has a priority of its own, which anyone may raise to normal.
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
        """Make a process that has just been started yield to others; what it starts inherits that."""
        if self._can_raise:
            self._set(pid, _LOW, IO_IDLE)

    def let_die(self, pid: int) -> None:
        """Let a process that ends give its memory back only when nobody else wants the processor.

        And on another processor than this one, where the call is to go on now: the kernel takes some milliseconds until
        it interrupts a process that gives memory back.
        """
        elsewhere = self._cpus - {this_cpu()}
        for tid in map(int, _threads(pid)):
            with suppress(OSError):  # it has ended
                os.sched_setscheduler(tid, os.SCHED_IDLE, os.sched_param(0))
                os.setpriority(os.PRIO_PROCESS, tid, _LOW)
                if elsewhere:
                    os.sched_setaffinity(tid, elsewhere)

    def restore(self, pids: list[int]) -> None:
        """Give processes their normal priority back, in all their threads."""
        if self._can_raise:
            for pid in pids:
                self._set(pid, _NORMAL, IO_NORMAL)

    def set_session(self, low: bool) -> None:
        """Make the container as a whole yield, or no longer: it holds nothing but background loads."""
        if self._can_raise and self._autogroup and low is not self._session_is_low:
            # EAGAIN: an unprivileged process may change it ten times a second only; the next change will do.
            with suppress(OSError), open("/proc/self/autogroup", "w", encoding="ascii") as nice:
                nice.write(str(_LOW if low else _NORMAL))
                nice.flush()
                self._session_is_low = low

    def _set(self, pid: int, nice: int, io_class: int) -> None:
        done: set[str] = set()
        # A thread may be started by one that is not done yet: look again until there is no new one.
        while True:
            new = set(_threads(pid)) - done
            if not new:
                return
            for tid in new:
                with suppress(OSError):  # it has ended
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
