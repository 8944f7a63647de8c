"""Streamed answers (ADR 27): a function that returns a generator answers with its values.

They are sent one by one as they are yielded if the caller wants that. Otherwise they are gathered, and the answer is
the list of them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import closing
from typing import Any

from ..wire.bounds import MAX_ANSWER_BYTES
from ..wire.calls import Ask
from ..wire.messages import Failure
from .answers import encode_answer, encode_value
from .connection import Connection
from .coroutines import awaited


def is_stream(value: Any) -> bool:
    """Whether what a function returned is a generator. Other iterators are no answers, as before."""
    return isinstance(value, (Generator, AsyncGenerator))


def answer_of(connection: Connection, ask: Ask, value: Any, whose: str) -> tuple[bytes, Failure | None]:
    """Encode what a function returned; send the values of a generator if the request asks for that.

    `whose` names the answer in messages. Raises what the generator raises.
    """
    if not is_stream(value):
        return encode_answer(value, whose)
    return _streamed(connection, value, whose) if ask.streams else gathered(value, whose)


def gathered(stream: Any, whose: str) -> tuple[bytes, Failure | None]:
    """The list of all values of a generator as JSON. Raises what the generator raises."""
    pieces: list[bytes] = []
    size_bytes = 2
    with closing(values_of(stream)) as values:
        for number, value in enumerate(values, 1):
            piece, failure = encode_value(value, _named(number, whose))
            if failure is not None:
                return b"", failure
            size_bytes += len(piece) + 1
            if size_bytes > MAX_ANSWER_BYTES:
                text = "{} has {} values of more than {} bytes; ask for it as a stream".format(
                    whose, number, MAX_ANSWER_BYTES
                )
                return b"", Failure("bad_answer", text)
            pieces.append(piece)
    return b"[" + b",".join(pieces) + b"]", None


def _streamed(connection: Connection, stream: Any, whose: str) -> tuple[bytes, Failure | None]:
    """Send the values one by one. The answer that is left is empty."""
    number = 0
    with closing(values_of(stream)) as values:
        while connection.wants_value():
            try:
                value = next(values)
            except StopIteration:
                return b"", None
            number += 1
            piece, failure = encode_value(value, _named(number, whose))
            if failure is not None:
                return b"", failure
            connection.send_value(piece)
    return b"", Failure("cancelled", "the caller went away before the end of the answer")


def values_of(stream: Any) -> Generator[Any, None, None]:
    """The values of a generator of either kind. Closing this closes the generator, too."""
    if isinstance(stream, Generator):
        yield from stream
        return
    try:
        while True:
            try:
                value = awaited(stream.__anext__())
            except StopAsyncIteration:
                return
            yield value
    finally:
        awaited(stream.aclose())


def _named(number: int, whose: str) -> str:
    return "value {} of {}".format(number, whose)
