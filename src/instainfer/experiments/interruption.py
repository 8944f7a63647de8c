"""How a command that has started processes is ended: in order, so that none of them is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def sigterm_as_exit(first: Callable[[], object] | None = None) -> Iterator[None]:
    """Let SIGTERM unwind us as Ctrl-C does: by default it would end us, and what we have started would go on.

    `first`, where it is given, is called before, and on Ctrl-C too. An exception that a signal raises can be lost:
    Python drops it when it strikes in a finalizer. What `first` has done is done then. Off the main thread, which is
    the only one that signals reach, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _frame: object) -> None:
        if first is not None:
            first()
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    numbers = (signal.SIGTERM,) if first is None else (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, leave) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
