"""Checks that this process can be forked: it must have no other threads, no connections, and no device in use."""

from __future__ import annotations

import os
import sys

_CONNECTIONS = ("socket:", "pipe:", "anon_inode:")


class ForkSafety:
    """Finds what has been opened or started since this object was made."""

    def __init__(self) -> None:
        self._fds = _connections()

    def offence(self, doing: str = "its import") -> str | None:
        """The reason why this process can no longer be forked. None if it can."""
        if _threads() > 1:
            # Some libraries (OpenBLAS) end their threads before a fork and start new ones when they need them.
            _probe()
            if _threads() > 1:
                return "{} starts a thread, which a forked process would not have".format(doing)
        opened = _connections() - self._fds
        if opened:
            kinds = sorted({target.split(":")[0] if ":[" in target else target for _, target in opened})
            return "{} opens a connection ({}), which forked processes would share".format(doing, ", ".join(kinds))
        torch = sys.modules.get("torch")
        cuda = getattr(torch, "cuda", None)
        if cuda is not None and cuda.is_initialized():
            return "{} begins to use the GPU, which cannot be shared by forking".format(doing)
        return None


def _threads() -> int:
    return len(os.listdir("/proc/self/task"))


def _connections() -> set[tuple[str, str]]:
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink("/proc/self/fd/" + fd)
        except OSError:
            continue  # the descriptor with which the folder is listed
        if target.startswith(_CONNECTIONS):
            found.add((fd, target))
    return found


def _probe() -> None:
    """Fork once, because some libraries end their threads at a fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
