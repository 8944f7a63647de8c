"""Turns the answer of a function into the bytes that the caller gets, or into a failure."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ..wire.bounds import MAX_ANSWER_BYTES
from ..wire.messages import Failure

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encode_answer(value: Any, whose: str) -> tuple[bytes, Failure | None]:
    """Encode a dict or a list as JSON. Anything else is a `bad_answer`, whose message names the answer as `whose`."""
    if not isinstance(value, (dict, list)):
        return b"", _bad("{} is a {}; it must be a dict or a list".format(whose, type(value).__name__))
    try:
        answer = _encode(value).encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        return b"", _bad(
            "{} cannot be written as JSON: {}; use only dicts, lists, text, numbers, booleans and None".format(
                whose, error
            )
        )
    return _bounded(answer, whose)


def check_printed(line: str | None, whose: str) -> tuple[bytes, Failure | None]:
    """Check that a printed line is the JSON of an object or an array."""
    if line is None:
        return b"", _bad("{} is missing; call instainfer.reply(value), or print one line of JSON".format(whose))
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        return b"", _bad("{} is not JSON ({}): {:.200}; print json.dumps(value)".format(whose, error, line))
    if not isinstance(value, (dict, list)):
        return b"", _bad("{} is {:.200}; it must be a JSON object or array".format(whose, line))
    return _bounded(line.encode("utf-8", "replace"), whose)


def _bounded(answer: bytes, whose: str) -> tuple[bytes, Failure | None]:
    if len(answer) > MAX_ANSWER_BYTES:
        return b"", _bad("{} has {} bytes, more than {}".format(whose, len(answer), MAX_ANSWER_BYTES))
    return answer, None


def _bad(message: str) -> Failure:
    return Failure("bad_answer", message)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError("{} is not JSON".format(text))
