"""Folders that functions have filled are removed, whatever is in them: any depth, any number, links never followed.

No path grows and no list does: what lies two levels deep is moved up, into the folder that is being removed, until
nothing lies deeper than that. It may take long, so the manager leaves it to a thread.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from itertools import count
from queue import SimpleQueue

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Remover:
    """Removes folders one after the other, in a thread of its own, which starts with the first folder."""

    def __init__(self) -> None:
        self._waiting: SimpleQueue[str | None] = SimpleQueue()
        self._thread: threading.Thread | None = None

    def remove(self, path: str) -> None:
        """Remove an empty folder, as most are, at once. Leave any other folder to the thread."""
        if _removed_empty(path):
            return
        self._waiting.put(path)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while (path := self._waiting.get()) is not None:
            remove_tree(path)

    def finish(self, within_s: float) -> None:
        """Wait until everything has been removed, for at most `within_s`. No further folders are accepted."""
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(within_s)


def remove_tree(path: str, until: float | None = None) -> bool:
    """Remove a folder and all in it, as far as that is possible before `until` (monotonic seconds).

    Returns whether nothing is left.
    """
    if _removed_empty(path):
        return True
    try:
        top = _open(path)
    except OSError:
        return not os.path.lexists(path)
    try:
        numbers = count()
        is_less = True
        while is_less and not _is_over(until):
            is_less = _clear(top, numbers, until)
    except OSError:
        pass  # the content that cannot be read stays
    finally:
        os.close(top)
    return _removed_empty(path)


def _removed_empty(path: str) -> bool:
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _clear(top: int, numbers: count[int], until: float | None) -> bool:
    """Remove the files in a folder, and move deeper content up into it. Returns False when nothing could be done."""
    is_less = False
    with os.scandir(top) as entries:
        for entry in entries:
            if _is_over(until):
                break
            if _removed(top, entry.name):
                is_less = True
                continue
            with suppress(OSError):
                is_less |= _emptied(top, entry.name, numbers, until)
                os.rmdir(entry.name, dir_fd=top)
    return is_less


def _emptied(top: int, name: str, numbers: count[int], until: float | None) -> bool:
    """Do the same for a folder in it. Raises OSError when that folder cannot be opened."""
    is_less = False
    folder = _open(name, top)
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if _is_over(until):
                    break
                is_less |= _removed(folder, entry.name) or _moved(folder, entry.name, top, numbers)
    finally:
        os.close(folder)
    return is_less


def _removed(folder: int, name: str) -> bool:
    """Remove a file or an empty folder. Returns whether that was possible."""
    for remove in (os.unlink, os.rmdir):
        with suppress(OSError):
            remove(name, dir_fd=folder)
            return True
    return False


def _moved(folder: int, name: str, top: int, numbers: count[int]) -> bool:
    with suppress(OSError):
        os.close(_open(name, folder))  # it must be writable to be moved
    for _ in range(100):  # names may be taken
        try:
            os.rename(name, ".removed-{}".format(next(numbers)), src_dir_fd=folder, dst_dir_fd=top)
        except OSError:
            continue
        return True
    return False


def _open(name: str, parent: int | None = None) -> int:
    """Open a folder, never through a link. Its mode is changed if that is needed. Raises OSError."""
    try:
        fd = os.open(name, _FOLDER, dir_fd=parent)
        if os.fstat(fd).st_mode & 0o700 == 0o700:
            return fd
    except PermissionError:
        fd = os.open(name, _FOLDER | os.O_PATH, dir_fd=parent)
    try:
        os.chmod("/proc/self/fd/{}".format(fd), 0o700)
        return os.open(name, _FOLDER, dir_fd=parent)
    finally:
        os.close(fd)


def _is_over(until: float | None) -> bool:
    return until is not None and time.monotonic() >= until
