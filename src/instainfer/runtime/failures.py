"""Describes an exception in a function's code in words that help its author."""

from __future__ import annotations

import os
from types import TracebackType

from ..wire.messages import Failure
from .distributions import remedy

_MOST_TEXT = 4000
_LAST_LINES = 12
_OWN_CODE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def failure_of(error: BaseException, kind: str, doing: str, hint: str = "") -> Failure:
    """A failure of this kind (`out_of_memory` for a MemoryError) that says what was raised, when, and where."""
    if isinstance(error, MemoryError):
        kind = "out_of_memory"
        hint = hint or "the function's memory limit may be too low"
    hint = hint or remedy(error)
    summary = "{} raised {}".format(doing, _named(error))
    if hint:
        summary += " ({})".format(hint)
    return Failure(kind, "\n".join([summary, *_last_lines(error)]))


def _named(error: BaseException) -> str:
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else "{}.{}".format(kind.__module__, kind.__qualname__)
    try:
        text = str(error)
    except Exception:
        # Code of the function makes this text, and may fail in any way.
        text = "(its text cannot be had)"
    if len(text) > _MOST_TEXT:
        text = text[:_MOST_TEXT] + "..."
    return "{}: {}".format(name, text) if text else name


def _last_lines(error: BaseException) -> list[str]:
    import traceback

    frames = traceback.extract_tb(_after_own_code(error.__traceback__))
    return "".join(traceback.format_list(frames)).splitlines()[-_LAST_LINES:]


def _after_own_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback, from the first frame that belongs neither to InstaInfer nor to the import system."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith((_OWN_CODE, "<frozen ")) or file.endswith(("/importlib/__init__.py", "/runpy.py"))):
            break
        trace = trace.tb_next
    return trace
