"""Holds a process stopped, so that nothing but its tracer can continue it (``ptrace`` of Linux).

A stopped process goes on when it gets SIGCONT. A process can have sent itself this signal in advance, for example with
a timer. Whoever traces a process is asked first: a traced process that has stopped itself stays stopped, whatever
signals it gets except SIGKILL, until its tracer lets it go on.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from .linux import ptrace

_CONT, _DETACH, _SEIZE, _INTERRUPT = 7, 17, 0x4206, 0x4207
_EVENT_STOP = 128
_EXITKILL = 1 << 20
"""The traced process is killed when its tracer ends."""


def hold(pid: int) -> bool:
    """Trace a process from now on. Returns whether this host allows it.

    Each stop of the process is then reported by ``waitpid``, and needs a `go_on`.
    """
    try:
        ptrace(_SEIZE, pid, 0, _EXITKILL)
    except OSError:
        return False
    return True


def stop(pid: int) -> None:
    """Stop a process that is traced, whatever it does. ``waitpid`` reports when it has stopped."""
    with suppress(OSError):
        ptrace(_INTERRUPT, pid, 0, 0)


def let_go(pid: int) -> None:
    """Let a stopped process go on, and trace it no longer."""
    with suppress(OSError):
        ptrace(_DETACH, pid, 0, 0)


def go_on(pid: int, signal_number: int = 0) -> None:
    """Let a stopped process go on, and deliver this signal to it (0 for none). Without effect on one that has ended."""
    with suppress(OSError):
        ptrace(_CONT, pid, 0, signal_number)


def has_stopped_itself(status: int) -> bool:
    """Whether a wait status says that a process stops because of SIGSTOP."""
    return os.WIFSTOPPED(status) and os.WSTOPSIG(status) == signal.SIGSTOP and status >> 16 == 0


def was_stopped(status: int) -> bool:
    """Whether a wait status says that a process has stopped because of `stop`."""
    return os.WIFSTOPPED(status) and status >> 16 == _EVENT_STOP


def signal_of(status: int) -> int:
    """The signal that a traced process stopped for, to be delivered to it. 0 for a stop that no signal has caused."""
    return 0 if status >> 16 else os.WSTOPSIG(status)
