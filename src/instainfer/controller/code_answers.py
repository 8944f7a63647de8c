"""Makes the response that carries an action with its code. Long code is read and sent in pieces.

An archive may have tens of megabytes, and its base64 in JSON needs several times that memory. With pieces, even a
client that reads slowly costs the platform only the memory of one piece.
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
"""Size of a piece. It is a multiple of three, so that the base64 of the pieces, joined, is the base64 of the whole."""
_PLACE = "the code comes here \0"
"""Marks the place of the code in the JSON of an action, until the code itself is sent there."""

Read: TypeAlias = Callable[[int, int], Awaitable[bytes]]
"""Reads code: gets the offset and the number of bytes, and returns those bytes, or fewer at the end of the code."""


async def with_code(action: Action, size: int, read: Read) -> Response:
    """The response with an action and its code. The code has `size` bytes and is read with `read`."""
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
    # "exec" goes first, so that no text of a user comes before the mark and can be mistaken for it.
    whole = action_json(action, _PLACE)
    head, _, tail = encode({"exec": whole.pop("exec"), **whole}).partition(encode(_PLACE)[1:-1])
    yield head
    text = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, size, PIECE_BYTES):
        piece = await read(start, PIECE_BYTES)
        if len(piece) < min(PIECE_BYTES, size - start):
            # The response breaks off here, so that the client cannot take it for complete JSON.
            raise InternalError(f"the code of {action.path} went away while it was sent; ask again")
        if action.binary:
            yield await asyncio.to_thread(base64.b64encode, piece)
        else:
            yield encode(text.decode(piece))[1:-1]
    yield tail
