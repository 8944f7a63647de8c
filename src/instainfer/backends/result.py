"""The answer of a run, as it came out of a container."""

from __future__ import annotations

import msgspec

from ..core.model import Failure, FailureKind


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


def _bad(what: str) -> Failure:
    text = f"the answer {what}; answer only with what main returns or instainfer.reply is given"
    return Failure(FailureKind.BAD_ANSWER, text)
