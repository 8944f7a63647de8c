"""What a function's process writes, as the log lines of one activation, in OpenWhisk's form."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

_READ_BYTES = 65536
_TRUNCATED = "Logs were truncated because the total bytes size exceeds the limit of {} bytes."


def iso_time(seconds: float) -> str:
    """``2026-11-02T07:57:28.123450Z``."""
    whole, fraction = divmod(int(seconds * 1e6), 1_000_000)
    return "{}.{:06d}Z".format(time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)), fraction)


class Log:
    """Lines of one process's two streams, until `take` hands them over and begins anew.

    At most `limit_bytes` of text are kept between two takes, whatever is written; then one line says so. A limit of
    0 keeps nothing.
    """

    def __init__(self, limit_bytes: int, now: Callable[[], float] = time.time) -> None:
        self._limit_bytes = limit_bytes
        self._now = now
        self._partial = {"stdout": b"", "stderr": b""}
        self._begin()

    def _begin(self) -> None:
        self._lines: list[str] = []
        self._left_bytes = self._limit_bytes
        self._truncated = False

    def write(self, stream: str, data: bytes) -> None:
        if self._limit_bytes == 0 or self._truncated:
            return
        *whole, rest = (self._partial[stream] + data).split(b"\n")
        for line in whole:
            self._add(stream, line)
        self._partial[stream] = rest
        if len(rest) > self._left_bytes:
            self._add(stream, rest)
            self._partial[stream] = b""

    def _add(self, stream: str, line: bytes) -> None:
        if self._truncated:
            return
        kept = line[: self._left_bytes]
        self._left_bytes -= len(line) + 1
        if kept or not line:
            self._append(stream, kept.decode("utf-8", "replace").rstrip("\r"))
        if self._left_bytes < 0:
            self._truncated = True
            self._append("stderr", _TRUNCATED.format(self._limit_bytes))

    def _append(self, stream: str, text: str) -> None:
        self._lines.append("%-30s %s: %s" % (iso_time(self._now()), stream, text))

    def last_lines(self, count: int) -> list[str]:
        """The last lines as they are kept, for a message about how their process ended."""
        return self._lines[-count:]

    def take(self) -> list[str]:
        """The lines so far, unfinished ones included."""
        for stream, rest in self._partial.items():
            if rest:
                self._add(stream, rest)
                self._partial[stream] = b""
        lines = self._lines
        self._begin()
        return lines


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
