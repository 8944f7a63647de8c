"""The frame of every request: who may ask, ids, errors, and the unauthenticated part."""

from __future__ import annotations

import asyncio
import base64
import logging
import stat
from pathlib import Path

import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message
from support.controllers import ACTIONS, ACTIVATIONS, NATIVE, Stand, key_of, standing

from instainfer.controller.app import api_host, is_loopback
from instainfer.controller.auth import CREDENTIALS, Keyring, hash_key, read_credentials
from instainfer.controller.bodies import Budget, read_body
from instainfer.controller.gateway import action_of, request_id

UUID = "23bc46b1-71f6-4ed5-8c54-816aa4f8c502"
KEY = "k" * 64


def header(text: str, scheme: str = "Basic ") -> bytes:
    return scheme.encode() + base64.b64encode(text.encode())


@pytest.mark.parametrize("scheme", ["Basic ", "basic "])
def test_the_right_key_is_known(scheme: str) -> None:
    keyring = Keyring([("guest", UUID, hash_key(KEY))])
    caller = keyring.identify(header(f"{UUID}:{KEY}", scheme))
    assert caller == ("guest", f"{UUID}:{KEY}")


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Basic ???",
        b"Bearer " + base64.b64encode(f"{UUID}:{KEY}".encode()),
        header(UUID),
        header(f"{UUID}:"),
        header(f"{UUID}:{KEY}x"),
        header(f"{UUID}:{KEY[1:]}"),
        header(f"unknown:{KEY}"),
        header(":"),
        header(f"ä:{KEY}"),
    ],
)
def test_anything_else_is_nobody(authorization: bytes | None) -> None:
    assert Keyring([("guest", UUID, hash_key(KEY))]).identify(authorization) is None


@pytest.mark.parametrize(
    ("method", "url"),
    [
        ("GET", "/api/v1/namespaces"),
        ("GET", ACTIONS),
        ("PUT", f"{ACTIONS}/f"),
        ("POST", f"{ACTIONS}/f"),
        ("GET", ACTIVATIONS),
        ("GET", f"{NATIVE}/status"),
        ("PUT", f"{NATIVE}/blobs/sha256:{'0' * 64}"),
        ("POST", f"{NATIVE}/environments"),
    ],
)
def test_without_a_key_it_is_401(tmp_path: Path, method: str, url: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            missing = "The resource requires authentication, which was not supplied with the request"
            wrong = "The supplied authentication is invalid"
            for auth, text in ((None, missing), ((key_of(tmp_path)[0], "wrong"), wrong)):
                stand.http.auth = auth  # type: ignore[assignment]
                response = await stand.http.request(method, url)
                assert response.status_code == 401
                assert response.headers["www-authenticate"] == 'Basic realm="OpenWhisk secure realm"'
                assert response.json() == {
                    "error": text,
                    "code": response.headers["x-request-id"],
                }

    asyncio.run(run())


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_a_foreign_namespace_is_403(tmp_path: Path, method: str) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            response = await stand.http.request(method, "/api/v1/namespaces/other/actions/f")
            text = "The supplied authentication is not authorized to access this resource."
            assert (response.status_code, response.json()["error"]) == (403, text)

    asyncio.run(run())


def test_the_first_start_makes_a_key_that_only_its_owner_can_read(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            path = tmp_path / "home" / CREDENTIALS
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            properties = read_credentials(path)
            assert properties.keys() == {"APIHOST", "AUTH", "NAMESPACE", "APIVERSION"}
            assert (properties["NAMESPACE"], properties["APIVERSION"]) == ("guest", "v1")
            assert properties["APIHOST"] == "http://127.0.0.1:3233"
            stand.controller.listening("http://127.0.0.1:4711")
            assert read_credentials(path) == {**properties, "APIHOST": "http://127.0.0.1:4711"}
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            records = (tmp_path / "home" / "records.sqlite-wal").read_bytes()
            assert key_of(tmp_path)[1].encode() not in records

    asyncio.run(run())


def test_the_key_stays_the_same_over_restarts(tmp_path: Path) -> None:
    async def run() -> None:
        keys = set()
        for _ in range(2):
            async with standing(tmp_path) as stand:
                keys.add(key_of(tmp_path))
                assert (await stand.http.get("/api/v1/namespaces")).json() == ["guest"]
        assert len(keys) == 1

    asyncio.run(run())


def test_a_lost_key_is_replaced_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        async with standing(tmp_path):
            old = key_of(tmp_path)
        (tmp_path / "home" / CREDENTIALS).unlink()
        async with standing(tmp_path) as stand:
            assert key_of(tmp_path) != old
            assert (await stand.http.get(ACTIONS)).status_code == 200
            stand.http.auth = old  # type: ignore[assignment]
            assert (await stand.http.get(ACTIONS)).status_code == 401

    asyncio.run(run())
    assert "a new key is made" in caplog.text


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("192.168.1.5", True), ("", True)],
)
def test_listening_beyond_loopback_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, host: str, warned: bool
) -> None:
    async def run() -> None:
        async with standing(tmp_path, server={"host": host}):
            pass

    with caplog.at_level(logging.WARNING):
        asyncio.run(run())
    assert is_loopback(host) is not warned
    assert ("keys travel unencrypted" in caplog.text) is warned


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:1"),
        ("0.0.0.0", "http://127.0.0.1:1"),
        ("::", "http://[::1]:1"),
        ("h", "http://h:1"),
    ],
)
def test_functions_are_told_an_address_that_reaches(host: str, url: str) -> None:
    assert api_host(host, 1) == url


