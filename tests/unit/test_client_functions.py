"""Functions called from a program: what is sent and what is made of the answers, blocking and on an event loop."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, cast

import httpx2
import numpy as np
import pytest

from instainfer import AsyncClient, Client
from instainfer.client import Ended, Result
from instainfer.client.answers import NothingSent
from instainfer.client.steps import Calls, Pause, Request, Steps
from instainfer.errors import (
    BadInput,
    CallFailed,
    HostError,
    InstaInferError,
    NotAllowed,
    NotFound,
    StillRunning,
    Throttled,
    Unreachable,
)

ID = "0123456789abcdef" * 2
PHASES = {"queue": 0.5, "container": 0.0, "libraries": 0.0, "model": 0.25, "handoff": 0.25, "compute": 2.0}
Handler = Callable[[httpx2.Request], httpx2.Response]


def record(result: Any, status: str = "success", **annotations: Any) -> dict[str, Any]:
    told = {"startKind": "forked", "phases": PHASES, **annotations}
    return {
        "activationId": ID,
        "response": {"status": status, "success": status == "success", "result": result},
        "logs": ["2026-11-02T07:57:28.123450Z     stdout: hm"],
        "annotations": [{"key": key, "value": value} for key, value in told.items()],
    }


def answering(body: Any, status: int = 200, **headers: str) -> Handler:
    return lambda _: httpx2.Response(status, json=body, headers=headers)


class Blocking:
    """Does with the blocking client what a program would do."""

    def __init__(self, handler: Handler, retries: int = 0) -> None:
        self.client = Client("here:1", "u:k", retries=retries, transport=httpx2.MockTransport(handler))

    def call(self, name: str, *args: Any, timeout_s: float | None = None, **named: Any) -> Result:
        with self.client as client:
            return client.function(name, timeout_s=timeout_s)(*args, **named)

    def submitted(self, name: str, *args: Any, timeout_s: float | None = None) -> tuple[str, bool, Result]:
        with self.client as client:
            call = client.function(name).submit(*args)
            return call.activation_id, call.done(), call.result(timeout_s)

    def streamed(self, name: str, *args: Any, into: list[Any] | None = None) -> tuple[list[Any], Ended]:
        got: list[Any] = [] if into is None else into
        with self.client as client, client.function(name).stream(*args) as values:
            for value in values:
                got.append(value)
            return got, values.result

    def mapped(self, requests: Iterable[Any], concurrency: int) -> list[Result]:
        with self.client as client:
            return client.function("f").map(requests, concurrency=concurrency)


class OnALoop:
    """Does the same with the other one."""

    def __init__(self, handler: Handler, retries: int = 0) -> None:
        self.client = AsyncClient("here:1", "u:k", retries=retries, transport=httpx2.MockTransport(handler))

    def call(self, name: str, *args: Any, timeout_s: float | None = None, **named: Any) -> Result:
        async def calling() -> Result:
            async with self.client as client:
                return await client.function(name, timeout_s=timeout_s)(*args, **named)

        return asyncio.run(calling())

    def submitted(self, name: str, *args: Any, timeout_s: float | None = None) -> tuple[str, bool, Result]:
        async def calling() -> tuple[str, bool, Result]:
            async with self.client as client:
                call = await client.function(name).submit(*args)
                return call.activation_id, await call.done(), await call.result(timeout_s)

        return asyncio.run(calling())

    def streamed(self, name: str, *args: Any, into: list[Any] | None = None) -> tuple[list[Any], Ended]:
        got: list[Any] = [] if into is None else into

        async def calling() -> tuple[list[Any], Ended]:
            async with self.client as client, client.function(name).stream(*args) as values:
                async for value in values:
                    got.append(value)
                return got, values.result

        return asyncio.run(calling())

    def mapped(self, requests: Iterable[Any], concurrency: int) -> list[Result]:
        async def calling() -> list[Result]:
            async with self.client as client:
                return await client.function("f").map(requests, concurrency=concurrency)

        return asyncio.run(calling())


Kind = type[Blocking] | type[OnALoop]


@pytest.fixture(params=[Blocking, OnALoop])
def program(request: pytest.FixtureRequest) -> Kind:
    return cast(Kind, request.param)


def test_a_result_is_the_answer_with_how_it_came_about(program: Kind) -> None:
    asked: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json=record({"label": "cat", "p": 0.9}))

    result = program(handler).call("a b", {"text": "x", "top": 1}, top=2)
    (request,) = asked
    assert str(request.url) == "http://here:1/api/v1/namespaces/_/actions/a%20b?blocking=true"
    assert json.loads(request.content) == {"text": "x", "top": 2}
    assert result["label"] == "cat"
    assert {**result} == {"label": "cat", "p": 0.9} == result
    assert (result.get("missing"), "p" in result, len(result)) == (None, True, 2)
    assert (result.start_kind, result.startup_s, result.compute_s) == ("forked", 1.0, 2.0)
    assert (result.activation_id, result.phases) == (ID, PHASES)
    assert result.logs[0].endswith("stdout: hm")


def test_an_answer_that_is_a_list_is_a_list(program: Kind) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(200, json=[1, 2], headers={"x-openwhisk-activation-id": ID})
        assert request.url.path.endswith(ID)
        return httpx2.Response(200, json=record({"omitted": "too large for a record"}))

    result = program(handler).call("f")
    assert result == [1, 2]
    assert (list(result), result[1], result.value, result.start_kind) == ([1, 2], 2, [1, 2], "forked")


def test_arrays_and_bytes_go_and_come_as_such(program: Kind) -> None:
    def echo(request: httpx2.Request) -> httpx2.Response:
        sent = json.loads(request.content)
        assert sent["x"]["__instainfer__"] == "ndarray"
        return httpx2.Response(200, json=record(sent))

    result = program(echo).call("f", x=np.eye(3, dtype="f4"), raw=b"\x00\xff", number=np.float32(0.5))
    assert np.array_equal(result["x"], np.eye(3))
    assert result["x"].dtype == np.float32
    assert (result["raw"], result["number"]) == (b"\x00\xff", 0.5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([1, 2], "not with a list"),
        ({"a": [{"mask": object()}]}, r"\$\.a\[0\]\.mask"),
        ({"a": float("nan")}, r"\$\.a"),
        ({"a": "\ud800"}, r"\$\.a"),
    ],
)
def test_what_cannot_be_sent_is_refused_with_its_place(program: Kind, args: Any, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        program(answering({})).call("f", args)


def test_arguments_that_contain_themselves_are_refused(program: Kind) -> None:
    args: dict[str, Any] = {}
    args["a"] = args
    with pytest.raises(BadInput, match="contains itself"):
        program(answering({})).call("f", args)


@pytest.mark.parametrize(
    ("status", "annotations", "fault", "kind"),
    [
        ("application error", {}, "function", "application_error"),
        ("action developer error", {"failure": {"kind": "raised", "message": "x"}}, "function", "raised"),
        ("action developer error", {}, "function", "bad_answer"),
        ("whisk internal error", {"failure": {"kind": "container_lost"}}, "platform", "container_lost"),
        ("whisk internal error", {}, "platform", ""),
        ("no such status", {}, "platform", ""),
    ],
)
def test_a_failed_call_says_whose_fault_it_is(
    program: Kind, status: str, annotations: Any, fault: str, kind: str
) -> None:
    body = record({"error": "KeyError: 'x'\x1b[2J\nin main"}, status, **annotations)
    with pytest.raises(CallFailed) as caught:
        program(answering(body, 502)).call("f")
    assert str(caught.value) == "f failed: KeyError: 'x'[2J\nin main"
    assert (caught.value.fault, caught.value.kind, caught.value.activation_id) == (fault, kind, ID)
    assert caught.value.logs[0].endswith("hm")


def test_an_answer_that_pretends_to_be_an_array_is_the_functions_fault(program: Kind) -> None:
    body = record({"x": {"__instainfer__": "ndarray", "dtype": "|O", "shape": [1], "data": "MTIzNDU2Nzg="}})
    with pytest.raises(CallFailed, match="cannot be read: what says that it is 'ndarray' is none") as caught:
        program(answering(body)).call("f")
    assert (caught.value.fault, caught.value.kind) == ("function", "bad_answer")


@pytest.mark.parametrize(
    ("status", "error"),
    [(400, BadInput), (401, NotAllowed), (404, NotFound), (429, Throttled), (500, HostError), (503, HostError)],
)
def test_what_the_platform_refuses_is_an_error_of_its_kind(
    program: Kind, status: int, error: type[InstaInferError]
) -> None:
    with pytest.raises(error, match="the cause"):
        program(answering({"error": "the cause"}, status), retries=3).call("f")


STRANGE = [
    {"activationId": ID, "response": 7},
    {"activationId": ID, "response": {"status": "success"}},
    {"activationId": ID, "response": {"status": "success", "result": {}}, "annotations": 7},
    {"activationId": ID, "response": {"status": "success", "result": {}}, "annotations": [{"key": [], "value": 1}]},
    {"activationId": ID, **record({}), "annotations": [{"key": "phases", "value": {"compute": "long"}}]},
    {"activationId": ID, **record({}), "annotations": [{"key": "phases", "value": [1]}]},
    {"activationId": ID, **record({}), "logs": 7},
    {},
    None,
    7,
]


@pytest.mark.parametrize("body", STRANGE)
def test_whatever_a_strange_server_says_is_an_error_of_ours(program: Kind, body: Any) -> None:
    with pytest.raises(Unreachable, match="not InstaInfer"):
        program(answering(body)).call("f")


def test_a_call_is_waited_for_after_the_platform_does_not_wait_any_more(program: Kind) -> None:
    looks = iter([{"activationId": ID}, {"activationId": ID}, record({"done": True})])

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            return httpx2.Response(202, json={"activationId": ID})
        return httpx2.Response(200, json=next(looks))

    assert program(handler).call("f") == {"done": True}


def test_a_call_that_takes_too_long_is_left_with_its_id(program: Kind) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            assert request.url.params["timeout"] == "1"
        return httpx2.Response(202 if request.method == "POST" else 200, json={"activationId": ID})

    with pytest.raises(StillRunning, match=ID) as caught:
        program(handler).call("f", timeout_s=0.0001)
    assert caught.value.activation_id == ID


def test_a_submitted_call_is_come_back_to(program: Kind) -> None:
    looks = iter([{"activationId": ID}, {"activationId": ID}, record({"done": True})])

    def handler(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            assert request.url.params["blocking"] == "false"
            return httpx2.Response(202, json={"activationId": ID})
        return httpx2.Response(200, json=next(looks))

    assert program(handler).submitted("f", {"x": 1}) == (ID, False, {"done": True})


def test_many_requests_are_answered_in_their_order(program: Kind) -> None:
    under_way, most, lock = 0, 0, threading.Lock()

    def handler(request: httpx2.Request) -> httpx2.Response:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        answer = httpx2.Response(200, json=record(json.loads(request.content)))
        with lock:
            under_way -= 1
        return answer

    given = [{"n": n} for n in range(40)]
    assert program(handler).mapped(given, 3) == given
    assert 1 <= most <= 3
    assert program(handler).mapped([], 1) == []


def test_the_first_failure_ends_a_map(program: Kind) -> None:
    asked: list[int] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(json.loads(request.content)["n"])
        if asked[-1] == 1:
            return httpx2.Response(502, json=record({"error": "no"}, "application error"))
        return httpx2.Response(200, json=record({}))

    with pytest.raises(CallFailed, match="f failed: no"):
        program(handler).mapped(({"n": n} for n in range(1000)), 1)
    assert len(asked) < 1000
    with pytest.raises(BadInput, match="concurrency=1"):
        program(handler).mapped([{}], 0)


# -- streamed answers -------------------------------------------------------------------------------------------------

RESULT = {"event": "result", "activationId": ID, "values": 2, "startKind": "warm", "phases": PHASES, "logs": ["hm"]}


def streaming(*events: Any, status: int = 200) -> Handler:
    text = "".join(json.dumps(event) + "\n" for event in events)
    headers = {"content-type": "application/x-ndjson", "x-openwhisk-activation-id": ID}
    return lambda _: httpx2.Response(status, text=text, headers=headers)


def value(of: Any) -> dict[str, Any]:
    return {"event": "value", "value": of}


def test_values_come_one_by_one_and_the_result_at_the_end(program: Kind) -> None:
    asked: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return streaming(value("a"), value({"raw": {"__instainfer__": "bytes", "data": "AP8="}}), RESULT)(request)

    values, ended = program(handler).streamed("f", {"n": 1})
    assert values == ["a", {"raw": b"\x00\xff"}]
    assert (ended.activation_id, ended.start_kind, ended.startup_s, ended.logs) == (ID, "warm", 1.0, ("hm",))
    (request,) = asked
    assert request.headers["accept"] == "application/x-ndjson"
    assert (request.url.params["blocking"], json.loads(request.content)) == ("true", {"n": 1})


@pytest.mark.parametrize(
    ("handler", "values", "error", "says"),
    [
        (
            streaming(value(1), {"event": "error", "error": "it broke", "fault": "function", "kind": "raised"}),
            [1],
            CallFailed,
            "f failed: it broke",
        ),
        (
            streaming({**RESULT, "event": "error", "error": "no", "fault": "x", "kind": ""}, status=502),
            [],
            CallFailed,
            "no",
        ),
        (streaming(value(1)), [1], Unreachable, f"the answer of f broke off; see `instainfer activations {ID}`"),
        (streaming(value(1), {"event": "result"}), [1], Unreachable, "not InstaInfer"),
        (streaming({"event": "value"}), [], Unreachable, "not InstaInfer"),
        (streaming(7), [], Unreachable, "not an event"),
        (streaming(value({"__instainfer__": "ndarray"})), [], CallFailed, "cannot be read"),
        (answering({"error": "the cause"}, 404), [], NotFound, "the cause"),
        (answering(record({"x": 1})), [], Unreachable, "not InstaInfer"),
    ],
)
def test_a_stream_that_fails_gives_what_came_before(
    program: Kind, handler: Handler, values: list[Any], error: type[InstaInferError], says: str
) -> None:
    got: list[Any] = []
    with pytest.raises(error, match=says):
        program(handler).streamed("f", into=got)
    assert got == values


def test_an_event_of_a_newer_platform_is_passed_over(program: Kind) -> None:
    assert program(streaming({"event": "rest"}, value(1), RESULT)).streamed("f")[0] == [1]


def test_a_refused_stream_is_asked_for_again(program: Kind) -> None:
    answers = iter([httpx2.Response(503, json={"error": "busy"}, headers={"retry-after": "0"})])

    def handler(request: httpx2.Request) -> httpx2.Response:
        return next(answers, None) or streaming(value(1), RESULT)(request)

    assert program(handler, retries=1).streamed("f")[0] == [1]


class Drip(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that says when it is closed, and is silent after its first value."""

    def __init__(self) -> None:
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield json.dumps(value(1)).encode() + b"\n"
        raise httpx2.ReadTimeout("silence")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.is_closed = True

    async def aclose(self) -> None:
        self.is_closed = True


