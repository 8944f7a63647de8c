"""Answers that tell how a piece of work goes on, one JSON object a line, while it is being done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

from .responses import encode, printable

Lines: TypeAlias = "asyncio.Queue[bytes | None]"


def line(**event: Any) -> bytes:
    """One line of an answer."""
    shown = {key: printable(value) if isinstance(value, str) else value for key, value in event.items()}
    return encode(shown) + b"\n"


async def told(work: Callable[[Lines], Awaitable[None]]) -> AsyncIterator[bytes]:
    """The lines of the answer. `work` puts them into the queue, and None at its end.

    When the caller disconnects, the work is cancelled.
    """
    lines: Lines = asyncio.Queue()
    working = asyncio.ensure_future(work(lines))
    try:
        while (one := await lines.get()) is not None:
            yield one
    finally:
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working
