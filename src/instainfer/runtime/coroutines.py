"""Runs the coroutines of a function on one event loop, which lives as long as its process.

Objects that belong to a loop, such as locks, clients and tasks, so stay usable from one call to the next. A forked
process goes on with the loop of its template: the same object, with descriptors of its own.
"""

from __future__ import annotations

import selectors
from typing import Any

_loop: Any = None
_is_open = False


def awaited(value: Any) -> Any:
    """What `value` gives when it is awaited, or `value` itself if it cannot be. Raises what awaiting it raises."""
    if not hasattr(value, "__await__"):
        return value
    import asyncio  # it takes 30 ms, which functions without coroutines do not pay

    loop = _opened(asyncio)
    try:
        return loop.run_until_complete(value)
    except asyncio.CancelledError as error:
        raise RuntimeError("its coroutine was cancelled") from error  # it would end the process


def _opened(asyncio: Any) -> Any:
    global _loop, _is_open  # noqa: PLW0603 - the function's code asks for it by way of asyncio, which is global as well
    if _loop is None:
        _loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(_loop)
    elif not _is_open:
        _loop._selector = selectors.DefaultSelector()
        _loop._make_self_pipe()
    _is_open = True
    return _loop


def put_aside() -> None:
    """Close the descriptors of the loop, so that this process can be forked. The next coroutine opens new ones."""
    global _is_open  # noqa: PLW0603
    if _is_open:
        _loop._close_self_pipe()
        _loop._selector.close()
        _is_open = False
