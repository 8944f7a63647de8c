"""Log lines of an activation: form, order, bounds."""

from __future__ import annotations

import json
import time

import pytest

from instainfer.runtime.logs import Log, iso_time
from instainfer.wire.bounds import LOGS_SLACK_BYTES

BESIDE_BYTES = 43
"""What each line takes beside its text: time and stream, and what sets it apart in a list."""
NOON_S = 1_794_225_600.5  # 2026-11-09T12:00:00.5Z


WRITTEN = {
    "newlines": b"\n" * 3_700_000,
    "lines of one byte": b"x\n" * 1_000_000,
    "control characters": b"\x00" * 3_000_000 + b"\n",
    "quotes": (b'"' * 79 + b"\n") * 50_000,
    "what is not UTF-8": b"\xff" * 3_000_000,
    "one endless line": b"x" * 3_000_000,
    "characters of four bytes": "\U0001f642".encode() * 1_000_000,
}


@pytest.mark.parametrize("data", WRITTEN.values(), ids=WRITTEN)
def test_what_is_kept_is_bounded_as_it_will_be_stored(data: bytes) -> None:
    made = log(limit_bytes=1_000_000)
    for start in range(0, len(data), 65536):
        made.write("stdout", data[start : start + 65536])
    lines = made.take()
    assert "truncated" in lines[-1]
    stored_bytes = len(json.dumps(lines[:-1], ensure_ascii=False, separators=(",", ":")).encode())
    assert 900_000 < stored_bytes <= 1_000_002
    assert len("\n".join(lines).encode()) <= 1_000_000 + LOGS_SLACK_BYTES


def test_a_line_written_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    made = log(limit_bytes=10_000_000)
    made.write("stdout", b"x" * 8_000_000)
    began = time.process_time()
    for _ in range(20_000):
        made.write("stdout", b"x")
    # Each of them used to copy the whole line so far, about a millisecond.
    assert time.process_time() - began < 2.0
    assert len(made.take()) == 1


def log(limit_bytes: int = 1000) -> Log:
    return Log(limit_bytes, now=lambda: NOON_S)


def texts(lines: list[str]) -> list[str]:
    return [line[31:] for line in lines]


def test_lines_have_the_form_that_clients_parse() -> None:
    made = log()
    made.write("stdout", b"loaded\n")
    made.write("stderr", b"careful\r\n")
    assert made.take() == [
        "2026-11-09T12:00:00.500000Z    stdout: loaded",
        "2026-11-09T12:00:00.500000Z    stderr: careful",
    ]


def test_fractions_of_a_second_are_written_in_full() -> None:
    assert iso_time(NOON_S + 0.000001) == "2026-11-09T12:00:00.500001Z"
    assert iso_time(0.0) == "1970-01-01T00:00:00.000000Z"


def test_a_line_may_come_in_pieces_and_streams_do_not_mix() -> None:
    made = log()
    for stream, piece in (("stdout", b"on"), ("stderr", b"other\n"), ("stdout", b"e\ntw"), ("stdout", b"o")):
        made.write(stream, piece)
    assert texts(made.take()) == ["stderr: other", "stdout: one", "stdout: two"]
    made.write("stdout", b"three\n\n")
    assert texts(made.take()) == ["stdout: three", "stdout: "]
    assert made.take() == []


def test_what_is_not_utf8_is_marked() -> None:
    made = log()
    made.write("stdout", b"a\xffb\n")
    assert texts(made.take()) == ["stdout: a\ufffdb"]


def test_text_above_the_limit_is_cut_and_a_line_says_so() -> None:
    made = log(limit_bytes=BESIDE_BYTES + 5 + BESIDE_BYTES + 4)
    made.write("stdout", b"12345\n6789")
    made.write("stdout", b"ABC" * 100_000)
    made.write("stdout", b"\nmore\n")
    truncated = "stderr: Logs were truncated because the total bytes size exceeds the limit of 95 bytes."
    assert texts(made.take()) == ["stdout: 12345", "stdout: 6789", truncated]
    made.write("stdout", b"next\n")
    assert texts(made.take()) == ["stdout: next"]


def test_an_endless_line_takes_no_more_than_the_limit() -> None:
    made = log(limit_bytes=BESIDE_BYTES + 100)
    for _ in range(1000):
        made.write("stderr", b"x" * 50)
    lines = made.take()
    assert len(lines) == 2
    assert lines[0].endswith("stderr: " + "x" * 100)


def test_a_limit_of_zero_keeps_nothing() -> None:
    made = log(limit_bytes=0)
    made.write("stdout", b"text\n")
    assert made.take() == []


def test_the_last_lines_can_be_seen_without_taking_them() -> None:
    made = log()
    made.write("stderr", b"a\nb\nc\n")
    assert texts(made.last_lines(2)) == ["stderr: b", "stderr: c"]
    assert len(made.take()) == 3


def test_of_the_last_lines_as_much_is_shown_as_can_be_read() -> None:
    made = log(limit_bytes=1_000_000)
    made.write("stderr", b"x" * 500_000 + b"\n")
    assert len(made.last_lines(8)[0]) == 1000
