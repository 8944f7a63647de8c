"""Every error that InstaInfer raises on purpose::

    InstaInferError
    ├── UserError                 the caller has to change the request or its files
    │   ├── BadInput              malformed request, trace, option value or file
    │   ├── BadFunction           a function's folder or function.toml is invalid
    │   ├── EnvironmentBuildError requirements cannot be resolved or installed (carries the log's tail)
    │   ├── CheckFailed           a new version cannot be loaded, or fails with its sample
    │   ├── NotFound              no such function, activation, trace or file
    │   ├── Conflict              the thing exists already, or was changed meanwhile
    │   ├── NotAllowed            wrong or missing key, or another namespace
    │   ├── Throttled             more calls than the limits of the namespace allow
    │   ├── StillRunning          a call has not ended within the time that its caller gave it
    │   └── Unreachable           no platform answers at the address
    ├── CallFailed                a program's call of a function failed; says whose fault it is (raised by the client)
    ├── HostError                 the machine lacks something (full disk, no interpreter, no permission)
    └── InternalError             a bug in InstaInfer
        └── IllegalEvent          (core.errors) an event that is impossible in the current state; carries the story

In the platform, a failed run or load of a *function* raises no exception. A `core.model.Failure` in its record
describes the failure, and `CallFailed` tells it to a program that called the function.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .core.errors import IllegalEvent, InstaInferError, InternalError

__all__ = [
    "BadFunction",
    "BadInput",
    "CallFailed",
    "CheckFailed",
    "Conflict",
    "EnvironmentBuildError",
    "HostError",
    "IllegalEvent",
    "InstaInferError",
    "InternalError",
    "NotAllowed",
    "NotFound",
    "StillRunning",
    "Throttled",
    "Unreachable",
    "UserError",
    "shown",
]

_SHOWN = 100


def shown(value: object) -> str:
    """A stranger's value in a form that is safe to quote in an error: short and on one line."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # for a number with thousands of digits, or a deeply nested table
        return "what was given"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def one_line(text: str, most: int = 1000) -> str:
    """A stranger's text in a form that is safe to print: short, and with a space for what cannot be printed."""
    seen = "".join(c if c.isprintable() else " " for c in text[: most + 1])
    return seen if len(seen) <= most else f"{seen[: most - 3]}..."


def several_lines(text: str) -> str:
    """A stranger's text in a form that is safe to print, with its line breaks."""
    return "".join(c for c in text if c.isprintable() or c in "\n\t")


class UserError(InstaInferError):
    """The caller has to change something."""


class BadInput(UserError):
    pass


class BadFunction(UserError):
    pass


class EnvironmentBuildError(UserError):
    """Requirements could not be resolved or installed."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(f"{message}\n{log_tail}" if log_tail else message)
        self.log_tail = log_tail


class CheckFailed(UserError):
    """A new version of a function failed when it was tried, so callers still get the version before."""


class NotFound(UserError):
    pass


class Conflict(UserError):
    pass


class NotAllowed(UserError):
    pass


class Throttled(UserError):
    """Nothing was run; the same call may be made again later."""


class StillRunning(UserError):
    """A call goes on although its caller no longer waits."""

    def __init__(self, message: str, activation_id: str) -> None:
        super().__init__(message)
        self.activation_id = activation_id


class Unreachable(UserError):
    pass


class CallFailed(InstaInferError):
    """A function was called, and failed or could not be run."""

    def __init__(
        self,
        message: str,
        *,
        fault: Literal["function", "platform"],
        kind: str,
        activation_id: str,
        logs: Sequence[str],
    ) -> None:
        super().__init__(message)
        self.fault = fault
        """Whose fault it is."""
        self.kind = kind
        """A `core.model.FailureKind`, ``application_error`` for an answer with ``error``, or empty for neither."""
        self.activation_id = activation_id
        self.logs = tuple(logs)
        """What the function printed, a traceback too, in lines."""


class HostError(InstaInferError):
    """The machine lacks something, and its owner has to change that."""
