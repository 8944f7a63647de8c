"""Collects the output of a function's process as the log lines of one activation, in OpenWhisk's form."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from json.encoder import encode_basestring as _as_json

_READ_BYTES = 65536
_MOST_SHOWN = 1000
_TRUNCATED = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."


def iso_time(seconds: float) -> str:
    """``2026-11-02T07:57:28.123450Z``."""
    whole, fraction = divmod(int(seconds * 1e6), 1_000_000)
    return "{}.{:06d}Z".format(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), fraction)


class Log:
    """Lines of one process's two streams, until `take` hands them over and begins anew.

    What is kept between two takes has at most `limit_bytes` in the record in which it ends up, time and stream and the
    escapes of JSON included, whatever is written; then one line says so. A limit of 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._limit_bytes = limit_bytes
        self._now = now
        self._partial = {"stdout": bytearray(), "stderr": bytearray()}
        """For each stream, the beginning of a line that has not ended."""
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._left_bytes = self._limit_bytes
        self._truncated = self._limit_bytes == 0

    def write(self, stream: str, data: bytes) -> None:
        # Each byte is looked at once and each line's text copied once, however small the pieces are.
        partial = self._partial[stream]
        start = 0
        while not self._truncated:
            end = data.find(b"\n", start)
            if end < 0:
                partial += data[start:]
                if len(partial) > self._left_bytes:
                    self._add(stream)
                return
            partial += data[start:end]
            self._add(stream)
            start = end + 1

    def _add(self, stream: str) -> None:
        """End the unfinished line of a stream."""
        partial = self._partial[stream]
        # One byte more than there is room for shows that the line is too long.
        text = partial[: self._left_bytes + 1].decode("utf-8", "replace").rstrip("\r")
        partial.clear()
        before = self._prefix(stream)
        room_bytes = self._left_bytes - _stored_bytes(before)
        stored_bytes = _stored_bytes(text)
        self._left_bytes = room_bytes - stored_bytes
        if self._left_bytes >= 0:
            self._lines.append(before + text)
            return
        self._truncated = True
        text = _cut(text, room_bytes)
        if text:
            self._lines.append(before + text)
        self._lines.append(self._prefix("stderr") + _TRUNCATED.format(self._limit_bytes))
        for rest in self._partial.values():
            rest.clear()

    def _prefix(self, stream: str) -> str:
        return "%-30s %s: " % (iso_time(self._now()), stream)

    def last_lines(self, count: int) -> list[str]:
        """The ends of the last lines, for a message about how their process ended."""
        return [line[:_MOST_SHOWN] for line in self._lines[-count:]]

    def take(self) -> list[str]:
        """Remove and return the lines so far, including unfinished ones."""
        for stream, rest in self._partial.items():
            if rest and not self._truncated:
                self._add(stream)
        lines = self._lines
        self._begin()
        return lines


def _stored_bytes(text: str) -> int:
    """The size of a part of a line in a JSON list of lines. The quotes and the comma are counted with each part."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return len(text) + 2
    return len(_as_json(text).encode("utf-8"))


def _cut(text: str, most_bytes: int) -> str:
    """The beginning of a text, as much as may be stored."""
    text = text[: max(0, most_bytes)]
    while text and (stored_bytes := _stored_bytes(text)) > most_bytes:
        text = text[: min(len(text) - 1, len(text) * most_bytes // stored_bytes)]
    return text


def drain(fd: int, write: Callable[[bytes], None], at_most_bytes: int) -> bool:
    """Read what is in a non-blocking pipe now; false when its end has been reached.

    `at_most_bytes`, the pipe's capacity, bounds it against a process that writes faster than we read.
    """
    while at_most_bytes > 0:
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return True
        if not data:
            return False
        write(data)
        at_most_bytes -= len(data)
    return True
