"""Runs uvicorn as the HTTP server in the platform's event loop, without uvicorn's signal handling."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp

from ..errors import HostError
from .connections import Bounds, connection_class

BACKLOG = 2048
SHUTDOWN_S = 5
"""Longest time that `HttpServer.stop` waits for open requests. `Controller.cut_short` makes them end at once."""
_PROBES = ((socket.TCP_KEEPIDLE, 30), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
"""TCP keep-alive: probes begin after 30 s of silence and come every 10 s; after 3 lost ones the connection ends."""

log = logging.getLogger(__name__)


class HttpServer:
    """An HTTP server for one application. The constructor opens the listening socket; `start` begins to answer.

    Port 0 takes a free port, which `url` shows. Raises `HostError` when the address cannot be used.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, bounds: Bounds | None = None) -> None:
        bounds = _within_descriptors(bounds if bounds is not None else Bounds())
        self._socket = _listen(host, port)
        self._server = _Server(
            uvicorn.Config(
                app,
                http=connection_class(bounds),
                ws="none",
                lifespan="off",
                loop="none",
                log_config=None,
                log_level="error",  # warnings are about invalid requests of strangers, which could flood the log
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=math.ceil(bounds.idle_s),
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
        """Return when the server answers requests."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))
        self._serving.add_done_callback(lambda _: self._server.started_event.set())
        await self._server.started_event.wait()
        if self._serving.done():
            await self._serving

    async def stop(self) -> None:
        """Accept no more connections, wait up to `SHUTDOWN_S` for open requests, and close the socket."""
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
        self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn's server, but the process that embeds it handles signals, and an event tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.started_event = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _within_descriptors(bounds: Bounds) -> Bounds:
    """Limit the connections to half of this process's file descriptors. Containers and records need the other half."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or bounds.connections <= soft // 2:
        return bounds
    log.warning("only %d connections at a time: this process may open %d files; raise ulimit -n", soft // 2, soft)
    return replace(bounds, connections=soft // 2)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit these options, so the connection of a client that vanished ends after a while.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _PROBES:
            listening.setsockopt(socket.IPPROTO_TCP, option, value)
        listening.bind((host, port))
        listening.setblocking(False)
    except OSError as error:
        listening.close()
        raise HostError(f"cannot listen on {host}:{port}: {error.strerror}; choose another port or address") from error
    return listening