def dripping(body: Drip) -> Handler:
    headers = {"content-type": "application/x-ndjson", "x-openwhisk-activation-id": ID}
    return lambda _: httpx2.Response(200, stream=body, headers=headers)


def test_a_value_that_does_not_come_in_time_is_not_waited_for(program: Kind) -> None:
    body = Drip()
    with pytest.raises(StillRunning, match="no further value came in time") as caught:
        program(dripping(body)).streamed("f")
    assert caught.value.activation_id == ID
    assert body.is_closed


def test_leaving_a_stream_closes_its_connection_and_its_result_is_not_known() -> None:
    body = Drip()
    with Client("here:1", "u:k", transport=httpx2.MockTransport(dripping(body))) as client:
        with client.function("f").stream() as values:
            assert next(values) == 1
            assert not body.is_closed
            with pytest.raises(BadInput, match="known at its end"):
                _ = values.result
        assert body.is_closed
        body = Drip()
    with Client("here:1", "u:k", transport=httpx2.MockTransport(dripping(body))) as client:
        client.function("f").stream().close()
        assert body.is_closed, "although nothing was read"

    async def program() -> None:
        body = Drip()
        transport = httpx2.MockTransport(dripping(body))
        async with AsyncClient("here:1", "u:k", transport=transport) as client:
            async with client.function("f").stream() as values:
                assert await anext(values) == 1
                assert not body.is_closed
            assert body.is_closed
            async with client.function("f").stream():
                pass  # nothing was asked for

    asyncio.run(program())


