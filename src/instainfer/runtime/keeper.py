"""The keeper of a container: starts its manager, and ends what the manager leaves behind when it dies.

The manager is the parent of last resort of everything in its container, so it finds also those processes that have
left its session. When the manager itself is killed, by the kernel for want of memory or by somebody, they become
children of the keeper. It has no other children, so whatever it has then belonged to the container; nobody else could
tell. The keeper runs no code of functions, hears nothing from them, and ends as the manager has ended.
"""

from __future__ import annotations

import os
import resource
import signal
from contextlib import suppress
from typing import Any

from .linux import PR_SET_CHILD_SUBREAPER, die_with, prctl
from .memory import children, tells_children

_END_S = 20
"""Seconds after which processes that were killed and have not ended are left behind."""


def main(arguments: list[str]) -> int:
    """``keeper SOCKET_FD INVOKER_PID LIMIT_BYTES SCRATCH``."""
    fd, invoker, *others = arguments
    # SIGTERM and not SIGKILL, because on SIGTERM the manager ends all its processes.
    if not die_with(int(invoker), signal.SIGTERM):
        return 1
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper = os.getpid()
    manager = os.fork()
    if manager == 0:
        from .manager import main as manage  # only here, so that the keeper stays small

        return manage([fd, str(keeper), *others])
    signal.signal(signal.SIGTERM, lambda *_: os.kill(manager, signal.SIGTERM))
    os.close(int(fd))
    os.waitid(os.P_PID, manager, os.WEXITED | os.WNOWAIT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _, status = os.waitpid(manager, 0)
    if tells_children():
        _end_children()
    return _end_like(status)


def _end_children() -> None:
    """Kill all children and what becomes a child by that, and wait until none is left."""

    def give_up(*_: Any) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(_END_S)
    with suppress(ChildProcessError, TimeoutError):
        while True:
            for pid in children(os.getpid()):
                os.kill(pid, signal.SIGKILL)  # nobody else reaps it, so the number is still its own
            os.waitpid(-1, 0)
    signal.alarm(0)


def _end_like(status: int) -> int:
    """End as a process with this wait status did: by the same signal, or with the exit code that is returned."""
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code
