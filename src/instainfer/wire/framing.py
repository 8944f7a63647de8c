"""Encodes and decodes frames, without IO. A frame is a JSON header and a body of raw bytes, each of a given length::

    u32  length of all that follows
    u32  length of the header
         header: a JSON object as UTF-8
         body: bytes, passed on unchanged (requests and answers are never encoded a second time)

Both lengths are big-endian. The bytes that arrive may come from an attacker. So decoding gives frames or raises
`ProtocolError`, never anything else, and the part of an incomplete frame that is kept has a limited size.
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
"""Limit on the digits of an integer. Old Pythons take time that grows with the square of the number of digits."""

_encode_header = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class ProtocolError(Exception):
    """The other side sent an invalid frame or message. Nothing more can be read from the connection."""


class Frame(NamedTuple):
    header: dict[str, Any]
    body: bytes = b""


def encode(header: dict[str, Any], body: bytes = b"") -> bytes:
    """The bytes of one frame."""
    head = _encode_header(header).encode("utf-8", "surrogatepass")
    return b"".join((_LENGTHS.pack(_HEADER_LENGTH_BYTES + len(head) + len(body), len(head)), head, body))


class Decoder:
    """Turns a stream of bytes, which may be cut anywhere, back into frames.

    The decoder never keeps more than one frame of the greatest size and the bytes that were fed last. `max_body_bytes`
    may be changed between frames, because a process that was asked for no answer has no reason to send a large body.
    """

    def __init__(self, max_header_bytes: int = 64 * MIB, max_body_bytes: int = 128 * MIB) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take the next bytes. The returned iterator gives the frames that these bytes complete, often none.

        At an invalid frame, the iterator raises `ProtocolError`, after giving all valid frames before. The decoder
        cannot be used after that. The iterator of the next call gives the frames that were not taken from this one.
        """
        self._buffer += data
        return self._frames()

    @property
    def is_amid(self) -> bool:
        """Whether a part of a frame has arrived, and not yet the rest."""
        return bool(self._buffer)

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
            del self._buffer[:end]  # a bytearray drops its first bytes without moving the rest
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
