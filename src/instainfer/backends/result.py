"""Checks the answer and the logs of a run that come out of a container."""

from __future__ import annotations

import msgspec

from ..core.model import Failure, FailureKind
from ..wire.bounds import LOGS_SLACK_BYTES
from ..wire.framing import ProtocolError

_TWO_BYTES = b'"\\\b\f\r\t'
"""Characters that take two bytes in JSON."""
_SIX_BYTES = bytes(set(range(32)) - set(_TWO_BYTES) - {10})
"""Characters that take six bytes in JSON. The newline is left out, because it separates lines."""


def checked_result(answer: bytes) -> tuple[bytes | None, Failure | None]:
    """The answer and None, or None and a failure if the answer is invalid.

    Our code in a function's process writes valid answers, but the function's own code could write any bytes instead.
    Answers are passed on to callers and records unchanged, so each must be a JSON object or array.
    """
    if answer.lstrip()[:1] not in {b"{", b"["}:
        return None, _bad("is no JSON object or array")
    try:
        answer.decode()
        msgspec.json.decode(answer, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, _bad(f"is not JSON: {error}")
    return answer, None


def checked_value(value: bytes) -> Failure | None:
    """Why one value of a streamed answer is invalid; None if it is valid.

    A value is passed on to callers as a line, so it must not have line breaks: who writes them could write lines in
    the place of the platform.
    """
    if b"\n" in value or b"\r" in value:
        return _bad_value("has a line break")
    try:
        value.decode()
        msgspec.json.decode(value, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return _bad_value(f"is not JSON: {error}")
    return None


def checked_logs(raw: bytes, limit_bytes: int) -> list[str]:
    """The lines of a run's logs. Raises `ProtocolError` if they would take more than `limit_bytes` when stored.

    An honest manager keeps to the limit (`runtime.logs.Log`). A manager that was taken over could send few bytes that
    become a large record.
    """
    if not raw:
        return []
    escapes_bytes = (
        5 * (len(raw) - len(raw.translate(None, _SIX_BYTES))) + len(raw) - len(raw.translate(None, _TWO_BYTES))
    )
    stored_bytes = len(raw) + escapes_bytes + 2 * raw.count(b"\n")
    if stored_bytes > limit_bytes + LOGS_SLACK_BYTES:
        raise ProtocolError(f"logs of {stored_bytes} bytes as they would be stored; the limit is {limit_bytes}")
    try:
        return raw.decode().split("\n")
    except UnicodeDecodeError as error:
        raise ProtocolError(f"logs are not UTF-8: {error.reason}") from None


def _bad(what: str) -> Failure:
    text = f"the answer {what}; answer only with what main returns or instainfer.reply is given"
    return Failure(FailureKind.BAD_ANSWER, text)


def _bad_value(what: str) -> Failure:
    return Failure(FailureKind.BAD_ANSWER, f"a value of the answer {what}; answer only with what main yields")
