"""Shared memory of a container's functions: private to the container, and removed with the process that has made it.

Segments and semaphores are files in ``/dev/shm``, which outlive their process.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from .linux import enter_mount_namespace, mount_memory

_FOLDER = "/dev/shm"
_NAME = "instainfer"
_FIRST = "/proc/1/cmdline"
_MANAGERS = (b"manager", b"joining")


def make_private(limit_bytes: int) -> None:
    """Give this process, and all that it starts, a ``/dev/shm`` of their own, where the host allows it.

    It holds at most `limit_bytes` and is gone with the last of the processes.
    """
    with suppress(OSError):  # only root can; `is_private` tells
        enter_mount_namespace()
        mount_memory(_NAME, _FOLDER, limit_bytes)


def is_private() -> bool:
    """Whether the ``/dev/shm`` that this process sees is that of its container.

    It is where the first process is a manager: then the whole machine that this process sees is its container.
    """
    with open(_FIRST, "rb") as first:
        if not set(_MANAGERS).isdisjoint(first.read().split(b"\0")):
            return True
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        return any(line.startswith("{} {} ".format(_NAME, _FOLDER)) for line in mounts)


def remove_shared_memory(uid: int, remove_folder: Callable[[str], None]) -> None:
    """Remove everything that belongs to this user id, of which no process may be left."""
    try:
        entries = list(os.scandir(_FOLDER))
    except OSError:
        return  # this host has none
    for entry in entries:
        with suppress(OSError):  # it was removed meanwhile
            if entry.stat(follow_symlinks=False).st_uid == uid:
                if entry.is_dir(follow_symlinks=False):
                    remove_folder(entry.path)
                else:
                    os.unlink(entry.path)
