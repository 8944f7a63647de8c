"""What a function has left in the folders that all functions of a container share: removed with its last process.

Shared memory and semaphores are files in ``/dev/shm``, which outlive their process, as files in ``/tmp`` do.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from .view import SHARED_MEMORY, TEMPORARY, is_private


def remove_left_files(uid: int, remove_folder: Callable[[str], None]) -> None:
    """Remove everything there that belongs to this user id, of which no process may be left."""
    for folder in (SHARED_MEMORY, *(TEMPORARY if is_private() else ())):
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue  # this host has none
        for entry in entries:
            with suppress(OSError):  # it was removed meanwhile
                if entry.stat(follow_symlinks=False).st_uid == uid:
                    if entry.is_dir(follow_symlinks=False):
                        remove_folder(entry.path)
                    else:
                        os.unlink(entry.path)
