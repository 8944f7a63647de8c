"""Ends a command in order when it is interrupted, so that no process that it started is left behind."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def sigterm_as_exit(first: Callable[[], object] | None = None) -> Iterator[None]:
    """Let SIGTERM raise an exception as Ctrl-C does; by default it would end us and leave our child processes running.

    If `first` is given, it is called before the exception is raised, and on Ctrl-C too. The exception can be lost,
    since Python drops exceptions in finalizers, but the effect of `first` remains. Nothing changes outside the main
    thread, because only the main thread gets signals.
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
