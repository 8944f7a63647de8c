"""What a client may cost, over real sockets: heads, bodies, unread answers, crowds, and the loop's time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvloop
from support.controllers import ACTIONS, ACTIVATIONS, NATIVE, Stand, answering, archive, key_of, standing

from instainfer.controller.connections import Bounds
from instainfer.controller.server import HttpServer
from instainfer.core.model import MIB

SHORT = Bounds(head_bytes=4096, head_s=0.3, body_s=0.3, idle_s=0.5, connections=4)
LONG = Bounds(head_bytes=4096)


@contextlib.asynccontextmanager
async def serving(home: Path, bounds: Bounds, **parts: Any) -> AsyncIterator[Stand]:
    async with standing(home, **parts) as stand:
        server = HttpServer(stand.app, "127.0.0.1", 0, bounds)
        await server.start()
        try:
            async with httpx2.AsyncClient(base_url=server.url, auth=key_of(home), trust_env=False, timeout=60) as http:
                stand.http = http
                yield stand
        finally:
            await server.stop()


class Raw:
    """A connection whose bytes a test writes itself."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def rest(self) -> bytes:
        """All that comes until the server has closed."""
        found = bytearray()
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                found += piece
        return bytes(found)

    async def closed(self) -> None:
        await self.rest()


@contextlib.asynccontextmanager
async def raw(stand: Stand) -> AsyncIterator[Raw]:
    url = stand.http.base_url
    assert url.port is not None
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def head(home: Path, method: str, path: str, *more: str) -> bytes:
    token = base64.b64encode(":".join(key_of(home)).encode()).decode()
    lines = [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Basic {token}", *more]
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


async def still_serves(stand: Stand) -> None:
    assert (await stand.http.get("/ping")).text == "pong"


@pytest.mark.parametrize("what", ["value", "name", "path", "many", "blank lines", "trailers", "chunk extension"])
def test_a_head_that_is_too_large_is_431_and_is_not_kept(tmp_path: Path, what: str) -> None:
    start = {
        "value": b"GET /ping HTTP/1.1\r\na: ",
        "name": b"GET /ping HTTP/1.1\r\n",
        "path": b"GET /",
        "many": b"GET /ping HTTP/1.1\r\n",
        "blank lines": b"",
        "trailers": head(tmp_path, "POST", f"{ACTIONS}/f", "Transfer-Encoding: chunked") if what == "?" else b"",
        "chunk extension": b"",
    }[what]

    async def run() -> None:
        async with serving(tmp_path, LONG) as stand:
            await stand.put("f")
            first = start
            piece = {"many": b"a: b\r\n" * 1000, "blank lines": b"\r\n" * 3000}.get(what, b"a" * 6000)
            if what in ("trailers", "chunk extension"):
                first = head(tmp_path, "POST", f"{ACTIONS}/f?blocking=true", "Transfer-Encoding: chunked")
                first += b"0\r\na: " if what == "trailers" else b"2;a="
            async with raw(stand) as client:
                await client.send(first)
                for _ in range(1000):
                    await client.send(piece)
                    if client.writer.transport.is_closing() or client.reader.at_eof():
                        break
                else:
                    pytest.fail("six megabytes were taken")
                said = await client.rest()
            # A client that goes on sending may lose the answer.
            assert said == b"" or said.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
            await still_serves(stand)
            assert stand.link.calls == []

    asyncio.run(run())


def test_a_large_head_in_one_piece_is_431_with_cause_and_remedy(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, LONG) as stand, raw(stand) as client:
            await client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\na: " + b"x" * 5000 + b"\r\n\r\n")
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 431 ")
            error = json.loads(said.partition(b"\r\n\r\n")[2])["error"]
            assert error == "The head of the request is larger than the 4096 bytes allowed; shorten it."

    asyncio.run(run())


def test_many_small_requests_on_one_connection_are_no_large_head(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, LONG) as stand:
            for _ in range(200):
                response = await stand.http.get("/ping", headers={"a": "x" * 500})
                assert response.status_code == 200

    asyncio.run(run())


def test_trailers_are_no_headers(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, LONG) as stand, raw(stand) as client:
            await stand.put("f")
            whole = head(tmp_path, "POST", f"{ACTIONS}/f", "Transfer-Encoding: chunked", "Connection: close")
            stranger = whole.replace(b"Authorization", b"X-Nothing")
            await client.send(stranger + b"2\r\n{}\r\n0\r\n" + head(tmp_path, "", "").partition(b"\r\n")[2])
            assert (await client.rest()).startswith(b"HTTP/1.1 401 ")

    asyncio.run(run())


@pytest.mark.parametrize("sent", [b"", b"GET /ping HTTP/1.1\r\nHost: "], ids=["nothing", "half a head"])
def test_a_head_that_does_not_come_ends_its_connection(tmp_path: Path, sent: bytes) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await client.send(sent)
            assert (await client.rest()).startswith(b"HTTP/1.1 408 ")
            await still_serves(stand)

    asyncio.run(run())


def test_a_head_that_drips_ends_its_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await client.send(b"GET /ping HTTP/1.1\r\n")
            ending = asyncio.ensure_future(client.rest())
            while not ending.done():
                await client.send(b"a: b\r\n")
                await asyncio.wait((ending,), timeout=0.05)
            await still_serves(stand)

    asyncio.run(run())


@pytest.mark.parametrize("authenticated", [True, False])
def test_a_body_that_does_not_come_ends_its_connection(tmp_path: Path, authenticated: bool) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await stand.put("f")
            whole = head(tmp_path, "POST", f"{ACTIONS}/f", "Content-Length: 1000")
            await client.send((whole if authenticated else whole.replace(b"Basic", b"Magic")) + b'{"a":')
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 408 " if authenticated else b"HTTP/1.1 401 ")
            assert stand.link.calls == []
            await still_serves(stand)

    asyncio.run(run())


def test_the_rest_of_a_refused_body_cannot_drip_for_ever(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await client.send(
                b"POST /api/v1/namespaces/_/actions/f HTTP/1.1\r\nHost: x\r\nContent-Length: 90000\r\n\r\n"
            )
            ending = asyncio.ensure_future(client.rest())
            while not ending.done():
                await client.send(b"x")
                await asyncio.wait((ending,), timeout=0.05)
            assert ending.result().startswith(b"HTTP/1.1 401 ")
            await still_serves(stand)

    asyncio.run(run())


def test_a_body_in_good_time_may_be_long_in_coming(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await stand.put("f")
            whole = head(tmp_path, "POST", f"{ACTIONS}/f?blocking=true&result=true", "Content-Length: 40008")
            await client.send(whole + b'{"a":"' + b"x" * 16000)
            for _ in range(8):
                await asyncio.sleep(0.1)  # the pace of a slow client is what this is about
                await client.send(b"x" * 3000)
            await client.send(b'"}')
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")

    asyncio.run(run())


def test_a_connection_that_idles_is_closed(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand, raw(stand) as client:
            await client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n")
            said = await client.rest()
            assert said.startswith(b"HTTP/1.1 200 ")
            assert said.count(b"HTTP/1.1") == 1

    asyncio.run(run())


def test_an_answer_that_nobody_reads_ends_its_connection(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand:
            await stand.put("f")
            stand.link.script = answering(json.dumps({"a": "x" * 1_000_000}).encode(), logs=("y" * 9_000_000,))
            record = (await stand.invoke("f")).json()["activationId"]
            async with raw(stand) as client:
                client.writer.transport.pause_reading()  # type: ignore[attr-defined]
                # Small buffers, so that little of the answer fits into the kernel's.
                await client.send(head(tmp_path, "GET", f"{ACTIVATIONS}/{record}"))
                await asyncio.sleep(1.2)  # nothing tells a client that does not read when it is given up
                client.writer.transport.resume_reading()  # type: ignore[attr-defined]
                said = await client.rest()
                assert len(said) < 9_000_000
            await still_serves(stand)

    asyncio.run(run())


def test_a_long_blocking_call_is_not_cut_by_any_of_this(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path, SHORT) as stand:
            await stand.put("f")
            stand.link.holding = True
            calling = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived()
            await asyncio.sleep(1.2)  # longer than every bound of a connection
            stand.link.release()
            assert (await calling).status_code == 200

    asyncio.run(run())


def test_a_crowd_of_idle_connections_makes_way_and_busy_ones_do_not(tmp_path: Path) -> None:
    async def run() -> None:
        bounds = Bounds(connections=4)
        async with serving(tmp_path, bounds) as stand, contextlib.AsyncExitStack() as stack:
            for _ in range(12):
                await stack.enter_async_context(raw(stand))
                await still_serves(stand)
            await stand.put("f")
            stand.link.holding = True
            url = f"{ACTIONS}/f?blocking=true"
            for count in range(1, 5):
                client = await stack.enter_async_context(raw(stand))
                await client.send(head(tmp_path, "POST", url, "Content-Length: 0"))
                await stand.link.arrived(count)
            last = await stack.enter_async_context(raw(stand))
            said = await last.rest()
            assert said.startswith(b"HTTP/1.1 503 ")
            assert b"Too many connections" in said
            stand.link.release()
            assert (await client.reader.readline()).startswith(b"HTTP/1.1 200 ")
            await still_serves(stand)

    asyncio.run(run())


def test_a_flood_of_requests_without_waiting_ends_its_connection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with serving(tmp_path, LONG) as stand, raw(stand) as client:
            await stand.put("f")
            stand.link.holding = True
            await client.send(head(tmp_path, "POST", f"{ACTIONS}/f?blocking=true", "Content-Length: 0"))
            await stand.link.arrived()
            await client.send(b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n" * 100)
            await client.closed()
            stand.link.release()
            await stand.controller.idle()
            await still_serves(stand)

    uvloop.run(run())
    assert caplog.records == []  # nothing was said into what is closed


class Stalls:
    """The longest time for which the loop did not come round, in processor seconds of this process.

    Those of the clock would tell of the other work of this machine.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def watch(self) -> None:
        while True:
            before_s = time.process_time()
            await asyncio.sleep(0.001)
            self.longest_s = max(self.longest_s, time.process_time() - before_s)


def test_large_things_going_through_do_not_stall_the_loop(tmp_path: Path) -> None:
    data = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(300_000))
    body = json.dumps(
        {"exec": {"kind": "python:3", "code": archive({"__main__.py": "x = 1\n", "data": data})}}
    ).encode()
    requirements = "\n".join(f"package{number}>=1,<2" for number in range(1900))
    weights = bytes(range(256)) * 80_000
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert len(body) > 24 * MIB

    async def large(stand: Stand) -> None:
        """From a process of its own, so that the loop's time is the platform's alone."""
        (tmp_path / "body").write_bytes(body)
        (tmp_path / "weights").write_bytes(weights)
        (tmp_path / "wanted").write_text(json.dumps({"requirements": requirements}))
        code = (
            "import sys, httpx2\n"
            "url, user, key, folder, digest = sys.argv[1:]\n"
            "with httpx2.Client(base_url=url, auth=(user, key), trust_env=False, timeout=60) as http:\n"
            f"    read = lambda name: open(f'{{folder}}/{{name}}', 'rb').read()\n"
            f"    assert http.put('{ACTIONS}/f', content=read('body')).status_code == 200\n"
            f"    assert http.get('{ACTIONS}/f').status_code == 200\n"
            f"    assert http.put(f'{NATIVE}/blobs/{{digest}}', content=read('weights')).status_code == 200\n"
            f"    assert http.post('{NATIVE}/environments', content=read('wanted')).status_code == 200\n"
            f"    assert http.post('{ACTIONS}/f', params={{'blocking': 'true'}}).status_code == 200\n"
            f"    assert http.get('{ACTIVATIONS}', params={{'docs': 'true'}}).status_code == 200\n"
        )
        import sys

        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, str(stand.http.base_url), *key_of(tmp_path), str(tmp_path), digest
        )
        assert await process.wait() == 0

    async def run() -> None:
        stalls = Stalls()
        async with serving(tmp_path, Bounds()) as stand:
            stand.link.script = answering(json.dumps({"a": "x" * 900_000}).encode(), logs=("y" * 100,) * 90_000)
            watching = asyncio.ensure_future(stalls.watch())
            await large(stand)
            watching.cancel()
        assert stalls.longest_s < 0.1

    asyncio.run(run())
