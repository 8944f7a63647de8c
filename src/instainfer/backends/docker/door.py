"""The place where the platform waits for a container's manager: a Unix socket in a folder that both see.

Whoever connects has to say the container's token first. Anybody else is refused, and the platform goes on waiting.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
from contextlib import suppress
from pathlib import Path

SOCKET = "manager.sock"
_TOKEN_BYTES = 32
_TOKEN_S = 5.0
"""Seconds that a visitor may take to say the token."""


class Door:
    """Listens from its making on, and lets one visitor in."""

    def __init__(self, folder: Path) -> None:
        """Listen in `folder`, which is closed to all but the platform's user and the container. Raises OSError."""
        self.token = secrets.token_hex(_TOKEN_BYTES)
        self._path = folder / SOCKET
        self._listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            folder.chmod(0o700)
            at = os.open(folder, os.O_PATH | os.O_DIRECTORY)
            try:
                # An address has room for 107 bytes, which the path of the folder may exceed.
                self._listening.bind(f"/proc/self/fd/{at}/{SOCKET}")
            finally:
                os.close(at)
            self._listening.listen(1)
            self._listening.setblocking(False)
        except OSError:
            self._listening.close()
            raise

    async def visitor(self) -> socket.socket:
        """The connection of the first one who says the token."""
        loop = asyncio.get_running_loop()
        while True:
            visitor, _ = await loop.sock_accept(self._listening)
            try:
                async with asyncio.timeout(_TOKEN_S):
                    said = await self._said(visitor)
            except (OSError, TimeoutError):
                said = b""
            except BaseException:
                visitor.close()
                raise
            if hmac.compare_digest(said, self.token.encode()):
                return visitor
            visitor.close()

    async def _said(self, visitor: socket.socket) -> bytes:
        loop = asyncio.get_running_loop()
        said = b""
        while missing := len(self.token) - len(said):
            piece = await loop.sock_recv(visitor, missing)
            if not piece:
                break
            said += piece
        return said

    def close(self) -> None:
        """Let nobody in any more."""
        self._listening.close()
        with suppress(OSError):
            self._path.unlink()
