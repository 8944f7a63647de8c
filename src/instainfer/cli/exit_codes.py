"""The exit codes of the command line and their meaning, in one table for the code, the help and the tests."""

from __future__ import annotations

from enum import IntEnum

from ..errors import BadFunction, BadInput, InstaInferError, InternalError, NotAllowed, NotFound, Unreachable


class ExitCode(IntEnum):
    """An exit code and its description in ``--help``."""

    meaning: str

    def __new__(cls, value: int, meaning: str) -> ExitCode:
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member

    OK = 0, "it worked"
    FAILED = 1, "the function or the operation failed"
    USAGE = 2, "wrong usage or bad input"
    NOT_FOUND = 3, "no such function, activation or file"
    NOT_ALLOWED = 4, "wrong or missing key"
    UNREACHABLE = 5, "no platform answers"
    BUG = 70, "a bug of InstaInfer"
    INTERRUPTED = 130, "ended by Ctrl-C"


_BY_ERROR: tuple[tuple[type[InstaInferError], ExitCode], ...] = (
    (BadInput, ExitCode.USAGE),
    (BadFunction, ExitCode.USAGE),
    (NotFound, ExitCode.NOT_FOUND),
    (NotAllowed, ExitCode.NOT_ALLOWED),
    (Unreachable, ExitCode.UNREACHABLE),
    (InternalError, ExitCode.BUG),
)


def exit_code_of(error: InstaInferError) -> ExitCode:
    """The exit code for an error that was raised on purpose. Errors that `_BY_ERROR` does not list get `FAILED`."""
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.FAILED)


EPILOG = "Exit codes: " + ", ".join(f"{code.value} {code.meaning}" for code in ExitCode) + "."
