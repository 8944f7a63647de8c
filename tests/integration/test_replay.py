"""The replayer against a small HTTP server of our own that can be slow, refuse, answer 202 and break off."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from instainfer.core.model import Phases
from instainfer.experiments import replay as replay_module
from instainfer.experiments.replay import PlannedCall, Watcher, replay
from instainfer.report.records import CallRecord

AUTH = "user:secret"
PHASES = {"queue": 0.0, "container": 0.5, "libraries": 1.0, "model": 0.25, "handoff": 0.01, "compute": 0.1}

Answer = tuple[int, Any] | None
"""Status and body; None breaks the connection off."""
Act = Callable[[str, dict[str, Any]], Awaitable[Answer]]


def record(activation_id: str, status: str = "success") -> dict[str, Any]:
    annotations = {"path": "guest/f", "startKind": "cold", "container": "c1", "phases": PHASES}
    return {
        "activationId": activation_id,
        "start": 1,
        "end": 2,
        "response": {"status": status, "success": status == "success", "result": {}},
        "annotations": [{"key": key, "value": value} for key, value in annotations.items()],
    }


@dataclass
class Server:
    """Answers calls with `act`, and knows the activations in `stored`."""

    act: Act
    stored: dict[str, list[Answer]] = field(default_factory=dict)
    """What is answered for an activation's id, one after the other, the last for ever."""
    listed: list[str] = field(default_factory=list)
    """Ids in the list of activations, latest first."""
    asked: list[str] = field(default_factory=list)
    connections: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        try:
            while head := await self._head(reader):
                target, headers = head
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                assert headers["authorization"] == "Basic " + base64.b64encode(AUTH.encode()).decode()
                answer = await self._answer(target, body)
                if answer is None:
                    return
                content = json.dumps(answer[1]).encode()
                writer.write(f"HTTP/1.1 {answer[0]} X\r\nContent-Length: {len(content)}\r\n\r\n".encode() + content)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    async def _head(self, reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
        try:
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except asyncio.IncompleteReadError:
            return None
        pairs = (line.partition(":") for line in lines if line)
        return first.split()[1], {key.lower(): value.strip() for key, _, value in pairs}

    async def _answer(self, target: str, body: bytes) -> Answer:
        path, _, query = target.removeprefix("/api/v1/namespaces/_/").partition("?")
        room, _, name = path.partition("/")
        self.asked.append(target)
        if room == "actions":
            assert query == "blocking=true"
            return await self.act(name, json.loads(body))
        if name:
            answers = self.stored[name]
            return answers.pop(0) if len(answers) > 1 else answers[0]
        return 200, [{"activationId": activation_id} for activation_id in self.listed]


def run(server: Server, calls: list[PlannedCall], watcher: Watcher | None = None) -> list[CallRecord]:
    async def main() -> list[CallRecord]:
        listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
        async with listener:
            host, port = listener.sockets[0].getsockname()[:2]
            try:
                async with asyncio.timeout(20):
                    return await replay(calls, f"http://{host}:{port}", AUTH, watcher=watcher)
            finally:
                for writer in server.connections:
                    writer.close()

    return asyncio.run(main())


def call(at_s: float = 0.0, function: str = "f", **args: Any) -> PlannedCall:
    return PlannedCall(at_s, function, json.dumps(args).encode())


class Heard(Watcher):
    def __init__(self) -> None:
        self.calls: list[PlannedCall] = []
        self.records: list[CallRecord] = []

    def sent(self, call: PlannedCall) -> None:
        self.calls.append(call)

    def ended(self, record: CallRecord) -> None:
        self.records.append(record)


def test_a_record_becomes_a_line_of_the_log() -> None:
    async def act(name: str, args: dict[str, Any]) -> Answer:
        return 200, record(f"{name}-{args['n']}")

    heard = Heard()
    (found,) = run(Server(act), [call(0.05, n=1)], heard)
    assert (found.activation_id, found.function, found.container) == ("f-1", "f", "c1")
    assert (found.start_kind, found.status, found.scheduled_s) == ("cold", "success", 0.05)
    assert found.phases == Phases(**PHASES)
    assert (found.startup_s, found.e2e_s) == (pytest.approx(1.76), pytest.approx(1.86))
    assert found.sent_s >= 0.05
    assert found.client_s > 0
    assert heard.records == [found]
    assert len(heard.calls) == 1


def test_calls_are_sent_at_their_time_while_earlier_ones_are_still_unanswered() -> None:
    async def main() -> None:
        third_came = asyncio.Event()

        async def act(_: str, args: dict[str, Any]) -> Answer:
            if args["n"] == 3:
                third_came.set()
            await third_came.wait()  # a closed-loop client would wait here for ever
            return 200, record(str(args["n"]))

        listener = await asyncio.start_server((server := Server(act)).serve, "127.0.0.1", 0)
        async with listener, asyncio.timeout(20):
            host, port = listener.sockets[0].getsockname()[:2]
            # Out of order on purpose: time counts, not the place in the list.
            found = await replay([call(0.2, n=3), call(0.0, n=1), call(0.1, n=2)], f"{host}:{port}", AUTH)
            for writer in server.connections:
                writer.close()
        assert [each.activation_id for each in found] == ["1", "2", "3"]
        assert all(each.sent_s >= each.scheduled_s for each in found)
        assert found[0].client_s >= 0.2

    asyncio.run(main())


def test_a_call_that_outlasts_its_request_is_followed_by_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_module, "_FOLLOW_UP_EVERY_S", 0.001)

    async def act(_name: str, _args: dict[str, Any]) -> Answer:
        return 202, {"activationId": "a1"}

    unfinished = {key: value for key, value in record("a1").items() if key not in ("end", "response")}
    stored: dict[str, list[Answer]] = {
        "a1": [(404, {"error": "not there yet"}), None, (200, unfinished), (200, record("a1"))]
    }
    (found,) = run(Server(act, stored), [call()])
    assert (found.activation_id, found.status, found.startup_s) == ("a1", "success", pytest.approx(1.76))


