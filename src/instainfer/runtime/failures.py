"""Describes an exception in a function's code in words that help its author."""

from __future__ import annotations

import os
import traceback
from contextlib import suppress
from types import TracebackType

from ..wire.messages import Failure
from .distributions import remedy

_MOST_TEXT = 4000
_LAST_LINES = 12
_NOT_PRIVATE = ("/tmp", "/var/tmp")
_OWN_CODE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

_BETWEEN = ("/importlib/__init__.py", "/runpy.py", "/asyncio/base_events.py", "/asyncio/futures.py")
"""Files of Python through which InstaInfer calls a function's code."""


def log(error: BaseException) -> None:
    """Print an exception of the function's code into its log, with all exceptions that led to it."""
    with suppress(Exception):  # the function's code may have closed or replaced the stream
        traceback.print_exception(type(error), error, _after_own_code(error.__traceback__))


def failure_of(error: BaseException, kind: str, doing: str, hint: str = "") -> Failure:
    """A failure of this kind (`out_of_memory` for a MemoryError) that says what was raised, when, and where.

    If other exceptions led to this one, it names the first of them.
    """
    if isinstance(error, MemoryError):
        kind = "out_of_memory"
        hint = hint or "the function's memory limit may be too low"
    if isinstance(error, PermissionError) and str(error.filename).startswith(_NOT_PRIVATE):
        hint = "only the folder that TMPDIR and tempfile.gettempdir() name may be written"
    hint = hint or remedy(error)
    summary = "{} raised {}".format(doing, _named(error))
    if hint:
        summary += " ({})".format(hint)
    first = _first_link(error)
    cause = [] if first is error else ["it began with {}".format(_named(first))]
    return Failure(kind, "\n".join([summary, *cause, *_last_lines(error)]))


def _first_link(error: BaseException) -> BaseException:
    """The exception with which the chain of an exception began, as Python would print it."""
    seen = {id(error)}
    while True:
        before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if before is None or id(before) in seen:
            return error
        seen.add(id(before))
        error = before


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
    frames = traceback.extract_tb(_after_own_code(error.__traceback__))
    return "".join(traceback.format_list(frames)).splitlines()[-_LAST_LINES:]


def _after_own_code(trace: TracebackType | None) -> TracebackType | None:
    """The traceback, from the first frame that belongs neither to InstaInfer nor to what it calls."""
    while trace is not None:
        file = trace.tb_frame.f_code.co_filename
        if not (file.startswith((_OWN_CODE, "<frozen ")) or file.endswith(_BETWEEN)):
            break
        trace = trace.tb_next
    return trace
