"""Every error that InstaInfer raises on purpose::

    InstaInferError
    ├── UserError                 somebody has to change what they asked for
    │   ├── BadInput              malformed request, trace, option value or file
    │   ├── BadFunction           a function's folder or function.toml is not as it must be
    │   ├── EnvironmentBuildError its requirements cannot be resolved or installed (carries the log's tail)
    │   ├── NotFound              no such function, activation, trace or file
    │   ├── Conflict              it exists already, or changed meanwhile
    │   ├── NotAllowed            wrong or missing key, or another namespace
    │   └── Unreachable           no platform answers at the address
    ├── HostError                 the machine cannot give what is needed (full disk, no interpreter, no permission)
    └── InternalError             a bug of ours
        └── IllegalEvent          (core.errors) told something that cannot have happened; carries the story

What happens to a *function's* run or load is never an exception but a `core.model.Failure` in its record.
"""

from __future__ import annotations

from .core.errors import IllegalEvent, InstaInferError, InternalError

__all__ = [
    "BadFunction",
    "BadInput",
    "Conflict",
    "EnvironmentBuildError",
    "HostError",
    "IllegalEvent",
    "InstaInferError",
    "InternalError",
    "NotAllowed",
    "NotFound",
    "Unreachable",
    "UserError",
    "shown",
]

_SHOWN = 100


def shown(value: object) -> str:
    """A stranger's value as an error may quote it: short, on one line, whatever is in it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of thousands of digits; a table within tables
        return "what was given"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


class UserError(InstaInferError):
    """The caller has to act."""


class BadInput(UserError):
    pass


class BadFunction(UserError):
    pass


class EnvironmentBuildError(UserError):
    """Requirements could not be resolved or installed."""

    def __init__(self, message: str, log_tail: str = "") -> None:
        super().__init__(f"{message}\n{log_tail}" if log_tail else message)
        self.log_tail = log_tail


class NotFound(UserError):
    pass


class Conflict(UserError):
    pass


class NotAllowed(UserError):
    pass


class Unreachable(UserError):
    pass


class HostError(InstaInferError):
    """The machine has to be changed."""
