"""The keeper of a container: starts its manager, and ends what the manager leaves behind when it dies.

Where the host allows it, the manager is the first process of namespaces of its own (`namespaces`), and the kernel ends
what it leaves behind. Elsewhere it is the parent of last resort of everything in its container, so it finds also those
processes that have left its session. When the manager itself is killed, by the kernel for want of memory or by
somebody, they become children of the keeper. It has no other children, so whatever it has then belonged to the
container; nobody else could tell. The keeper runs no code of functions, hears nothing from them, and ends as the
manager has ended.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
from contextlib import suppress
from typing import Any

from . import namespaces
from .linux import PR_SET_CHILD_SUBREAPER, die_with, prctl
from .memory import children, tells_children

_END_S = 20
"""Seconds after which processes that were killed and have not ended are left behind."""


def main(arguments: list[str]) -> int:
    """``keeper SOCKET_FD INVOKER_PID LIMIT_BYTES SCRATCH own|as-is own-uid|shared-uid``.

    ``own``: the manager gets namespaces of its own. ``shared-uid``: as root, functions without a user id of their own
    are allowed.
    """
    fd, invoker, limit_bytes, scratch, how, uid = arguments
    # SIGTERM and not SIGKILL, because on SIGTERM the manager ends all its processes.
    if not die_with(int(invoker), signal.SIGTERM):
        return 1
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    keeper, is_user, host = os.getpid(), os.geteuid() != 0, -1
    if how == "own":
        host = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # before this process has other mounts
        namespaces.begin()
    manager = os.fork()
    if manager == 0:
        may_share_uid = uid == "shared-uid"
        return _manage(int(fd), keeper, int(limit_bytes), scratch, host, is_user=is_user, may_share_uid=may_share_uid)
    signal.signal(signal.SIGTERM, lambda *_: os.kill(manager, signal.SIGTERM))
    os.close(int(fd))
    os.waitid(os.P_PID, manager, os.WEXITED | os.WNOWAIT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _, status = os.waitpid(manager, 0)
    if tells_children():
        _end_children()
    return _end_like(status)


def _manage(
    fd: int, keeper: int, limit_bytes: int, scratch: str, host: int, *, is_user: bool, may_share_uid: bool
) -> int:
    """Be the manager. `host` is the host's root folder if this process is in namespaces of its own, else -1."""
    from .manager import serve  # these only here, so that the keeper stays small
    from .view import View

    os.set_inheritable(fd, False)
    view = View(host)
    if host >= 0:
        namespaces.settle(is_user=is_user)
        view.close_off(limit_bytes, scratch)
    elif not die_with(keeper, signal.SIGTERM):
        return 1
    return serve(socket.socket(fileno=fd), limit_bytes, scratch, view, may_share_uid=may_share_uid)


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
