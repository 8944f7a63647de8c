"""Frames survive any cut; what is no frame is refused."""

from __future__ import annotations

import struct

import pytest

from instainfer.wire.framing import Decoder, Frame, ProtocolError, encode

FRAMES = [
    Frame({"type": "run", "text": "grün \ud800"}, b'{"a": 1}'),
    Frame({}, b""),
    Frame({"n": [1, 2.5, None]}, bytes(range(256)) * 300),
]
STREAM = b"".join(encode(*frame) for frame in FRAMES)


@pytest.mark.parametrize("step", [1, 3, 7, 8, 1000, len(STREAM)])
def test_frames_come_out_whole_however_the_stream_is_cut(step: int) -> None:
    decoder = Decoder()
    got = [f for start in range(0, len(STREAM), step) for f in decoder.feed(STREAM[start : start + step])]
    assert got == FRAMES


def test_a_frame_comes_out_as_soon_as_its_last_byte_is_there() -> None:
    raw = encode({"a": 1}, b"body")
    decoder = Decoder()
    assert decoder.feed(raw[:-1]) == []
    assert decoder.feed(raw[-1:] + raw[:5]) == [Frame({"a": 1}, b"body")]


def test_a_frame_above_the_limit_is_refused_before_it_has_arrived() -> None:
    decoder = Decoder(max_frame_bytes=100)
    assert decoder.feed(encode({}, b"x" * 90))[0].body == b"x" * 90
    with pytest.raises(ProtocolError, match=r"frame of 1006 bytes is above the limit of 100 bytes"):
        decoder.feed(encode({}, b"x" * 1000)[:8])


@pytest.mark.parametrize(
    ("raw", "says"),
    [
        (struct.pack("!II", 6, 3) + b"ab", "does not fit"),
        (struct.pack("!II", 3, 0), "does not fit"),
        (struct.pack("!II", 7, 3) + b"{a}", "not JSON"),
        (struct.pack("!II", 7, 3) + b'"\xff"', "not JSON"),
        (struct.pack("!II", 6, 2) + b"[]", "a JSON list, not an object"),
    ],
)
def test_what_is_no_frame_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        Decoder().feed(raw)
