"""Gives a container process ids, mounts and IPC of its own, so that everything in it dies with its manager.

The manager becomes the first process of a process id namespace: when it ends, however that comes about, the kernel ends
all others there, whatever they did to leave their group, session or parent. None of them can send it a signal that it
does not handle, and none sees a process outside. The process that was started first stays outside as its guard, because
only a child can be in the new namespace: the guard ends when the manager does, and in the same way.
"""

from __future__ import annotations

import os
import signal

from .linux import (
    CAP_SYS_ADMIN,
    CAP_SYS_PTRACE,
    bound_capabilities,
    die_with,
    enter_namespaces,
    keep_capabilities,
    mount_processes,
)

_OUTSIDE = 0
"""The id of a parent that is outside the namespace of the process id."""


def enter(keep_open: int) -> None:
    """Return in the first process of new namespaces. This process becomes its guard, and never returns.

    The guard closes the descriptor `keep_open`, which only the new process keeps. Raises OSError when the host does not
    allow this; then this process should end.
    """
    is_user = os.geteuid() != 0
    enter_namespaces(user=is_user)
    pid = os.fork()
    if pid:
        os.close(keep_open)
        _guard(pid)
    die_with(_OUTSIDE, signal.SIGKILL)
    mount_processes("/proc")
    if is_user:
        # For mounts, and to measure processes that no other may look into. None of it is valid outside the namespace.
        bound_capabilities()
        keep_capabilities(CAP_SYS_ADMIN, CAP_SYS_PTRACE)


def _guard(pid: int) -> None:
    """Hand on SIGTERM, wait for the process, and end as it does."""
    signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
        os.kill(os.getpid(), -code)
    os._exit(code)
