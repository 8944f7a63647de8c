"""Streamed answers over HTTP: what a caller gets while a call runs, and what becomes of the call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from support.controllers import ACTIONS, Stand, annotation, answering, failing, outcome, standing

from instainfer.controller.streaming import wanted_form
from instainfer.core.model import FailureKind
from instainfer.wire.bounds import WINDOW_BYTES, cost_bytes

EVENTS = {"accept": "text/event-stream"}
LINES = {"accept": "application/x-ndjson"}
Scene = Callable[[Stand], Awaitable[None]]


def play(folder: Path, scene: Scene, **parts: Any) -> None:
    async def run() -> None:
        async with standing(folder, **parts) as stand:
            await stand.put("f")
            stand.link.script = answering(b"")
            stand.link.holding = True
            await scene(stand)
            await stand.controller.idle()
            assert stand.controller._budget.taken_bytes == 0

    asyncio.run(run())


async def streamed(stand: Stand, *values: bytes, headers: dict[str, str] = EVENTS, **params: str) -> Any:
    """The response to a call that yields these values at once, and ends as the script of the node says."""
    params = {"blocking": "true", **params}
    asking = asyncio.ensure_future(stand.http.post(f"{ACTIONS}/f", params=params, headers=headers))
    await stand.link.arrived()
    stand.link.say(*values)
    stand.link.release()
    return await asking


def events(text: str) -> list[tuple[str, Any]]:
    found = []
    for part in text.split("\n\n")[:-1]:
        fields = dict(line.split(": ", 1) for line in part.split("\n"))
        found.append((fields.get("event", ""), json.loads(fields["data"])))
    return found


def test_values_are_events_and_the_last_one_says_how_it_went(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        stand.link.script = lambda call: outcome(call, b"", logs=("hm",))
        response = await streamed(stand, b'{"n":1}', b'"two\\n"', b"3")
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        activation = response.headers["x-openwhisk-activation-id"]
        *values, (name, told) = events(response.text)
        assert values == [("", {"n": 1}), ("", "two\n"), ("", 3)]
        assert name == "result"
        assert (told["activationId"], told["values"], told["startKind"]) == (activation, 3, "warm")
        assert told["phases"]["compute"] == 0.002
        assert told["logs"] == ["hm"]
        record = await stand.record(activation)
        assert record["response"]["result"] == [{"n": 1}, "two\n", 3]
        assert record["annotations"] == told["annotations"]

    play(tmp_path, scene)


@pytest.mark.parametrize("media_type", ["application/x-ndjson", "application/jsonl"])
def test_values_are_lines_of_json_for_who_wants_that(tmp_path: Path, media_type: str) -> None:
    async def scene(stand: Stand) -> None:
        response = await streamed(stand, b"1", b"[]", headers={"accept": media_type})
        assert response.headers["content-type"] == media_type
        *values, last = [json.loads(line) for line in response.text.splitlines()]
        assert values == [{"event": "value", "value": 1}, {"event": "value", "value": []}]
        assert (last["event"], last["values"]) == ("result", 2)

    play(tmp_path, scene)


def test_a_generator_without_values_answers_the_empty_list(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        response = await streamed(stand)
        assert response.headers["x-instainfer-start-kind"] == "warm"
        ((name, told),) = events(response.text)
        assert (response.status_code, name, told["values"]) == (200, "result", 0)
        assert (await stand.record(told["activationId"]))["response"]["result"] == []

    play(tmp_path, scene)


def test_a_function_that_is_no_generator_has_one_value(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        stand.link.script = answering(b'{\n"a":\r\n1}')
        response = await streamed(stand)
        (_, value), (name, told) = events(response.text)
        assert (value, name, told["values"]) == ({"a": 1}, "result", 1)
        assert (await stand.record(told["activationId"]))["response"]["result"] == {"a": 1}

    play(tmp_path, scene)


def test_what_came_before_an_error_was_delivered(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        stand.link.script = failing(FailureKind.RAISED, "main() raised ValueError: no")
        response = await streamed(stand, b"1")
        (_, value), (name, told) = events(response.text)
        assert (response.status_code, value, name) == (200, 1, "error")
        assert (told["fault"], told["kind"]) == ("function", "raised")
        assert told["error"] == "An error has occurred: main() raised ValueError: no"
        record = await stand.record(told["activationId"])
        assert record["response"]["status"] == "action developer error"

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("script", "status", "fault", "kind"),
    [
        (failing(FailureKind.RAISED), 502, "function", "raised"),
        (failing(FailureKind.CONTAINER_LOST), 500, "platform", "container_lost"),
        (answering(b'{"error": {"of": "the model"}}'), 502, "function", "application_error"),
        (answering(b'{"too": "long for this platform, which allows little"}'), 502, "function", "bad_answer"),
    ],
)
def test_an_end_before_any_value_has_the_status_of_any_call(
    tmp_path: Path, script: Any, status: int, fault: str, kind: str
) -> None:
    async def scene(stand: Stand) -> None:
        stand.link.script = script
        response = await streamed(stand)
        assert response.status_code == status
        ((name, told),) = events(response.text)
        assert (name, told["fault"], told["kind"]) == ("error", fault, kind)
        assert told["error"]

    play(tmp_path, scene, server={"max_result_bytes": 40})


def test_a_refused_call_is_answered_as_any(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        stand.link.script = failing(FailureKind.QUEUE_FULL, start_kind=None)
        response = await streamed(stand)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert response.json()["error"] == "boom"
        response = await stand.http.post(f"{ACTIONS}/nobody", params={"blocking": "true"}, headers=EVENTS)
        assert response.status_code == 404

    play(tmp_path, scene)


def test_a_call_that_is_not_blocking_is_not_streamed(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        response = await stand.http.post(f"{ACTIONS}/f", headers=EVENTS)
        assert response.status_code == 202
        await stand.link.arrived()
        assert stand.link.calls[-1].on_value is None
        stand.link.script = outcome
        stand.link.release()

    play(tmp_path, scene)


def test_a_stream_takes_no_timeout(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        response = await stand.http.post(f"{ACTIONS}/f", params={"blocking": "true", "timeout": "9"}, headers=EVENTS)
        assert response.status_code == 400
        assert "close the connection" in response.json()["error"]

    play(tmp_path, scene)


def test_what_a_record_does_not_keep_was_streamed(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        values = [b'"%d%s"' % (n, b"x" * 30) for n in range(10)]
        response = await streamed(stand, *values)
        *got, (name, told) = events(response.text)
        assert ([value for _, value in got], name) == ([json.loads(value) for value in values], "result")
        record = await stand.record(told["activationId"])
        assert record["response"]["success"]
        assert "The 10 values of 330 bytes went to the caller" in record["response"]["result"]["omitted"]

    play(tmp_path, scene, retention={"records_max_age_s": 0.0, "records_max_result_bytes": 100})


class Caller:
    """Asks the application itself, so that a test decides when it reads and when it leaves."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.body = b""
        self.messages: list[dict[str, Any]] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self._left = asyncio.Event()
        self._news = asyncio.Event()
        self._bodies = iter([{"type": "http.request", "body": b"{}", "more_body": False}])

    async def __aenter__(self) -> Caller:
        request = self._stand.http.build_request("POST", f"{ACTIONS}/f", params={"blocking": "true"}, headers=LINES)
        request.headers["authorization"] = next(self._stand.http.auth.auth_flow(request)).headers["authorization"]  # type: ignore[union-attr]
        scope = {
            "type": "http",
            "method": "POST",
            "raw_path": request.url.raw_path.partition(b"?")[0],
            "query_string": request.url.query,
            "headers": [(name.lower(), value) for name, value in request.headers.raw],
        }
        self._asking = asyncio.ensure_future(self._stand.app(scope, self._receive, self._send))
        await self._stand.link.arrived()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.reads.set()
        self._stand.link.release()
        await self._asking

    async def _receive(self) -> dict[str, Any]:
        for message in self._bodies:
            return message
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.reads.wait()
        self.messages.append(message)
        self.body += message.get("body", b"")
        self._news.set()

    async def got(self, body: bytes) -> None:
        while body not in self.body:
            self._news.clear()
            await self._news.wait()

    async def leave(self) -> None:
        self._left.set()
        await self._asking


