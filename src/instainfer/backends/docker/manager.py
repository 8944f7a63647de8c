"""The manager of one container of Docker: started with its container, met at a door, and gone with its container."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import HostError
from ..last_words import LOG, how_it_ended
from .door import Door
from .engine import Engine
from .settings import limits

log = logging.getLogger(__name__)

_LAST_REPORTS_S = 5.0
"""Seconds after a container's end in which the rest of its reports must have been read."""
_KILLED_BY = 128
"""An exit code is a signal's number above this one if the signal ended the process."""


class DockerManager:
    """A `instainfer.backends.managed.Manager`."""

    def __init__(self, engine: Engine, container: str, door: Door, folder: Path) -> None:
        self.disconnected = asyncio.Event()
        self._engine = engine
        self._container = container
        self._door = door
        self._log = folder / LOG
        self._removed = asyncio.ensure_future(engine.removed(container))
        self._asked: set[asyncio.Future[None]] = set()
        """Requests to the Engine that are on their way."""
        self._limit_bytes: int | None = None
        """The limit that the container is to have, if it was changed and the Engine does not know yet."""
        self._is_limiting = False

    @classmethod
    async def start(cls, engine: Engine, settings: Callable[[str], dict[str, Any]], folder: Path) -> DockerManager:
        """Start a container with the settings for a token. Raises OSError or `HostError`, and then leaves nothing."""
        door = Door(folder)
        try:
            container = await engine.create(settings(door.token))
            manager = cls(engine, container, door, folder)
            try:
                await engine.start(container)
            except BaseException:
                manager._removed.cancel()
                await asyncio.shield(engine.kill(container))
                raise
        except BaseException:
            door.close()
            raise
        return manager

    async def run(self, protocol: asyncio.Protocol) -> str:
        visitor = asyncio.ensure_future(self._door.visitor())
        try:
            await asyncio.wait({visitor, self._removed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._door.close()
        if visitor.done():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, visitor.result())
            code = await self._removed
            # A reader that is busy gets what the manager has said last. Nobody in the container is left to say more.
            with suppress(TimeoutError):
                await asyncio.wait_for(self.disconnected.wait(), _LAST_REPORTS_S)
            transport.abort()
        else:
            visitor.cancel()
            code = await self._removed
        if self._asked:
            await asyncio.wait(self._asked)
        return await asyncio.to_thread(how_it_ended, _signed(code), self._log)

    def kill(self) -> None:
        self._ask(self._engine.kill(self._container))

    def resize(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        if not self._is_limiting:
            self._is_limiting = True
            self._ask(self._limit())

    async def _limit(self) -> None:
        """Tell the Engine the latest limit, and again if it has been changed meanwhile."""
        try:
            while (limit_bytes := self._limit_bytes) is not None:
                self._limit_bytes = None
                await self._engine.limit(self._container, limits(limit_bytes))
        finally:
            self._is_limiting = False

    def _ask(self, request: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(request)
        self._asked.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Future[None]) -> None:
        self._asked.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), HostError):
            log.warning("%s", error)


def _signed(code: int | None) -> int | None:
    """An exit code, negative if a signal ended the process."""
    return _KILLED_BY - code if code is not None and code > _KILLED_BY else code
