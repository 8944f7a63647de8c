"""Frames: a JSON header and a body of raw bytes, told apart by their lengths. No IO.

::

    u32  length of all that follows
    u32  length of the header
         header: a JSON object as UTF-8
         body: bytes, passed on as they are (requests and answers are never encoded a second time)

Both lengths are big-endian. Whatever arrives may have been made by an enemy: it comes out as frames, or as a
`ProtocolError` and nothing else, and what is kept of a frame that is not complete has a bound.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

MIB = 1024 * 1024

_LENGTHS = struct.Struct("!II")
_HEADER_LENGTH_BYTES = 4
_TOTAL_LENGTH_BYTES = 4
_MOST_DIGITS = 40
"""Of a number; reading a longer one takes time that grows with the square of its length on old Pythons."""

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
    """Turns a stream of bytes, cut anywhere, back into frames.

    Never keeps more than one frame of the greatest size and what was fed last. `max_body_bytes` may be changed between
    two frames: who has not been asked for an answer has nothing large to say.
    """

    def __init__(self, max_header_bytes: int = 64 * MIB, max_body_bytes: int = 128 * MIB) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the next bytes; the iterator gives the frames that they complete, often none.

        It raises `ProtocolError` when it comes to what is no frame, after all the good ones before; the decoder is of
        no use after that. Frames that were not taken from it are given by the next one.
        """
        self._buffer += data
        return self._frames()

    def _frames(self) -> Iterator[Frame]:
        while len(self._buffer) >= _LENGTHS.size:
            total, header = _LENGTHS.unpack_from(self._buffer)
            self._check(total, header)
            end = _TOTAL_LENGTH_BYTES + total
            if len(self._buffer) < end:
                return
            with memoryview(self._buffer) as view:
                body = _LENGTHS.size + header
                head, rest = bytes(view[_LENGTHS.size : body]), bytes(view[body:end])
            del self._buffer[:end]  # does not move what follows
            yield Frame(_header(head), rest)

    def _check(self, total: int, header: int) -> None:
        if header + _HEADER_LENGTH_BYTES > total:
            raise ProtocolError("a header of {} bytes does not fit into a frame of {}".format(header, total))
        if header > self._max_header_bytes:
            raise ProtocolError(
                "a header of {} bytes is above the limit of {} bytes".format(header, self._max_header_bytes)
            )
        body = total - header - _HEADER_LENGTH_BYTES
        if body > self.max_body_bytes:
            raise ProtocolError("a body of {} bytes is above the limit of {} bytes".format(body, self.max_body_bytes))


def _header(raw: bytes) -> dict[str, Any]:
    try:
        header = _decode_header(raw.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError("a frame's header is not JSON: {}".format(error)) from error
    if not isinstance(header, dict):
        raise ProtocolError("a frame's header is a JSON {}, not an object".format(type(header).__name__))
    return header


def _integer(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError("a number of {} digits".format(len(digits)))
    return int(digits)


def _no_number(text: str) -> float:
    raise ValueError("{} is not a number of JSON".format(text))


_decode_header = json.JSONDecoder(parse_int=_integer, parse_constant=_no_number).decode
