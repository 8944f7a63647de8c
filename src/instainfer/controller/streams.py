"""The values of a streamed call between its node, which brings them, and its caller, who takes them (ADR 27)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from ..wire.bounds import WINDOW_BYTES, cost_bytes
from .bodies import Lease
from .responses import encode

_TOLD_BYTES = WINDOW_BYTES // 4
"""The node is told of what was taken when it cost at least so much: less often than for each of many small values, and
long before the function has to wait."""


class Stream:
    """Holds what waits for the caller, and what the record is to keep.

    `lease` is charged with the bytes that are held, `most_kept_bytes` is the most that the record keeps.
    """

    def __init__(self, lease: Lease, most_kept_bytes: int) -> None:
        self.count = 0
        """How many values have come."""
        self.is_answer = False
        """Whether the values are the answer of the call, because its function is a generator. Known at its end."""
        self.on_taken: Callable[[int], None] = lambda _: None
        """Tells the node what the values cost that were taken since the last time."""
        self._lease = lease
        self._most_kept_bytes = most_kept_bytes
        self._waiting: deque[bytes] = deque()
        self._kept: list[bytes] | None = []
        """The values so far; None when they are too many for the record."""
        self._bytes = 0
        self._untold_bytes = 0
        self._has_ended = False
        self._is_left = False
        self._news = asyncio.Event()

    def put(self, value: bytes) -> None:
        """Take the next value from the node."""
        self.count += 1
        self._bytes += len(value)
        if self._kept is not None:
            self._kept.append(value)
            if self._bytes + self.count > self._most_kept_bytes:
                self._kept = None
        if not self._is_left:
            self._waiting.append(value)
        self._charge()
        self._news.set()

    def end(self) -> None:
        """The call has ended and has its record, so no value will come any more."""
        self._has_ended = True
        self._charge()
        self._news.set()

    def leave(self) -> None:
        """The caller takes no further values."""
        self._is_left = True
        self._waiting.clear()
        self._charge()
        self._news.set()

    async def next(self) -> bytes | None:
        """The next value for the caller. None after the last one, and for a caller who has gone away."""
        while not self._waiting:
            if self._has_ended or self._is_left:
                return None
            self._news.clear()
            await self._news.wait()
        value = self._waiting.popleft()
        self._charge()
        return value

    def has_left(self) -> bool:
        """Whether the caller has gone away."""
        return self._is_left

    def took(self, value: bytes) -> None:
        """A value is with the caller, or in the buffers of its connection."""
        self._untold_bytes += cost_bytes(value)
        if self._untold_bytes >= _TOLD_BYTES:
            self.on_taken(self._untold_bytes)
            self._untold_bytes = 0

    def answer(self) -> bytes:
        """All values as the answer that the record keeps, or words in their place."""
        if self._kept is not None:
            return b"[" + b",".join(self._kept) + b"]"
        text = (
            f"The {self.count} values of {self._bytes} bytes went to the caller of this streamed call only: "
            f"{self._most_kept_bytes} bytes are kept (retention.records_max_result_bytes)."
        )
        return encode({"omitted": text})

    def _charge(self) -> None:
        is_kept = self._kept is not None and not self._has_ended
        held_bytes = self._bytes if is_kept else sum(map(len, self._waiting))
        self._lease.hold(held_bytes - self._lease.held_bytes)
