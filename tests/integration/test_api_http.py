"""The API over real sockets: what only a real server and a real client can show."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.controllers import (
    ACTIONS,
    ACTIVATIONS,
    NATIVE,
    FakeEnvironments,
    FakeLink,
    Stand,
    annotation,
    answering,
    config,
    key_of,
    rooms,
    standing,
)

from instainfer.controller.app import open_controller
from instainfer.controller.server import HttpServer
from instainfer.errors import HostError

LIMIT = 1024 * 1024


@contextlib.asynccontextmanager
async def serving(home: Path, **parts: Any) -> AsyncIterator[Stand]:
    """A controller behind a real server; the stand's client speaks to it over TCP."""
    parts.setdefault("server", {"max_body_bytes": LIMIT})
    async with standing(home, **parts) as stand:
        server = HttpServer(stand.app, "127.0.0.1", 0)
        await server.start()
        stand.controller.listening(server.url)
        try:
            async with httpx2.AsyncClient(base_url=server.url, auth=key_of(home), trust_env=False) as http:
                stand.http = http
                yield stand
        finally:
            await server.stop()


def address(stand: Stand) -> tuple[str, int]:
    url = stand.http.base_url
    assert url.port is not None
    return url.host, url.port


def authorization(home: Path) -> str:
    request = next(httpx2.BasicAuth(*key_of(home)).auth_flow(httpx2.Request("GET", "http://x")))
    return request.headers["authorization"]


def test_a_function_is_put_called_and_its_activation_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            assert (await stand.put("f")).status_code == 200
            stand.link.script = answering(b'{"class": "cat"}', logs=("t stdout: hi",))
            called = await stand.invoke("f", {"image": "ä"})
            assert called.status_code == 200
            assert stand.link.calls[0].args == '{"image":"ä"}'.encode()
            assert stand.link.calls[0].env["__OW_API_HOST"] == str(stand.http.base_url).rstrip("/")
            activation = called.headers["x-openwhisk-activation-id"]
            assert (await stand.http.get(f"{ACTIVATIONS}/{activation}")).json() == called.json()
            assert (await stand.http.get(f"{ACTIVATIONS}/{activation}/logs")).json() == {"logs": ["t stdout: hi"]}
            phases = json.loads(called.headers["x-instainfer-phases"])
            assert sum(phases.values()) < called.elapsed.total_seconds() + 0.005

    asyncio.run(run())


