"""Reads the bodies of requests within limits of memory, and checks that they are valid JSON.

Strangers decide what a body contains. So a body is measured before it is decoded, because Python's objects are many
times as large as their JSON. Bodies that a later reader could not decode are refused here: those that nest too deep for
its stack, and those with numbers that are too long for Python to convert.
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
from .malformed import MAX_DIGITS, explained

MALFORMED = "The request content was malformed:\n"
MAX_DEPTH = 500
"""Greatest nesting of arrays and objects. The JSON parser of a function's Python fails at about 1000 levels."""
LARGE_BYTES = 128 * 1024
"""Bodies of at least this size are checked in a thread. For smaller ones the switch of threads would take longer."""
_DISCARDABLE_BYTES = 64 * 1024 * 1024
"""A refused body of up to this size is read and thrown away. For a larger one the connection is closed."""
_DIGITS = b"0123456789"
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STRING = re.compile(rb'"[^"]*"')
_STEPS = bytes.maketrans(b"[]{}", b"\x01\xff\x01\xff")

T = TypeVar("T")
_check_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Budget:
    """Limits the bytes of all requests together that are in memory at a time."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self.taken_bytes = 0

    def take(self, count: int) -> None:
        """Reserve `count` bytes.

        Raises `HTTPException` 503 when too few bytes are free now, and 413 when `count` exceeds the whole budget.
        """
        if self.taken_bytes + count > self._most_bytes:
            if count > self._most_bytes:
                raise too_large(count, self._most_bytes, "server.max_pending_bytes")
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
    """The bytes that one request has reserved. Use it in ``with``; its end gives the bytes back."""

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
        """Reserve `count` more bytes. Raises the errors of `Budget.take`."""
        self._budget.take(count)
        self._bytes += count

    @property
    def held_bytes(self) -> int:
        return self._bytes

    def hold(self, count: int) -> None:
        """Count bytes that are in memory already, even where they exceed the budget: new requests have to wait.

        A negative number gives bytes back.
        """
        self._budget.taken_bytes += count
        self._bytes += count


async def read_body(
    receive: Receive, length: bytes | None, max_bytes: int, lease: Lease, setting: str = ""
) -> bytes | bytearray:
    """Read the whole body. `length` is the value of the header ``Content-Length``, if there is one.

    Raises `HTTPException` 413 when the body is longer than `max_bytes`, at once if `length` already says so. The error
    names `setting`, the key of the configuration that is the bound, if there is one. A body that comes in one piece is
    not charged to `lease`, because the connection holds that piece in any case.
    """
    check_length(length, max_bytes, setting)
    message = await receive()
    first = _piece(message, 0, max_bytes, setting)
    if not message.get("more_body"):
        return first
    lease.grow(len(first))
    body = bytearray(first)
    while message.get("more_body"):
        message = await receive()
        piece = _piece(message, len(body), max_bytes, setting)
        lease.grow(len(piece))
        body += piece
    return body


def check_length(length: bytes | None, max_bytes: int, setting: str = "") -> None:
    """Raise `HTTPException` 413 when the header ``Content-Length`` says that a body is longer than `max_bytes`."""
    if length is not None and int(length) > max_bytes:
        raise too_large(int(length), max_bytes, setting)


def _piece(message: Message, before: int, max_bytes: int, setting: str) -> bytes:
    if message["type"] == "http.disconnect":
        raise BadInput("The connection was closed before the request was complete.")
    piece: bytes = message.get("body", b"")
    if before + len(piece) > max_bytes:
        raise too_large(before + len(piece), max_bytes, setting)
    return piece


def too_large(size: int, allowed: int, setting: str = "", what: str = "Request") -> HTTPException:
    """The error for a request, or for `what` part of it, of `size` bytes.

    `setting` is the configuration's key that is the bound, if any.
    """
    headers = {"Connection": "close"} if size > _DISCARDABLE_BYTES else None
    bound = f" {setting} is the bound." if setting else ""
    return HTTPException(413, f"{what} larger than allowed: {size} > {allowed} bytes.{bound}", headers)


def check_content_type(content_type: bytes | None) -> None:
    """Raise `HTTPException` 415 when the header ``Content-Type`` is there and is not JSON."""
    if content_type is not None and content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise HTTPException(415, "The request's Content-Type is not supported. Expected:\napplication/json")


async def arguments(body: bytes | bytearray, content_type: bytes | None) -> bytes:
    """The arguments in the body of a call, checked to be a JSON object that every function can decode.

    An empty body means no arguments. The content type that ``curl -d`` sends unless it is told another is taken for
    JSON. Raises `BadInput`, and `HTTPException` 415 for other content types.
    """
    if not body:
        return b"{}"
    if content_type != b"application/x-www-form-urlencoded":
        check_content_type(content_type)
    if len(body) < LARGE_BYTES:
        return checked_object(body)
    return await asyncio.to_thread(checked_object, body)


def checked_object(body: bytes | bytearray) -> bytes:
    """Return `body`. Raises `BadInput` if it is not a JSON object in UTF-8, nests too deep or has too long numbers."""
    decoded(_check_object, body)
    check_depth(body)
    check_digits(body)
    return bytes(body)


def object_items(body: bytes) -> dict[str, msgspec.Raw]:
    """The members of a JSON object that has been checked. Each value is still JSON text."""
    return _check_object(body)


def decoded(decode: Callable[[bytes | bytearray], T], body: bytes | bytearray) -> T:
    """Decode a stranger's JSON with a msgspec decoder. Raises `BadInput`, which names the place of the mistake."""
    try:
        if not body.isascii():  # msgspec checks the UTF-8 only of the strings that it decodes
            body.decode("utf-8")
        return decode(body)
    except RecursionError as error:
        raise BadInput(_too_deep()) from error
    except (msgspec.DecodeError, ValueError) as error:  # not UTF-8, or a number that Python does not convert
        raise BadInput(f"{MALFORMED}{explained(body, error)}") from error


def check_depth(text: bytes | bytearray | memoryview) -> None:
    """Raise `BadInput` when valid JSON nests deeper than `MAX_DEPTH`."""
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
    """Raise `BadInput` when valid JSON contains a number that is too long for Python.

    Only every (`MAX_DIGITS` + 1)-th byte is looked at, because each longer run of digits covers one of those bytes.
    """
    for place in range(MAX_DIGITS, len(body), MAX_DIGITS + 1):
        if 48 <= body[place] <= 57:
            before, behind = body[place - MAX_DIGITS : place], body[place : place + MAX_DIGITS + 1]
            run = len(before) - len(before.rstrip(_DIGITS)) + len(behind) - len(behind.lstrip(_DIGITS))
            if run > MAX_DIGITS:
                # The digits may be part of a string, which is allowed. msgspec refuses only such numbers.
                decoded(msgspec.json.decode, body)
                return


def _too_deep() -> str:
    return f"{MALFORMED}arrays and objects are nested more than {MAX_DEPTH} levels deep; flatten them"


def shape_error(error: msgspec.DecodeError, path: str) -> BadInput:
    """The error of decoding one part of a body, with the place given relative to the whole body.

    `path` is the place of the part, for example ``$.limits``.
    """
    text = str(error)
    told = text.replace("`$", f"`{path}", 1) if " - at `$" in text else f"{text} - at `{path}`"
    return BadInput(f"{MALFORMED}{told}")


def part(text: msgspec.Raw, kind: Any, path: str) -> Any:
    """Decode one part of a body as a value of type `kind`. `path` is its place in the body. Raises `BadInput`."""
    check_depth(memoryview(text))
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise shape_error(error, path) from error
