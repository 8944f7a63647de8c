"""The way out of a build: hosts of packages are reached through it, everything else is refused by name."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from instainfer.environments.gate import Gate, _is_inside
from instainfer.environments.origins import Host

Talk = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def standing(gate: Gate) -> AsyncIterator[Talk]:
    """Serve the gate. What is yielded sends bytes to it and returns all that comes back."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()

    async def talk(sent: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        writer.write(sent)
        writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 20)
        finally:
            writer.close()
            await writer.wait_closed()

    async with gate.serving(listener):
        yield talk


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers ``seen`` to everything; yields its port and what it was sent."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nseen")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], seen


def direct(*hosts: Host) -> Gate:
    return Gate(frozenset(hosts), proxies={})


def test_a_named_host_is_reached_in_both_ways() -> None:
    async def run() -> None:
        async with echoing() as (port, seen), standing(direct(Host("127.0.0.1", port))) as talk:
            fields = "Host: x\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\nAccept: a\r\n"
            head = f"GET http://127.0.0.1:{port}/simple/?a=b HTTP/1.1\r\n{fields}\r\n"
            assert (await talk(head.encode())).endswith(b"seen")
            assert seen == [b"GET /simple/?a=b HTTP/1.1\r\nHost: x\r\nAccept: a\r\nConnection: close\r\n\r\n"]
            answer = await talk(f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\nHost: x\r\n\r\nhello".encode())
            assert answer == b"HTTP/1.1 200 Connected\r\n\r\nHTTP/1.1 200 OK\r\n\r\nseen"
            assert seen[1:] == [b"hello"]

    asyncio.run(run())


def test_others_are_refused_and_remembered() -> None:
    async def run() -> None:
        gate = direct(Host("packages.example.org", 443))
        async with echoing() as (port, seen), standing(gate) as talk:
            for target in (f"127.0.0.1:{port}", "169.254.169.254:80", "packages.example.org:22", "example.org:443"):
                answer = await talk(f"CONNECT {target} HTTP/1.1\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 403 ")
            assert seen == []
        assert gate.refused == {f"127.0.0.1:{port}", "169.254.169.254", "packages.example.org:22", "example.org"}

    asyncio.run(run())


def test_a_name_that_nobody_named_must_not_lead_inside() -> None:
    async def run() -> None:
        async with echoing() as (port, seen):
            gate = direct(Host("localhost", port, is_named=False))
            async with standing(gate) as talk:
                assert b"403 This name leads into" in await talk(f"CONNECT localhost:{port} HTTP/1.1\r\n\r\n".encode())
                assert seen == []
            async with standing(direct(Host("localhost", port))) as talk:
                assert b"seen" in await talk(f"CONNECT localhost:{port} HTTP/1.1\r\n\r\nx".encode())

    asyncio.run(run())


@pytest.mark.parametrize(
    "sent", [b"", b"x\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"CONNECT a:b HTTP/1.1\r\n\r\n", b"x" * 70_000]
)
def test_what_is_no_request_is_not_followed(sent: bytes) -> None:
    async def run() -> bytes:
        async with standing(direct(Host("a", None))) as talk:
            return await talk(sent)

    answer = asyncio.run(run())
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_the_platforms_own_proxy_is_used_with_its_password() -> None:
    async def run() -> None:
        async with echoing() as (port, seen):
            proxy = f"http://me:pa%20ss@127.0.0.1:{port}"
            hosts = frozenset({Host("packages.example.org", None)})
            gate = Gate(hosts, proxies={"http": proxy, "https": proxy}, bypasses=lambda _: False)
            async with standing(gate) as talk:
                assert b"200 Connected" in await talk(b"CONNECT packages.example.org:443 HTTP/1.1\r\n\r\n")
                assert b"seen" in await talk(b"GET http://packages.example.org/ HTTP/1.1\r\n\r\n")
        login = b"Proxy-Authorization: Basic bWU6cGEgc3M=\r\n"
        assert seen[0].startswith(b"CONNECT packages.example.org:443 HTTP/1.1\r\n")
        assert seen[1].startswith(b"GET http://packages.example.org/ HTTP/1.1\r\n")
        assert all(login in sent for sent in seen)

    asyncio.run(run())


def test_addresses_inside() -> None:
    inside = ("127.0.0.1", "10.1.2.3", "192.168.0.1", "172.31.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "::1")
    inside += ("fe80::1%eth0", "fd00::1", "::ffff:127.0.0.1", "224.0.0.1")
    assert all(map(_is_inside, inside))
    assert not any(map(_is_inside, ("8.8.8.8", "2606:4700::1111", "172.32.0.1")))
