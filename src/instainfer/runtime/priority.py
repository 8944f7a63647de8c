"""Background loads must yield the processor and the disk; a call that joins one must get them back at once.

Lowering needs no privilege but raising does, so nothing is lowered that could not be raised again. The kernel knows
priorities of threads, not of processes. Where it groups sessions (autogroup), threads are weighed only against those
of their own session, so the session (the whole container) has a priority of its own, which anyone may raise to normal.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from .linux import CAP_SYS_NICE, IO_IDLE, IO_NORMAL, has_capability, set_io_class, this_cpu

_LOW, _NORMAL = 19, 0
_NO_PARAMETER = os.sched_param(0)
_RESET_ON_FORK = getattr(os, "SCHED_RESET_ON_FORK", 0x40000000)
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

    @contextmanager
    def before_all(self) -> Iterator[None]:
        """Run before whatever is killed or exits, where that is allowed, for what takes a millisecond.

        What is killed wakes up and gives back its memory. Before its neighbours have been killed, too, and before it
        has been seen that it exits, it would have the processor for some milliseconds at a time.
        """
        is_raised = False
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_FIFO | _RESET_ON_FORK, os.sched_param(1))
            is_raised = True
        try:
            yield
        finally:
            if is_raised:
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def before_kill(self, pids: Iterable[int]) -> None:
        """Let processes that are about to be killed not displace who kills them when they wake up for it."""
        for pid in pids:
            for tid in _threads(pid):
                with suppress(OSError):  # it has ended
                    os.sched_setscheduler(int(tid), os.SCHED_BATCH, _NO_PARAMETER)

    def let_die(self, pid: int) -> None:
        """Make a process that has begun to exit give its memory back only when nobody else wants the processor.

        And on others than this one, where the call is to go on now: being idle alone, it would have this one for some
        milliseconds whenever it has had less of it than it was entitled to.
        """
        elsewhere = self._cpus - {this_cpu()}
        for tid in map(int, _threads(pid)):
            with suppress(OSError):
                os.sched_setscheduler(tid, os.SCHED_IDLE, _NO_PARAMETER)
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
