"""A manager's channel to a process: what comes out of it, in which order, and how it ends."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from instainfer.runtime.loop import Channel, Loop
from instainfer.wire.calls import FROM_PROCESS, Imported, Jailed, Prepared
from instainfer.wire.framing import ProtocolError, encode

GOOD = [Jailed(["files: none"]), Imported(), Prepared(["numpy"])]
RAW = b"".join(map(FROM_PROCESS.encode, GOOD))


class Line:
    """A channel, the other end of its socket, and what it has told."""

    def __init__(self) -> None:
        self.loop = Loop()
        ours, self.theirs = socket.socketpair()
        self.heard: list[Any] = []
        self.ends: list[ProtocolError | None] = []
        self.refuses: Any = None
        self.moves: list[bool] = []
        self.channel = Channel(self.loop, ours, FROM_PROCESS, self._hear, self.ends.append, on_moving=self._move)

    def _move(self) -> None:
        self.moves.append(self.channel.is_moving)

    def _hear(self, message: Any) -> None:
        self.heard.append(message)
        if message == self.refuses:
            raise ProtocolError("not now")


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Iterator[Line]:
    monkeypatch.setattr("signal.set_wakeup_fd", lambda fd: None)  # the test runner's stay as they are
    made = Line()
    with made.theirs:
        yield made
    made.channel.close()


@pytest.mark.parametrize("bad", [b"\0" * 8, encode({"type": "dance"}), encode({"type": "prepared", "modules": 3})])
def test_what_is_good_comes_out_before_what_is_not(line: Line, bad: bytes) -> None:
    line.theirs.sendall(RAW + bad + RAW)
    line.channel.read_rest()
    assert line.heard == GOOD
    (error,) = line.ends
    assert isinstance(error, ProtocolError)
    assert not line.channel.is_open


def test_what_may_not_be_said_now_ends_it_once(line: Line) -> None:
    line.refuses = GOOD[1]
    line.theirs.sendall(RAW)
    line.theirs.shutdown(socket.SHUT_WR)
    line.channel.read_rest()
    assert line.heard == GOOD[:2]
    assert [str(error) for error in line.ends] == ["not now"]


def test_it_tells_when_a_message_is_on_its_way_and_how_long(line: Line) -> None:
    line.theirs.sendall(RAW)
    line.channel.read_rest()
    assert not line.channel.is_moving
    line.theirs.sendall(RAW[:10])
    line.channel.read_rest()
    assert line.channel.is_moving
    line.theirs.sendall(RAW[10:])
    line.channel.read_rest()
    assert (line.channel.is_moving, line.heard, line.moves) == (False, GOOD + GOOD, [True])


def test_it_tells_when_sending_is_put_off_and_when_all_is_sent(line: Line) -> None:
    frame = b"x" * 5_000_000
    line.channel.send(frame)
    assert line.moves == [True]
    line.theirs.settimeout(30)
    got = 0
    while got < len(frame):
        got += len(line.theirs.recv(1_000_000))
        line.channel._write()
    assert line.moves == [True, False]


def test_who_closes_it_is_not_told_that_it_is_closed(line: Line) -> None:
    closing = line.channel

    def hear(message: Any) -> None:
        line.heard.append(message)
        closing.close()

    closing._on_message = hear
    line.theirs.sendall(RAW + b"\0" * 8)
    closing.read_rest()
    assert line.heard == GOOD[:1]
    assert line.ends == []


def test_a_body_that_was_not_expected_is_refused_before_it_is_there(line: Line) -> None:
    line.channel.expect(0)
    line.theirs.sendall(encode({"type": "answered"}, b"x" * 30_000_000)[:1000])
    line.channel.read_rest()
    assert [str(error) for error in line.ends] == ["a body of 30000000 bytes is above the limit of 0 bytes"]