def test_many_calls_at_once_over_kept_connections_each_get_their_own_answer(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            stand.link.script = lambda call: answering(call.args)(call)
            answers = await asyncio.gather(*(stand.invoke("f", {"n": number}, result="true") for number in range(100)))
            assert [answer.json() for answer in answers] == [{"n": number} for number in range(100)]
            counted = await stand.http.get(ACTIVATIONS, params={"count": "true"})
            assert counted.json() == {"activations": 100}

    asyncio.run(run())


def test_a_declared_oversized_body_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            reader, writer = await asyncio.open_connection(*address(stand))
            head = (
                f"POST {ACTIONS}/f?blocking=true HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                f"Authorization: {authorization(tmp_path)}\r\nContent-Length: {1 << 40}\r\n"
                "Expect: 100-continue\r\n\r\n"
            )
            writer.write(head.encode())
            answer = await reader.read()  # until the server closes: it wants nothing of this body
            assert answer.startswith(b"HTTP/1.1 413 ")
            assert f"Request larger than allowed: {1 << 40} > {LIMIT} bytes.".encode() in answer
            writer.close()
            await writer.wait_closed()
            assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_an_oversized_body_leaves_the_connection_usable(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            for _ in range(3):
                assert (await stand.invoke("f", {"a": "x" * 2 * LIMIT})).status_code == 413
                assert (await stand.invoke("f")).status_code == 200

    asyncio.run(run())


def test_an_undeclared_oversized_body_is_refused_while_it_streams(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 65536

    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            response = await stand.http.post(
                f"{ACTIONS}/f", content=endless(), headers={"content-type": "application/json"}
            )
            assert response.status_code == 413
            assert stand.link.calls == []

    asyncio.run(run())


def test_a_caller_that_goes_away_does_not_end_its_call(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            reader, writer = await asyncio.open_connection(*address(stand))
            writer.write(
                f"POST {ACTIONS}/f?blocking=true HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {authorization(tmp_path)}\r\nContent-Length: 0\r\n\r\n".encode()
            )
            await stand.link.arrived()
            writer.transport.abort()
            assert stand.controller.in_flight == 1
            stand.link.release()
            await stand.controller.idle()
            (record,) = (await stand.http.get(ACTIVATIONS)).json()
            assert record["statusCode"] == 0
            assert await reader.read() == b""

    asyncio.run(run())


def test_an_unsound_request_is_400_and_the_platform_goes_on(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            reader, writer = await asyncio.open_connection(*address(stand))
            writer.write(b"this is not HTTP\r\n\r\n")
            assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
            writer.close()
            await writer.wait_closed()
            assert (await stand.http.get("/ping")).text == "pong"

    asyncio.run(run())


def test_names_are_decoded_after_the_path_is_split(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            assert (await stand.put("a%20b")).json()["name"] == "a b"
            assert (await stand.invoke("a%20b")).json()["name"] == "a b"
            slash = await stand.put("a%2Fb")
            assert slash.json()["error"] == "The name of the entity contains illegal characters."

    asyncio.run(run())


def test_weights_are_uploaded_in_a_stream(tmp_path: Path) -> None:
    weights = bytes(range(256)) * 40_000
    digest = f"sha256:{hashlib.sha256(weights).hexdigest()}"

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(weights), 1 << 16):
            yield weights[start : start + (1 << 16)]

    async def run() -> None:
        async with serving(tmp_path) as stand:
            url = f"{NATIVE}/blobs/{digest}"
            assert (await stand.http.head(url)).status_code == 404
            assert (await stand.http.put(url, content=pieces())).status_code == 200
            assert (await stand.http.head(url)).status_code == 200
            assert stand.content.path(digest).read_bytes() == weights

    asyncio.run(run())


def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"

    async def run() -> None:
        async with serving(tmp_path) as stand:
            _, writer = await asyncio.open_connection(*address(stand))
            writer.write(
                f"PUT {NATIVE}/blobs/{digest} HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: {authorization(tmp_path)}\r\nContent-Length: 1000\r\n\r\nabc".encode()
            )
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            assert (await stand.http.head(f"{NATIVE}/blobs/{digest}")).status_code == 404
        assert list((tmp_path / "content").iterdir()) == []

    asyncio.run(run())


def test_progress_of_an_environment_arrives_while_it_is_built(tmp_path: Path) -> None:
    async def run() -> None:
        environments = FakeEnvironments()
        environments.gate = asyncio.Event()
        async with serving(tmp_path, environments=environments) as stand:
            url, wanted = f"{NATIVE}/environments", {"requirements": "numpy"}
            async with stand.http.stream("POST", url, json=wanted) as response:
                lines = response.aiter_lines()
                assert json.loads(await anext(lines))["event"] == "progress"
                environments.gate.set()
                assert json.loads(await anext(lines))["event"] == "ready"

    asyncio.run(run())


def test_a_caller_that_goes_away_gives_up_its_environment(tmp_path: Path) -> None:
    class Noticing(FakeEnvironments):
        def __init__(self) -> None:
            super().__init__()
            self.given_up = asyncio.Event()

        async def ensure(self, *args: Any) -> Any:
            try:
                return await super().ensure(*args)
            except asyncio.CancelledError:
                self.given_up.set()
                raise

    async def run() -> None:
        environments = Noticing()
        environments.gate = asyncio.Event()
        async with serving(tmp_path, environments=environments) as stand:
            async with stand.http.stream("POST", f"{NATIVE}/environments", json={}) as response:
                await anext(response.aiter_lines())
            await environments.given_up.wait()

    asyncio.run(run())


def test_stopping_ends_waiting_calls_with_503_and_a_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(tmp_path) as stand:
            await stand.put("f")
            stand.link.holding = True
            calling = asyncio.ensure_future(stand.invoke("f"))
            await stand.link.arrived()
            await stand.controller.cut_short()
            response = await calling
            assert response.status_code == 503
            assert "The platform stopped" in response.json()["error"]
            (record,) = (await stand.http.get(ACTIVATIONS, params={"docs": "true"})).json()
            assert record["response"]["status"] == "whisk internal error"
            assert annotation(record, "failure")["kind"] == "container_lost"

    asyncio.run(run())


def test_an_address_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(HostError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            HttpServer(_nothing, "127.0.0.1", port)


def test_a_home_that_cannot_be_used_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file is in the way")

    async def run() -> None:
        with pytest.raises(HostError, match="home"):
            await open_controller(config(tmp_path), [FakeLink()], rooms(tmp_path, FakeEnvironments()))

    asyncio.run(run())


async def _nothing(*_: Any) -> None:
    raise NotImplementedError
