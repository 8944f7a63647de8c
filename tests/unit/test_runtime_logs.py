"""Log lines of an activation: form, order, bounds."""

from __future__ import annotations

from instainfer.runtime.logs import Log, iso_time

NOON_S = 1_794_225_600.5  # 2026-11-09T12:00:00.5Z


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
    made = log(limit_bytes=10)
    made.write("stdout", b"12345\n6789")
    made.write("stdout", b"ABC" * 100_000)
    made.write("stdout", b"\nmore\n")
    truncated = "stderr: Logs were truncated because the total bytes size exceeds the limit of 10 bytes."
    assert texts(made.take()) == ["stdout: 12345", "stdout: 6789", truncated]
    made.write("stdout", b"next\n")
    assert texts(made.take()) == ["stdout: next"]


def test_an_endless_line_takes_no_more_than_the_limit() -> None:
    made = log(limit_bytes=100)
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