# -- what is tried again, step by step and without waiting -------------------------------------------------------------

POSTED = httpx2.Response(200)
DONE = (POSTED, json.dumps(record({"x": 1})).encode())
REFUSED = NothingSent("no InstaInfer at here; start it")


def busy(status: int, **headers: str) -> tuple[httpx2.Response, bytes]:
    return httpx2.Response(status, headers=headers), b'{"error": "busy"}'


def played(steps: Steps[Result], *replies: Any) -> tuple[Any, list[float]]:
    """What the steps come to, or their error, and how long they paused."""
    given, pauses, reply = iter(replies), [], None
    try:
        while True:
            step = steps.send(reply)
            if isinstance(step, Pause):
                pauses.append(step.seconds)
                reply = None
            else:
                assert isinstance(step, Request)
                reply = next(given)
    except StopIteration as ended:
        return ended.value, pauses
    except InstaInferError as error:
        return error, pauses


def answer(retries: int = 3, timeout_s: float | None = None) -> Steps[Result]:
    return Calls("here", retries).answer("f", b"{}", timeout_s)


def test_what_nobody_has_received_is_sent_again() -> None:
    assert played(answer(), REFUSED, REFUSED, DONE) == ({"x": 1}, [0.1, 0.2])
    assert played(answer(retries=2), REFUSED, REFUSED, REFUSED) == (REFUSED, [0.1, 0.2])
    assert played(answer(retries=0), REFUSED) == (REFUSED, [])