def test_a_failed_function_is_a_failure_and_a_refused_call_says_why() -> None:
    async def act(name: str, _: dict[str, Any]) -> Answer:
        if name == "bad":
            return 502, record("a1", "action developer error")
        return 429, {"error": "Too many requests.", "code": "x"}

    bad, refused = run(Server(act), [call(0.0, "bad"), call(0.01, "busy")])
    assert (bad.status, bad.activation_id, bad.start_kind) == ("action developer error", "a1", "cold")
    assert (refused.status, refused.activation_id) == ("refused: Too many requests.", "")


def test_calls_whose_connection_breaks_find_the_records_that_are_nobodys() -> None:
    async def act(_: str, args: dict[str, Any]) -> Answer:
        return None if args["n"] in (2, 3, 4) else (200, record(f"a{args['n']}"))

    # The platform had accepted calls 2 and 3 when the connections broke, but never saw call 4.
    stored: dict[str, list[Answer]] = {name: [(200, record(name))] for name in ("a2", "a3")}
    server = Server(act, stored, listed=["a5", "a3", "a2", "a1"])
    heard = Heard()
    found = run(server, [call(0.02 * n, n=n) for n in range(1, 6)], heard)
    assert [(each.activation_id, each.status) for each in found] == [
        ("a1", "success"),
        ("a2", "success"),
        ("a3", "success"),
        ("", "lost"),
        ("a5", "success"),
    ]
    assert len(heard.records) == 5


def test_nothing_is_raised_when_nobody_listens() -> None:
    (found,) = asyncio.run(replay([call()], "http://127.0.0.1:1", AUTH))
    assert (found.status, found.function) == ("lost", "f")


def test_a_replay_lasts_as_long_as_its_trace() -> None:
    async def main() -> float:
        began = asyncio.get_running_loop().time()
        assert await replay([], "http://127.0.0.1:1", AUTH, duration_s=0.1) == []
        return asyncio.get_running_loop().time() - began

    assert asyncio.run(main()) >= 0.1
