"""An action with its code, as an answer: at once where it is short, else in pieces that are made as they are sent.

The code of an archive may be tens of megabytes, and several times that as base64 in JSON. Nobody who asks for it,
however slowly they read, should cost the platform more memory than a piece of it.
"""

from __future__ import annotations

import asyncio
import base64
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

from starlette.responses import Response, StreamingResponse

from ..errors import InternalError
from .records import Action
from .responses import action_json, encode

PIECE_BYTES = 3 * 256 * 1024
"""A multiple of three, so that the base64 of the pieces is that of the whole."""
_PLACE = "the code comes here \0"
"""Stands for the code."""

Read: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""From where, how many bytes; nothing at the end."""


async def with_code(action: Action, size: int, read: Read) -> Response:
    """The action with its code, which is `size` bytes long and comes out of `read`."""
    if size <= PIECE_BYTES:
        source = await read(0, PIECE_BYTES)
        text = base64.b64encode(source).decode("ascii") if action.binary else source.decode("utf-8")
        return Response(encode(action_json(action, text)), media_type="application/json")
    return StreamingResponse(_pieces(action, size, read), media_type="application/json")


def out_of(source: bytes) -> Read:
    async def read(start: int, count: int) -> bytes:
        return source[start : start + count]

    return read


async def _pieces(action: Action, size: int, read: Read) -> AsyncIterator[bytes]:
    # Its execution goes first, so that nothing of a stranger's can come before the place and look like it.
    whole = action_json(action, _PLACE)
    head, _, tail = encode({"exec": whole.pop("exec"), **whole}).partition(encode(_PLACE)[1:-1])
    yield head
    text = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, size, PIECE_BYTES):
        piece = await read(start, PIECE_BYTES)
        if len(piece) < min(PIECE_BYTES, size - start):
            # The caller sees an answer that breaks off, which no JSON parser takes for whole.
            raise InternalError(f"the code of {action.path} went away while it was sent; ask again")
        if action.binary:
            yield await asyncio.to_thread(base64.b64encode, piece)
        else:
            yield encode(text.decode(piece))[1:-1]
    yield tail
