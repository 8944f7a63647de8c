"""One at a time, across tasks and processes: a lock on a file, awaited."""

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
    """Hold the lock of `path`; `on_wait` is called once when another task or process has it.

    The kernel frees it when its holder ends, however it ends. The file stays: removing it would part those who wait
    from those who come.
    """
    fd = await asyncio.to_thread(_open, path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        on_wait()
        await _Waiter(fd).locked()
    try:
        yield
    finally:
        os.close(fd)


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


class _Waiter:
    """Waits for a lock in a thread of its own; cancelled, it frees the lock as soon as it gets it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._loop = asyncio.get_running_loop()
        self._told: asyncio.Future[None] = self._loop.create_future()
        self._guard = threading.Lock()
        self._has_it = False
        self._abandoned = False

    async def locked(self) -> None:
        # A daemon, because nothing can interrupt it: this process must be able to end while another one builds.
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
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        with self._guard:
            if self._abandoned:
                os.close(self._fd)
                return
            self._has_it = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        if not self._told.done():
            self._told.set_result(None)


@contextmanager
def at_once(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of `path` if it is free now; whether it is. `shared` holds it together with others who do so."""
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
