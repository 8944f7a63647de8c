"""Answers a call while it runs: its values as server-sent events or as lines of JSON, and at the end how it went.

Server-sent events are ``data: VALUE`` for each value, and at the end an event ``result`` or ``error``. The lines are
``{"event": "value", "value": ...}`` and at the end ``{"event": "result", ...}`` or ``{"event": "error", ...}``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import msgspec
from starlette.types import Receive, Send

from ..core.model import FailureKind
from .invocations import Ended, Streaming
from .records import APPLICATION_ERROR, DEVELOPER_ERROR, SUCCESS, WHISK_ERROR
from .responses import PIECE_BYTES, encode, http_status, phases_json, story_headers

Headers: TypeAlias = list[tuple[bytes, bytes]]


class Form(NamedTuple):
    """How a streamed answer is written."""

    media_type: bytes
    value: Callable[[bytes], bytes]
    end: Callable[[str, dict[str, Any]], bytes]
    """For the event's name and what it tells."""


def _event(name: str, told: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), encode(told))


def _line(name: str, told: dict[str, Any]) -> bytes:
    return encode({"event": name, **told}) + b"\n"


_EVENTS = Form(b"text/event-stream", lambda value: b"data: %b\n\n" % value, _event)
_LINES = Form(b"application/x-ndjson", lambda value: b'{"event":"value","value":%b}\n' % value, _line)
_FORMS = {
    b"text/event-stream": _EVENTS,
    b"application/x-ndjson": _LINES,
    b"application/jsonl": _LINES._replace(media_type=b"application/jsonl"),
}
_ONE_ANSWER = (b"application/json", b"*/*", b"application/*")


def wanted_form(accept: bytes | None) -> Form | None:
    """The form that the header ``Accept`` asks for; None for one answer. What is named first counts."""
    if accept is None or accept == b"*/*":
        return None
    for wanted in accept.lower().split(b","):
        media_type = wanted.partition(b";")[0].strip()
        if media_type in _ONE_ANSWER:
            return None
        if media_type in _FORMS:
            return _FORMS[media_type]
    return None


def _how_it_ended(ended: Ended, count: int) -> tuple[str, dict[str, Any]]:
    """The last event: its name, and what it tells of the activation."""
    record, outcome = ended.record, ended.outcome
    told: dict[str, Any] = {
        "activationId": record.id,
        "values": count,
        "startKind": outcome.start_kind,
        "phases": msgspec.Raw(phases_json(ended.phases)),
        "container": outcome.container or None,
        "annotations": msgspec.Raw(record.annotations),
        "logs": msgspec.Raw(record.logs),
    }
    if record.status_code == SUCCESS:
        return "result", told
    kind = outcome.failure.kind if outcome.failure is not None else _KINDS.get(record.status_code or 0, "")
    fault = "platform" if record.status_code == WHISK_ERROR else "function"
    return "error", {"error": _error_of(record.result), "fault": fault, "kind": kind, **told}


_KINDS = {APPLICATION_ERROR: "application_error", DEVELOPER_ERROR: "bad_answer"}
"""The kinds of failures that are none of the function's run, but of its answer."""


def _error_of(result: bytes | None) -> Any:
    answer = msgspec.json.decode(result or b"{}", type=dict[str, msgspec.Raw])
    return answer.get("error", "")


async def stream(
    streaming: Streaming,
    form: Form,
    receive: Receive,
    send: Send,
    *,
    headers: Headers,
    explain: Callable[[Exception], str],
) -> None:
    """Answer with the values of a call as they come, and at the end with how it went.

    A caller who goes away ends the call. When it has ended before any value, the status is that of any other call, and
    what `Streaming.ended` raises is raised. `explain` turns a later error into words for the caller.
    """
    leaving = asyncio.ensure_future(_left(receive))
    leaving.add_done_callback(lambda left: None if left.cancelled() else streaming.leave())
    try:
        await _send(streaming, form, send, headers, explain)
    finally:
        leaving.cancel()
        streaming.leave()  # nothing of it is kept here, whatever has happened
        await asyncio.wait((leaving,))


async def _send(
    streaming: Streaming, form: Form, send: Send, headers: Headers, explain: Callable[[Exception], str]
) -> None:
    values = streaming.values
    value = await values.next()
    if values.has_left():
        return
    headers += ((b"cache-control", b"no-store"), (b"x-accel-buffering", b"no"))  # for proxies: pass on what comes
    if value is None:
        ended = await streaming.ended()
        headers += story_headers(ended.record, ended.outcome, ended.phases)
    else:
        headers.append((b"x-openwhisk-activation-id", streaming.activation.encode()))
    status = 200 if value is not None else http_status(ended.record)
    headers.append((b"content-type", form.media_type))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    while value is not None:
        await _send_body(send, form.value(value))
        values.took(value)
        value = await values.next()
    if values.has_left():
        return
    try:
        last = _last(form, await streaming.ended(), streaming)
    except Exception as error:  # the platform stops, or has a bug; without this, the answer would break off
        last = form.end("error", {"error": explain(error), "fault": "platform", "kind": FailureKind.CONTAINER_LOST})
    await _send_body(send, last, more=False)


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send a piece of the answer in pieces that a slow connection takes in its turn."""
    for start in range(0, len(body), PIECE_BYTES):
        piece = body[start : start + PIECE_BYTES]
        is_last = start + PIECE_BYTES >= len(body)
        await send({"type": "http.response.body", "body": piece, "more_body": more or not is_last})


def _last(form: Form, ended: Ended, streaming: Streaming) -> bytes:
    """The end of the answer. The answer of a function that is no generator comes before it, as the only value."""
    values = streaming.values
    if values.is_answer or ended.record.status_code != SUCCESS:
        return form.end(*_how_it_ended(ended, values.count))
    answer = ended.record.result or b"{}"
    return form.value(answer.translate(_TO_SPACES)) + form.end(*_how_it_ended(ended, values.count + 1))


async def _left(receive: Receive) -> None:
    """Return when the caller has gone away."""
    while (await receive())["type"] != "http.disconnect":
        pass


_TO_SPACES = bytes.maketrans(b"\n\r", b"  ")
"""Takes the line breaks out of JSON, in which they can only stand between its parts."""