def test_a_value_is_sent_when_it_comes(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        async with Caller(stand) as caller:
            stand.link.say(b"1")
            await caller.got(b'{"event":"value","value":1}\n')
            stand.link.say(b"2")
            await caller.got(b'{"event":"value","value":2}\n')
            assert [message["type"] for message in caller.messages] == [
                "http.response.start",
                "http.response.body",
                "http.response.body",
            ]
        assert b'"event":"result"' in caller.body
        assert not caller.messages[-1]["more_body"]

    play(tmp_path, scene)


def test_the_node_is_told_what_a_caller_has_taken_and_nothing_else(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        value = b'"' + b"x" * 100_000 + b'"'
        async with Caller(stand) as caller:
            (call,) = stand.link.calls
            caller.reads.clear()
            stand.link.say(value, value)
            await asyncio.sleep(0)
            assert stand.link.taken_bytes[call.activation] == 0
            caller.reads.set()
            await caller.got(value + b"}\n" + b'{"event":"value","value":' + value)
            await asyncio.sleep(0)
            assert stand.link.taken_bytes[call.activation] == 2 * cost_bytes(value)
            for n in range(1000):
                stand.link.say(b"%d" % n)
            await caller.got(b'"value":999}')
            untold = 2 * cost_bytes(value) + sum(cost_bytes(b"%d" % n) for n in range(1000))
            untold -= stand.link.taken_bytes[call.activation]
            assert 0 <= untold < WINDOW_BYTES // 4

    play(tmp_path, scene)


@pytest.mark.parametrize("values", [[], [b"1"]], ids=["before the first value", "after it"])
def test_a_caller_who_goes_away_ends_the_call(tmp_path: Path, values: list[bytes]) -> None:
    async def scene(stand: Stand) -> None:
        async with Caller(stand) as caller:
            (call,) = stand.link.calls
            stand.link.say(*values)
            if values:
                await caller.got(values[-1])
            await caller.leave()
            assert stand.link.unwanted == [call.activation]
            sent = len(caller.messages)
            stand.link.say(b"5", b"6")
            stand.link.script = failing(FailureKind.CANCELLED, "the caller went away")
            stand.link.release()
            await stand.controller.idle()
            assert len(caller.messages) == sent
        record = await stand.record(call.activation)
        assert record["response"]["status"] == "application error"
        assert annotation(record, "failure") == {"kind": "cancelled", "message": "the caller went away"}

    play(tmp_path, scene)


def test_a_platform_that_stops_says_so_in_the_stream(tmp_path: Path) -> None:
    async def scene(stand: Stand) -> None:
        async with Caller(stand) as caller:
            stand.link.say(b"1")
            await caller.got(b"1")
            await stand.controller.cut_short()
        last = json.loads(caller.body.splitlines()[-1])
        assert (last["event"], last["fault"]) == ("error", "platform")
        assert "The platform stopped while this activation ran" in last["error"]

    play(tmp_path, scene)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, None),
        ("*/*", None),
        ("application/json", None),
        ("text/html, */*;q=0.8", None),
        ("application/json, text/event-stream", None),
        ("text/event-stream, application/json", b"text/event-stream"),
        ("Text/Event-Stream;q=0.9", b"text/event-stream"),
        ("text/html,application/jsonl", b"application/jsonl"),
        (",;,", None),
    ],
)
def test_what_accept_asks_for(accept: str | None, media_type: bytes | None) -> None:
    form = wanted_form(None if accept is None else accept.encode())
    assert (form and form.media_type) == media_type
