"""Streamed answers on a real platform, from the function's process to the caller."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live import PATIENCE_S, Platform, running, until, write
from support.gates import WAIT, Gate
from test_readme import examples, typed

from instainfer import AsyncClient, Client
from instainfer.errors import CallFailed

pytestmark = pytest.mark.acceptance

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "write-a-function.md"

COUNT = """
import instainfer

@instainfer.arrays
async def main(args):
    return counting(args)

async def counting(args):
    for n in range(args["n"]):
        print("yields", n)
        yield {"n": n, "raw": bytes([n])}
    if "fail" in args:
        raise ValueError(args["fail"])
"""

GATED = (
    WAIT
    + """
def main(args):
    try:
        yield "first"
        wait_at_gate(args["port"])
        while True:
            yield "x" * args.get("size", 10)
    finally:
        print("closed")
"""
)


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with running(tmp_path_factory.mktemp("platform")) as up:
        up.put("count", COUNT)
        up.put("gated", GATED)
        up.put("brief", GATED, timeout=1000)
        yield up


def test_a_program_gets_values_then_how_it_went_or_the_error(platform: Platform) -> None:
    with Client(home=platform.home) as client:
        count = client.function("count")
        with count.stream(n=3) as values:
            assert list(values) == [{"n": n, "raw": bytes([n])} for n in range(3)]
            assert "yields 0" in values.result.logs[0]
            assert values.result.compute_s > 0.0
        record = platform.record(values.activation_id)
        assert [each["n"] for each in record["response"]["result"]] == [0, 1, 2]
        assert [each["n"] for each in count(n=2)] == [0, 1]

        got: list[Any] = []
        with pytest.raises(CallFailed, match=r"count failed: .*ValueError: so it is") as failed:
            got.extend(each["n"] for each in count.stream(n=2, fail="so it is"))
        assert (failed.value.fault, failed.value.kind) == ("function", "raised")
        assert any("raise ValueError" in line for line in failed.value.logs)
        assert platform.record(failed.value.activation_id)["response"]["status"] == "action developer error"

        platform.put("plain", "def main(args): return {'got': args}")
        assert list(client.function("plain").stream(a=1)) == [{"got": {"a": 1}}]


def test_the_same_on_an_event_loop(platform: Platform) -> None:
    async def program() -> None:
        async with AsyncClient(home=platform.home) as client:
            async with client.function("count").stream(n=200) as values:
                assert [each["n"] async for each in values] == list(range(200))
            assert values.result.activation_id == values.activation_id
            with pytest.raises(CallFailed, match="ValueError"):
                async for _ in client.function("count").stream(n=1, fail="no"):
                    pass
            assert (await client.detail("count"))["name"] == "count"

    asyncio.run(program())


def test_the_first_value_comes_while_the_function_waits_and_a_caller_who_leaves_ends_it(platform: Platform) -> None:
    with Gate() as gate, Client(home=platform.home) as client:
        with client.function("gated").stream(port=gate.port) as values:
            assert next(values) == "first"
            visitor = gate.reached()
            assert (
                "response" not in platform.http.get(f"/api/v1/namespaces/_/activations/{values.activation_id}").json()
            )
        visitor.let_go()
        until(lambda: "end" in platform.http.get(f"/api/v1/namespaces/_/activations/{values.activation_id}").json())
        record = platform.record(values.activation_id)
        assert record["response"]["status"] == "application error"
        assert any("closed" in line for line in record["logs"])
        # Its process serves the next call.
        with client.function("gated").stream(port=gate.port) as values:
            assert next(values) == "first"
            again = gate.reached()
            assert again.pid == visitor.pid
            again.let_go()


def test_a_caller_who_does_not_read_makes_the_function_wait_inside_its_time_limit(platform: Platform) -> None:
    host, port = re.fullmatch(r"http://(.*):(\d+)", str(platform.http.base_url).rstrip("/")).groups()  # type: ignore[union-attr]
    with Gate() as gate, socket.create_connection((host, int(port)), PATIENCE_S) as caller:
        request = platform.http.build_request(
            "POST",
            "/api/v1/namespaces/_/actions/brief",
            params={"blocking": "true"},
            json={"port": gate.port, "size": 100_000},
            headers={"accept": "application/x-ndjson", "connection": "close"},
        )
        request = next(platform.http.auth.auth_flow(request))  # type: ignore[union-attr]
        head = b"".join(b"%b: %b\r\n" % pair for pair in request.headers.raw)
        caller.sendall(b"POST %b HTTP/1.1\r\n%b\r\n%b" % (request.url.raw_path, head, request.read()))
        gate.reached().let_go()
        until(lambda: platform.status()["in_flight"] == 0)  # it ran into its time limit, while nobody read
        answer = b""
        while piece := caller.recv(1 << 20):
            answer += piece
    last = next(line for line in reversed(answer.splitlines()) if line.startswith(b"{"))
    told = json.loads(last)
    assert (told["event"], told["kind"]) == ("error", "timed_out")
    # The buffers of the kernel hold a few megabytes for each side; in a second, the function could have sent far more.
    assert 1 < told["values"] < 200
    assert answer.count(b'"event":"value"') == told["values"]


def test_the_command_line_prints_values_as_the_page_says(platform: Platform) -> None:
    example = examples(PAGE.read_text())["stream"]
    write(platform.folder, example.files)
    for command in example.commands:
        found = typed(platform, command.line)
        if command.answers:
            assert found == command.answers
