"""Gives a container process ids, mounts and IPC of its own, so that everything in it dies with its manager.

The manager becomes the first process of a process id namespace: when it ends, however that comes about, the kernel ends
all others there, whatever they did to leave their group, session or parent. None of them can send it a signal that it
does not handle, and none sees a process outside. Its keeper stays outside, because only a child can be in the new
namespace.
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


def begin() -> None:
    """Give this process new namespaces, and its next child process ids of its own. Raises OSError if it cannot."""
    enter_namespaces(user=os.geteuid() != 0)


def settle(*, is_user: bool) -> None:
    """Be the first process in there, which ends with its parent. `is_user`: the parent was no root before.

    Raises OSError.
    """
    die_with(_OUTSIDE, signal.SIGKILL)
    mount_processes("/proc")
    if is_user:
        # For mounts, and to measure processes that no other may look into. None of it is valid outside the namespace.
        bound_capabilities()
        keep_capabilities(CAP_SYS_ADMIN, CAP_SYS_PTRACE)
