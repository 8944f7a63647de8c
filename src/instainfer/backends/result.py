"""The answer of a run and its logs, as they came out of a container."""

from __future__ import annotations

import msgspec

from ..core.model import Failure, FailureKind
from ..wire.bounds import LOGS_SLACK_BYTES
from ..wire.framing import ProtocolError

_TWO_BYTES = b'"\\\b\f\r\t'
"""What takes two bytes in JSON."""
_SIX_BYTES = bytes(set(range(32)) - set(_TWO_BYTES) - {10})
"""What takes six, but for the ends of lines."""


def checked_result(answer: bytes) -> tuple[bytes | None, Failure | None]:
    """The answer, or the failure that it is none.

    A function's process makes its answers with our code, but the function's code could write others: what is passed on
    to callers and into records as it is must be JSON of an object or an array.
    """
    if answer.lstrip()[:1] not in {b"{", b"["}:
        return None, _bad("is no JSON object or array")
    try:
        answer.decode()
        msgspec.json.decode(answer, type=msgspec.Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return None, _bad(f"is not JSON: {error}")
    return answer, None


def checked_logs(raw: bytes, limit_bytes: int) -> list[str]:
    """The lines of a run's logs. Raises `ProtocolError` for more than `limit_bytes` as they will be stored.

    A manager keeps to that (`runtime.logs.Log`); one that was taken over could have few bytes become large records.
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
