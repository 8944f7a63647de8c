"""The only way out of a build: an HTTP proxy that lets it reach the hosts of packages, and nothing else.

A build has a network of its own with nothing on it but this gate. Its socket was made inside, so it can be
reached from there alone, while the connections that it makes begin outside. pip and uv are told of it as of any proxy.
A host that is no source of packages is refused by its name and remembered, so that the error of the build can say so.
Names are resolved here, and the address that was checked is the one that is connected to.
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote, urlsplit

from .origins import Host

log = logging.getLogger(__name__)

PORT = 3128
PROXY = f"http://127.0.0.1:{PORT}"
"""The gate, as a tool sees it."""
_MOST_HEAD_BYTES = 65_536
_HEAD_TIMEOUT_S = 30.0
_CONNECT_TIMEOUT_S = 30.0
_PIECE_BYTES = 65_536
_MOST_CONNECTIONS = 128
"""Connections of one tool at a time. pip has one, uv fifty; each costs the platform two descriptors."""
_END = b"\r\n\r\n"
_DROPPED = (b"proxy-", b"connection:", b"keep-alive:")
"""How those fields of a request begin that are meant for the proxy."""
_INSIDE = tuple(
    ipaddress.ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/128", "::1/128", "fc00::/7", "fe80::/10", "ff00::/8"),
    )
)
"""Addresses of this machine, of its cloud's services, and of networks that are not everybody's."""


class _Refused(Exception):
    """Carries the status line of the answer."""


@dataclass(slots=True)
class Gate:
    """Who may be reached, and who was asked for in vain."""

    hosts: frozenset[Host]
    proxies: Mapping[str, str] = field(default_factory=urllib.request.getproxies)
    """The proxies that the platform itself has to use, by scheme."""
    bypasses: Callable[[str], object] = urllib.request.proxy_bypass
    """Whether a host is reached without them."""
    refused: set[str] = field(default_factory=set)

    @asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serve a listening socket, which is closed at the end with all its connections."""
        tasks: set[asyncio.Task[None]] = set()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if len(tasks) >= _MOST_CONNECTIONS:
                writer.close()
                return
            task = cast("asyncio.Task[None]", asyncio.current_task())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            with suppress(asyncio.CancelledError):  # only this function cancels it, at the end
                await self._answer(reader, writer)

        listener.setblocking(False)
        server = await asyncio.start_server(answer, sock=listener, limit=_MOST_HEAD_BYTES)
        try:
            yield
        finally:
            server.close()
            for task in list(tasks):
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_HEAD_TIMEOUT_S):
                head = await reader.readuntil(_END)
            await self._forward(head, reader, writer)
        except _Refused as refused:
            writer.write(f"HTTP/1.1 {refused}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
            with suppress(OSError):
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            log.debug("a connection of a build ended: %s", error)
        finally:
            writer.close()

    async def _forward(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, _, fields = head.partition(b"\r\n")
        try:
            method, target, version = line.decode("ascii").split(" ")
            parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
            name, port = parts.hostname, parts.port or 80
        except ValueError:
            raise _Refused("400 Not a request") from None
        if not name or not version.startswith("HTTP/1.") or (method != "CONNECT" and parts.scheme != "http"):
            raise _Refused("400 Not a request to a proxy")
        host = self._allowed(name, port)
        is_tunnel = method == "CONNECT"
        upstream = self.proxies.get("https" if is_tunnel else "http")
        if upstream and not self.bypasses(name):
            far_reader, far_writer = await self._by_way_of(upstream, f"{name}:{port}" if is_tunnel else "")
            path, extra = target, _authorization(upstream)
        else:
            far_reader, far_writer = await self._connect(host, name, port)
            path, extra = (f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"), b""
        try:
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            else:
                kept = [f for f in fields.split(b"\r\n") if f and not f.lower().startswith(_DROPPED)]
                first = f"{method} {path} {version}".encode()
                far_writer.write(b"\r\n".join([first, *kept, b"Connection: close"]) + b"\r\n" + extra + b"\r\n")
            await _both_ways((reader, writer), (far_reader, far_writer))
        finally:
            far_writer.close()

    def _allowed(self, name: str, port: int) -> Host:
        # A host that the operator has named is looked for first: more is allowed there.
        for host in sorted(self.hosts, key=lambda host: not host.is_named):
            if host.covers(name, port):
                return host
        self.refused.add(name if port in {80, 443} else f"{name}:{port}")
        raise _Refused("403 Not a source of packages here (environments.hosts)")

    async def _connect(self, host: Host, name: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
                addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
                if not host.is_named and any(map(_is_inside, addresses)):
                    self.refused.add(name)
                    raise _Refused("403 This name leads into the network of the platform")
                return await _first_that_answers(addresses, port)
        except (OSError, TimeoutError) as error:
            raise _Refused(f"502 {name} cannot be reached: {_words(error)}") from error

    async def _by_way_of(self, upstream: str, tunnel: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect to the platform's own proxy and, if `tunnel` is given, on to that host and port."""
        parts = urlsplit(upstream if "://" in upstream else f"http://{upstream}")
        if parts.scheme != "http" or parts.hostname is None:
            raise _Refused("502 The proxy of the platform is not reached with http://, which alone is supported")
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=_MOST_HEAD_BYTES)
                if tunnel:
                    writer.write(f"CONNECT {tunnel} HTTP/1.1\r\nHost: {tunnel}\r\n".encode())
                    writer.write(_authorization(upstream) + b"\r\n")
                    answer = (await reader.readuntil(_END)).partition(b"\r\n")[0]
                    if answer.split(b" ")[1:2] != [b"200"]:
                        writer.close()
                        raise _Refused(f"502 The proxy of the platform: {_words(answer)}")
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise _Refused(f"502 The proxy of the platform cannot be reached: {_words(error)}") from error
        return reader, writer


async def readable(sock: socket.socket) -> None:
    """Wait until something can be read from a socket, such as one with a descriptor on its way."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


async def _first_that_answers(addresses: Iterable[str], port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    last: OSError = OSError("no address")
    for address in addresses:
        try:
            return await asyncio.open_connection(address, port)
        except OSError as error:
            last = error
    raise last


async def _both_ways(
    near: tuple[asyncio.StreamReader, asyncio.StreamWriter], far: tuple[asyncio.StreamReader, asyncio.StreamWriter]
) -> None:
    """Pass bytes on in both directions until one side has ended both."""
    with suppress(OSError):
        await asyncio.gather(_pass_on(near[0], far[1]), _pass_on(far[0], near[1]))


async def _pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while piece := await source.read(_PIECE_BYTES):
            target.write(piece)
            await target.drain()
    finally:
        with suppress(OSError):
            if target.can_write_eof():
                target.write_eof()


def _is_inside(address: str) -> bool:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in _INSIDE)


def _authorization(proxy: str) -> bytes:
    parts = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    if parts.username is None:
        return b""
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
    return b"Proxy-Authorization: Basic " + base64.b64encode(login) + b"\r\n"


def _words(said: object) -> str:
    """What was said, as one short line of ASCII."""
    text = said.decode("ascii", "replace") if isinstance(said, bytes) else str(said) or type(said).__name__
    return "".join(c if c.isascii() and c.isprintable() else "?" for c in text)[:100]