def test_what_anybody_may_ask(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, limits={"max_memory_mb": 2048}) as stand:
            stand.http.auth = None
            host = (await stand.http.get("/")).json()
            assert host["api_paths"] == ["/api/v1"]
            assert host["limits"]["max_action_memory"] == 2048 * 1024 * 1024
            assert host["limits"]["max_action_duration"] == 300_000
            default = [runtime["kind"] for runtime in host["runtimes"]["python"] if runtime["default"]]
            assert host["runtimes"]["nodejs"] == host["runtimes"]["python"], "a client looks every kind up there"
            assert default == ["python:3"]
            api = (await stand.http.get("/api/v1")).json()
            assert api["api_version_path"] == "v1"
            assert isinstance(api["build"], str)
            assert isinstance(api["buildno"], str)
            ping = await stand.http.get("/ping")
            assert (ping.text, ping.headers["content-type"]) == ("pong", "text/plain; charset=utf-8")

    asyncio.run(run())


def test_clients_that_list_everything_get_four_arrays(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            forwarding = await stand.http.get("/runtime/namespaces/_/logForwarding")
            assert forwarding.json() == {"adobe_io_runtime": {}}
            for collection in ("actions", "packages", "triggers", "rules"):
                response = await stand.http.get(f"/api/v1/namespaces/_/{collection}?limit=0&skip=0")
                assert (response.status_code, response.json()) == (200, [])
            counted = await stand.http.get("/api/v1/namespaces/_/rules?count=true")
            assert counted.json() == {"rules": 0}
            assert (await stand.http.get("/api/v1/namespaces/_/rules?limit=x")).status_code == 400

    asyncio.run(run())


def test_limits_of_a_namespace(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path, limits={"concurrent_invocations": 7}) as stand:
            limits = (await stand.http.get("/api/v1/namespaces/_/limits")).json()
            assert limits["concurrentInvocations"] == 7
            assert (limits["minActionTimeout"], limits["maxActionConcurrency"]) == (100, 1)

    asyncio.run(run())


def test_browsers_are_let_in(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            stand.http.auth = None
            for url in (f"{ACTIONS}/f", ACTIVATIONS, "/api/v1"):
                response = await stand.http.options(url)
                assert response.status_code == 200
                assert response.headers["access-control-allow-origin"] == "*"
                assert response.headers["access-control-allow-methods"] == "GET, DELETE, POST, PUT, HEAD"
                allowed = "Authorization, Origin, X-Requested-With, Content-Type, Accept, User-Agent"
                assert response.headers["access-control-allow-headers"] == allowed

    asyncio.run(run())


@pytest.mark.parametrize("wanted", [None, "sid_abc", "has blanks", "x" * 200])
def test_a_request_id_is_made(wanted: str | None) -> None:
    made = request_id([] if wanted is None else [(b"x-request-id", wanted.encode())])
    assert len(made) == 32
    assert made.isalnum()


def test_a_request_id_is_taken_over(tmp_path: Path) -> None:
    async def every_answer(stand: Stand, headers: dict[str, str]) -> list[httpx2.Response]:
        return [
            await stand.http.get(ACTIONS, headers=headers),
            await stand.http.get(f"{ACTIONS}/none", headers=headers),
            await stand.http.post(f"{ACTIONS}/f?blocking=true", json={}, headers=headers),
            await stand.http.post(f"{ACTIONS}/none", json={}, headers=headers),
            await stand.http.options(ACTIONS, headers=headers),
        ]

    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")
            for response in await every_answer(stand, {"x-request-id": "Abc123" * 5}):
                assert response.headers["x-request-id"] == "Abc123" * 5

    asyncio.run(run())


def test_a_slash_at_the_end_is_never_redirected(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            for url in (f"{ACTIONS}/", f"{ACTIVATIONS}/", "/api/v1/", "/api/v1/namespaces/_/packages/"):
                assert (await stand.http.get(url)).status_code == 200
            assert (await stand.http.get("/ping/")).status_code == 404

    asyncio.run(run())


def test_unknown_paths_and_methods(tmp_path: Path) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            unknown = await stand.http.get("/api/v2/anything")
            assert (unknown.status_code, unknown.json()["error"]) == (404, "The requested resource does not exist.")
            wrong = await stand.http.patch(f"{ACTIONS}/f")
            assert wrong.status_code == 405
            assert {"GET", "PUT", "DELETE"} <= set(wrong.headers["allow"].split(", "))

    asyncio.run(run())


def test_a_bug_is_500_without_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        async with standing(tmp_path) as stand:
            await stand.put("f")

            def broken(*_: object) -> None:
                raise RuntimeError("the secret")

            monkeypatch.setattr(stand.controller._packages, "resolve", broken)
            for response in (await stand.http.get(f"{ACTIONS}/f"), await stand.invoke("f")):
                assert response.status_code == 500
                assert response.json()["code"] == response.headers["x-request-id"]
                assert "secret" not in response.text

    asyncio.run(run())
    assert caplog.text.count("RuntimeError: the secret") >= 2


@pytest.mark.parametrize(
    ("path", "target"),
    [
        (b"/api/v1/namespaces/_/actions/f", ("_", None, "f")),
        (b"/api/v1/namespaces/guest/actions/a%20b", ("guest", None, "a%20b")),
        (b"/api/v1/namespaces/_/actions/", None),
        (b"/api/v1/namespaces/_/actions/p/f", ("_", "p", "f")),
        (b"/api/v1/namespaces/_/actions/p/f/g", None),
        (b"/api/v1/namespaces/_/actions/p/", None),
        (b"/api/v1/namespaces//actions/f", None),
        (b"/api/v1/namespaces/_/triggers/f", None),
    ],
)
def test_the_short_way_is_for_calls_alone(path: bytes, target: tuple[str, str | None, str] | None) -> None:
    assert action_of(path) == target


@pytest.mark.parametrize(
    ("pieces", "length", "answer"),
    [
        ([b"abc"], b"3", b"abc"),
        ([b"ab", b"", b"cd"], None, b"abcd"),
        ([b"12345678", b"9"], None, "Request larger than allowed: 9 > 8 bytes."),
        ([], b"9", "Request larger than allowed: 9 > 8 bytes."),
    ],
)
def test_bodies_are_bounded_by_head_and_by_body(pieces: list[bytes], length: bytes | None, answer: bytes | str) -> None:
    messages: list[Message] = [
        {"type": "http.request", "body": piece, "more_body": number < len(pieces)}
        for number, piece in enumerate(pieces, start=1)
    ]

    async def receive() -> Message:
        return messages.pop(0)

    async def run() -> None:
        if isinstance(answer, bytes):
            assert await read_body(receive, length, 8, Budget(100).lease()) == answer
        else:
            with pytest.raises(HTTPException) as refused:
                await read_body(receive, length, 8, Budget(100).lease())
            assert (refused.value.status_code, refused.value.detail) == (413, answer)

    asyncio.run(run())
