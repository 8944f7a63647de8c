"""The HTTP server: uvicorn inside our own event loop, without its signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from ..errors import HostError

BACKLOG = 2048
SHUTDOWN_S = 5
"""Longest wait for open requests when the server stops; who wants them to end sooner ends what they wait for."""
KEEP_ALIVE_S = 75
"""Longer than the pools of common clients keep idle connections, so that they are the ones to close."""


class HttpServer:
    """One listening socket and the application behind it. `start` it, then `stop` it."""

    def __init__(self, app: ASGIApp, host: str, port: int) -> None:
        self._socket = _listen(host, port)
        self._server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=SHUTDOWN_S,
                backlog=BACKLOG,
            )
        )
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self) -> None:
        """Return when requests are answered."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        self._serving.add_done_callback(lambda _: self._server.started_event.set())
        await self._server.started_event.wait()
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Take no new connections, let open requests end, and close."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._socket.close()


class _Server(uvicorn.Server):
    """Signals belong to whoever runs the platform; and start-up is an event, not something to look for."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.started_event = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise HostError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port or address") from error
    return listening