@pytest.mark.parametrize(("status", "kind"), [(429, Throttled), (503, HostError)])
def test_what_the_platform_would_take_later_is_sent_later(status: int, kind: type[InstaInferError]) -> None:
    later = busy(status, **{"Retry-After": "2"})
    assert played(answer(), later, DONE) == ({"x": 1}, [2.0])
    for refused in (
        busy(status),
        busy(status, **{"Retry-After": "3600"}),
        busy(status, **{"Retry-After": "-1"}),
        busy(status, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        busy(status, **{"Retry-After": "9" * 5000}),
    ):
        error, pauses = played(answer(), refused)
        assert (type(error), pauses) == (kind, [])
    assert played(answer(timeout_s=1.0), later)[1] == []  # that would be after its time


def test_what_may_have_run_is_never_sent_again() -> None:
    broken = Unreachable("the connection broke; see")
    assert played(answer(), broken) == (broken, [])
    error, pauses = played(answer(), (httpx2.Response(500, headers={"Retry-After": "1"}), b'{"error": "bug"}'))
    assert (type(error), pauses) == (HostError, [])


# -- where a client finds its platform ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_a_client_finds_its_platform_as_commands_do(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INSTAINFER_API_HOST", "INSTAINFER_AUTH", "WSK_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("INSTAINFER_HOME", str(tmp_path / "home"))
    with pytest.raises(Unreachable, match="instainfer up"):
        kind()
    (tmp_path / ".wskprops").write_text("APIHOST=far:1\nAUTH=u:k\n")
    assert kind().api_host == "http://far:1"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "credentials").write_text("APIHOST=near:2\nAUTH=u:k\n")
    assert kind().api_host == "http://near:2"
    assert kind(home=tmp_path).api_host == "http://far:1"
    monkeypatch.setenv("INSTAINFER_API_HOST", "there:3")
    assert kind().api_host == "http://there:3"
    assert kind("here:4").api_host == "http://here:4"
    monkeypatch.setenv("INSTAINFER_HOME", "")
    monkeypatch.setenv("INSTAINFER_SERVER__PORT", "x")
    with pytest.raises(BadInput, match="configuration is wrong"):
        kind("here:4")
    with pytest.raises(NotAllowed, match="colon"):
        kind("here:4", "key")
    with pytest.raises(BadInput, match="is no address"):
        kind("http://a:b", "u:k")


def test_the_package_stays_light_until_a_client_is_asked_for() -> None:
    program = (
        "import sys, instainfer\n"
        "assert 'httpx2' not in sys.modules\n"
        "from instainfer import Client, AsyncClient\n"
        "assert 'httpx2' in sys.modules and 'pydantic' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
