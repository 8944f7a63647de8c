"""The bodies of requests: read within bounds of size and of all memory together, and checked to be the JSON they are.

What is in a body is decided by strangers. So it is measured before anything is made of it, since Python's objects are
many times as large as the text that makes them, and what later readers could not take is refused here: nesting beyond
their stack, and numbers beyond what Python converts.
"""

from __future__ import annotations

import asyncio
import re
from array import array
from collections.abc import Callable
from itertools import accumulate
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive

from ..errors import BadInput

MALFORMED = "The request content was malformed:\n"
MAX_DEPTH = 500
"""Levels of arrays and objects within each other; the parsers of functions' Pythons end at a thousand frames."""
LARGE_BYTES = 128 * 1024
"""From here on a body is looked at in a thread; below, the way to a thread and back would take longer."""
_DISCARDABLE_BYTES = 64 * 1024 * 1024
"""An unread body up to here is read and thrown away; of a longer one the connection is closed."""
_MAX_DIGITS = 4300
"""Python converts no longer number from text."""
_DIGITS = b"0123456789"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")

T = TypeVar("T")
_check_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Budget:
    """How many bytes of requests may be in memory at a time, all callers together."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.taken_bytes = 0

    def take(self, count: int) -> None:
        """Raises 503 when so much is not left, 413 when it never will be."""
        if self.taken_bytes + count > self._most_bytes:
            if count > self._most_bytes:
                raise HTTPException(413, f"Request larger than allowed: {count} > {self._most_bytes} bytes.")
            raise HTTPException(
                503,
                "Too much data of other requests is waiting here to take this one. Try again in a moment; "
                "server.max_pending_bytes is the bound.",
                {"Retry-After": "1"},
            )
        self.taken_bytes += count

    def give(self, count: int) -> None:
        self.taken_bytes -= count

    def lease(self) -> Lease:
        return Lease(self)


class Lease:
    """One request's share of a budget; use it in ``with``."""

    __slots__ = ("_budget", "_bytes")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._budget.give(self._bytes)
        self._bytes = 0

    def grow(self, count: int) -> None:
        """Raises as `Budget.take` does."""
        self._budget.take(count)
        self._bytes += count


async def read_body(receive: Receive, length: bytes | None, max_bytes: int, lease: Lease) -> bytes | bytearray:
    """The whole body. A longer one than `max_bytes` is refused by what its head announces, else as soon as it is.

    Only what comes in several pieces is charged to `lease`: the first is held by the connection anyhow.
    """
    if length is not None and int(length) > max_bytes:
        raise _too_large(int(length), max_bytes)
    message = await receive()
    first = _piece(message, 0, max_bytes)
    if not message.get("more_body"):
        return first
    lease.grow(len(first))
    body = bytearray(first)
    while message.get("more_body"):
        message = await receive()
        piece = _piece(message, len(body), max_bytes)
        lease.grow(len(piece))
        body += piece
    return body


def _piece(message: Message, before: int, max_bytes: int) -> bytes:
    if message["type"] == "http.disconnect":
        raise BadInput("The connection was closed before the request was complete.")
    piece: bytes = message.get("body", b"")
    if before + len(piece) > max_bytes:
        raise _too_large(before + len(piece), max_bytes)
    return piece


def _too_large(size: int, allowed: int) -> HTTPException:
    headers = {"Connection": "close"} if size > _DISCARDABLE_BYTES else None
    return HTTPException(413, f"Request larger than allowed: {size} > {allowed} bytes.", headers)


def check_content_type(content_type: bytes | None) -> None:
    """JSON, or nothing said; anything else is 415."""
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise HTTPException(415, "The request's Content-Type is not supported. Expected:\napplication/json")


async def arguments(body: bytes | bytearray, content_type: bytes | None) -> bytes:
    """The body of a call, certain to be a JSON object that its function can read."""
    if not body:
        return b"{}"
    check_content_type(content_type)
    if len(body) < LARGE_BYTES:
        return checked_object(body)
    return await asyncio.to_thread(checked_object, body)


def checked_object(body: bytes | bytearray) -> bytes:
    """`body`, if it is a JSON object in UTF-8 within the bounds of depth and digits. Raises `BadInput`."""
    decoded(_check_object, body)
    check_depth(body)
    check_digits(body)
    return bytes(body)


def object_items(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object that has been checked, each as its text."""
    return _check_object(body)


def decoded(decode: Callable[[bytes | bytearray], T], body: bytes | bytearray) -> T:
    """What a msgspec decoder makes of a stranger's JSON. Raises `BadInput` with the place where it is wrong."""
    try:
        if not body.isascii():  # msgspec looks at the UTF-8 of those strings alone that it makes
            body.decode("utf-8")
        return decode(body)
    except RecursionError as error:
        raise BadInput(_too_deep()) from error
    except (msgspec.DecodeError, ValueError) as error:  # not UTF-8, or a number that Python does not convert
        raise BadInput(f"{MALFORMED}{error}") from error


def check_depth(text: bytes | bytearray | memoryview) -> None:
    """Raise `BadInput` when sound JSON nests deeper than `MAX_DEPTH`."""
    if len(text) <= 2 * MAX_DEPTH:
        return
    plain = bytes(text)
    if plain.count(b"[") + plain.count(b"{") <= MAX_DEPTH:
        return
    if b"\\" in plain:
        plain = _ESCAPE.sub(b"", plain)
    kept = plain.translate(None, _NOT_STRUCTURE)
    brackets = _STRING.sub(b"", kept) if b'"' in kept else kept
    steps = array("b", brackets.translate(_STEPS))
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise BadInput(_too_deep())


def check_digits(body: bytes | bytearray) -> None:
    """Raise `BadInput` when sound JSON holds a number that is too long for Python.

    A run of more than `_MAX_DIGITS` digits covers one of every so many places; only there is looked.
    """
    for place in range(_MAX_DIGITS, len(body), _MAX_DIGITS + 1):
        if 48 <= body[place] <= 57:
            before, behind = body[place - _MAX_DIGITS : place], body[place : place + _MAX_DIGITS + 1]
            run = len(before) - len(before.rstrip(_DIGITS)) + len(behind) - len(behind.lstrip(_DIGITS))
            if run > _MAX_DIGITS:
                # It may be inside a string, where it is welcome; msgspec knows, and refuses such numbers.
                decoded(msgspec.json.decode, body)
                return


def _too_deep() -> str:
    return f"{MALFORMED}arrays and objects are nested more than {MAX_DEPTH} levels deep; flatten them"


def shape_error(error: msgspec.DecodeError, path: str) -> BadInput:
    """What a decoder says of a part of a body, with the place in the whole of it."""
    text = str(error)
    told = text.replace("`$", f"`{path}", 1) if " - at `$" in text else f"{text} - at `{path}`"
    return BadInput(f"{MALFORMED}{told}")


def part(text: msgspec.Raw, kind: Any, path: str) -> Any:
    """A part of a body, as `kind`. Raises `BadInput`."""
    check_depth(memoryview(text))
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise shape_error(error, path) from error
