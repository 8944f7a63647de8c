"""Frames: a JSON header and a body of raw bytes, told apart by their lengths. No IO.

::

    u32  length of all that follows
    u32  length of the header
         header: a JSON object as UTF-8
         body: bytes, passed on as they are (requests and answers are never encoded a second time)

Both lengths are big-endian.
"""

from __future__ import annotations

import json
import struct
from typing import Any, NamedTuple

MAX_FRAME_BYTES = 128 * 1024 * 1024
"""Default bound on one frame: room for the largest answer and the largest logs."""

_LENGTHS = struct.Struct("!II")
_HEADER_LENGTH_BYTES = 4
_TOTAL_LENGTH_BYTES = 4

_encode_header = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class ProtocolError(Exception):
    """The other side sent what is not a frame or not a message; nothing more can be read from it."""


class Frame(NamedTuple):
    header: dict[str, Any]
    body: bytes = b""


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """One frame as bytes."""
    head = _encode_header(header).encode("utf-8", "surrogatepass")
    return b"".join((_LENGTHS.pack(_HEADER_LENGTH_BYTES + len(head) + len(body), len(head)), head, body))


class Decoder:
    """Turns a stream of bytes, cut anywhere, back into frames."""

    def __init__(self, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes and return the frames that they complete, often none.

        Raises `ProtocolError`; the decoder is of no use after that.
        """
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while len(self._buffer) - start >= _LENGTHS.size:
            total, header = _LENGTHS.unpack_from(self._buffer, start)
            self._check(total, header)
            end = start + _TOTAL_LENGTH_BYTES + total
            if len(self._buffer) < end:
                break
            body = start + _LENGTHS.size + header
            frames.append(Frame(_header(self._buffer[start + _LENGTHS.size : body]), bytes(self._buffer[body:end])))
            start = end
        del self._buffer[:start]
        return frames

    def _check(self, total: int, header: int) -> None:
        if total > self._max_frame_bytes:
            raise ProtocolError(
                "a frame of {} bytes is above the limit of {} bytes".format(total, self._max_frame_bytes)
            )
        if header + _HEADER_LENGTH_BYTES > total:
            raise ProtocolError("a header of {} bytes does not fit into a frame of {}".format(header, total))


def _header(raw: bytearray) -> dict[str, Any]:
    try:
        header = json.loads(raw.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise ProtocolError("a frame's header is not JSON: {}".format(error)) from error
    if not isinstance(header, dict):
        raise ProtocolError("a frame's header is a JSON {}, not an object".format(type(header).__name__))
    return header
