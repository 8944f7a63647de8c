"""The client for event loops has all that the blocking one has."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from instainfer import AsyncClient, Client
from instainfer.errors import Conflict, NotFound, Unreachable

Scene = Callable[[AsyncClient], Awaitable[None]]


def play(handler: Callable[[httpx2.Request], httpx2.Response], scene: Scene) -> None:
    async def run() -> None:
        async with AsyncClient("here:1", "u:k", retries=0, transport=httpx2.MockTransport(handler)) as client:
            await scene(client)

    asyncio.run(run())


def methods(kind: type[Any]) -> dict[str, list[str]]:
    """The public methods with the names of their parameters."""
    found = inspect.getmembers(kind, inspect.isfunction)
    return {name: list(inspect.signature(each).parameters) for name, each in found if not name.startswith("_")}


def test_both_clients_have_the_same_methods() -> None:
    assert methods(AsyncClient) == methods(Client)


def test_answers_and_errors_are_those_of_the_blocking_client() -> None:
    answers: dict[str, tuple[int, Any]] = {
        "GET /instainfer/v1/status": (200, {"nodes": []}),
        "GET /instainfer/v1/functions/f/why": (200, ["no", "object"]),
        "DELETE /api/v1/namespaces/_/actions/f": (404, {"error": "no f"}),
        "GET /api/v1/namespaces/_/activations": (200, [{"activationId": "a1"}]),
        "POST /api/v1/namespaces/_/actions/f": (502, {"activationId": "a1"}),
    }

    def handler(request: httpx2.Request) -> httpx2.Response:
        status, body = answers[f"{request.method} {request.url.path}"]
        return httpx2.Response(status, json=body)

    async def scene(client: AsyncClient) -> None:
        assert await client.status() == {"nodes": []}
        with pytest.raises(Unreachable, match="not InstaInfer"):
            await client.why("f")
        with pytest.raises(NotFound, match="no f"):
            await client.delete_action("f")
        assert await client.activations(name="f") == [{"activationId": "a1"}]
        assert await client.invoke("f", {}) == {"activationId": "a1"}

    play(handler, scene)


def test_all_functions_are_listed_page_by_page() -> None:
    names = [f"f{n}" for n in range(401)]

    def page(request: httpx2.Request) -> httpx2.Response:
        skip, limit = int(request.url.params["skip"]), int(request.url.params["limit"])
        return httpx2.Response(200, json=[{"name": name} for name in names[skip : skip + limit]])

    async def scene(client: AsyncClient) -> None:
        assert [action["name"] for action in await client.functions()] == names

    play(page, scene)


def test_a_build_is_asked_for_with_all_that_makes_it() -> None:
    sent: list[Any] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, text="")

    async def scene(client: AsyncClient) -> None:
        assert [e async for e in client.build_environment("a\n", (), None, "media:1", from_source=True)] == []

    play(handler, scene)
    wanted = {"requirements": "a\n", "no_deps": [], "python": None, "image": "media:1", "from_source": True}
    assert sent == [wanted]


def test_events_come_one_by_one_and_a_refusal_is_an_error() -> None:
    events = [{"event": "progress", "text": "…"}, {"event": "refused", "status": 409, "error": "it exists"}]
    text = "".join(json.dumps(event) + "\n" for event in events)

    async def scene(client: AsyncClient) -> None:
        assert [event async for event in client.build_environment("numpy", (), None)] == events
        told = client.put_checked("f", {})
        assert await anext(told) == events[0]
        with pytest.raises(Conflict, match="it exists"):
            await anext(told)

    play(lambda _: httpx2.Response(200, text=text), scene)


def test_a_file_is_sent_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    path.write_bytes(b"x" * 3_000_000)
    sent: list[int] = []
    got: list[bytes] = []

    async def handler(request: httpx2.Request) -> httpx2.Response:
        got.append(await request.aread())
        assert request.headers["content-length"] == "3000000"
        return httpx2.Response(200, json={})

    async def run() -> None:
        async with AsyncClient("here:1", "u:k", transport=httpx2.MockTransport(handler)) as client:
            await client.put_blob("sha256:00", path, sent.append)

    asyncio.run(run())
    assert got == [path.read_bytes()]
    assert (sum(sent), len(sent)) == (3_000_000, 3)
