"""Frames survive any cut; what is no frame is refused."""

from __future__ import annotations

import struct
import time

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
    assert list(decoder.feed(raw[:-1])) == []
    assert list(decoder.feed(raw[-1:] + raw[:5])) == [Frame({"a": 1}, b"body")]


@pytest.mark.parametrize(
    ("header", "body_bytes", "says"),
    [({}, 101, "body of 101 bytes is above the limit of 100"), ({"a": "x" * 50}, 0, "header of 58 bytes is above")],
)
def test_a_frame_above_the_limit_is_refused_before_it_has_arrived(
    header: dict[str, str], body_bytes: int, says: str
) -> None:
    decoder = Decoder(max_header_bytes=50, max_body_bytes=100)
    (frame,) = decoder.feed(encode({}, b"x" * 100))
    assert len(frame.body) == 100
    with pytest.raises(ProtocolError, match=says):
        list(decoder.feed(encode(header, b"x" * body_bytes)[:8]))


BAD = {
    "a header longer than its frame": (struct.pack("!II", 6, 3) + b"ab", "does not fit"),
    "a frame without room for a header": (struct.pack("!II", 3, 0), "does not fit"),
    "nothing": (struct.pack("!II", 0, 0), "does not fit"),
    "no header": (struct.pack("!II", 4, 0), "not JSON"),
    "no JSON": (struct.pack("!II", 7, 3) + b"{a}", "not JSON"),
    "no UTF-8": (struct.pack("!II", 7, 3) + b'"\xff"', "not JSON"),
    "a list": (struct.pack("!II", 6, 2) + b"[]", "a JSON list, not an object"),
    "depth": (struct.pack("!II", 200_004, 200_000) + b"[" * 200_000, "not JSON"),
    "depth of objects": (struct.pack("!II", 500_004, 500_000) + b'{"a":' * 100_000, "not JSON"),
    "no number": (struct.pack("!II", 13, 9) + b'{"a":NaN}', "NaN is not a number"),
    "an endless number": (struct.pack("!II", 100_010, 100_006) + b'{"a":' + b"9" * 100_000 + b"}", "100000 digits"),
}


@pytest.mark.parametrize(("raw", "says"), BAD.values(), ids=BAD)
def test_what_is_no_frame_is_refused(raw: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        list(Decoder().feed(raw))


@pytest.mark.parametrize("bad", [raw for raw, _ in BAD.values()], ids=BAD)
def test_good_frames_come_out_before_a_bad_one(bad: bytes) -> None:
    got = []
    with pytest.raises(ProtocolError):  # noqa: PT012 - the frames before it are the point
        for frame in Decoder().feed(STREAM + bad):
            got.append(frame)
    assert got == FRAMES


def test_frames_that_were_not_taken_are_given_by_the_next_iterator() -> None:
    decoder = Decoder()
    assert next(decoder.feed(STREAM)) == FRAMES[0]
    assert list(decoder.feed(b"")) == FRAMES[1:]


def test_what_may_come_can_be_changed_between_two_frames() -> None:
    decoder = Decoder()
    frames = decoder.feed(encode({}, b"x") + encode({}, b"xx"))
    assert next(frames).body == b"x"
    decoder.max_body_bytes = 1
    with pytest.raises(ProtocolError, match="body of 2 bytes"):
        next(frames)


def test_a_slow_drip_of_many_frames_costs_no_more_than_their_bytes() -> None:
    body = b"x" * 8_000_000
    decoder = Decoder()
    began = time.process_time()
    for start in range(0, len(body), 4096):
        assert not list(decoder.feed(encode({}, body)[:8] if start == 0 else body[start : start + 4096]))
    few = encode({"n": 1}) * 50_000
    decoder = Decoder()
    assert sum(1 for _ in decoder.feed(few)) == 50_000
    assert time.process_time() - began < 5.0
