"""Removes the shared memory that functions have left behind: segments and semaphores, which outlive their process."""

from __future__ import annotations

import os
from contextlib import suppress

from .removal import Remover

_FOLDER = "/dev/shm"


def remove_shared_memory(uid: int, remover: Remover, folder: str = _FOLDER) -> None:
    """Remove everything that belongs to this user id, of which no process is left. Folders are left to `remover`."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return  # this host has none
    for entry in entries:
        with suppress(OSError):  # it was removed meanwhile
            if entry.stat(follow_symlinks=False).st_uid == uid:
                if entry.is_dir(follow_symlinks=False):
                    remover.remove(entry.path)
                else:
                    os.unlink(entry.path)
