"""Locks on files, which tasks and processes can wait for without blocking the event loop."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path


@asynccontextmanager
async def exclusive(path: Path, on_wait: Callable[[], None]) -> AsyncIterator[None]:
    """Hold the lock of `path`. `on_wait` is called once if another task or process holds the lock.

    The kernel frees the lock when its holder ends, even by a crash. The file is never removed, because a waiter would
    then hold the lock of the old file while a newcomer locks a new file.
    """
    fd = _open(path)  # in this thread: a cancellation while another one opens the file would leak the descriptor
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        try:
            on_wait()
        except BaseException:
            os.close(fd)
            raise
        await _Waiter(fd).locked()
    except BaseException:
        os.close(fd)
        raise
    try:
        yield
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class _Waiter:
    """Waits for a lock in a separate thread. After a cancellation the thread frees the lock as soon as it gets it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Future[None] = self._loop.create_future()
        self._guard = threading.Lock()
        self._has_it = False
        self._abandoned = False

    async def locked(self) -> None:
        # Nothing can interrupt this thread. It is a daemon, so that this process can end while another one builds.
        threading.Thread(target=self._wait, name="instainfer-lock", daemon=True).start()
        try:
            await self._told
        except asyncio.CancelledError:
            with self._guard:
                self._abandoned = True
                if self._has_it:
                    os.close(self._fd)
            raise

    def _wait(self) -> None:
        error: OSError | None = None
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        except OSError as raised:  # the file system has no locks, or too many of them
            error = raised
        with self._guard:
            if self._abandoned or error is not None:
                os.close(self._fd)
            if not self._abandoned:
                self._has_it = error is None
                self._loop.call_soon_threadsafe(self._tell, error)

    def _tell(self, error: OSError | None) -> None:
        if self._told.done():
            return
        if error is not None:
            self._told.set_exception(error)
        else:
            self._told.set_result(None)


@contextmanager
def at_once(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Take the lock of `path` if it is free; yield whether it was. Several holders can have it if all are `shared`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
