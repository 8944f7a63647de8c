"""Turns the answer of a function into the bytes that the caller gets, or into a failure."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from ..wire.bounds import MAX_ANSWER_BYTES, MAX_VALUE_BYTES
from ..wire.messages import Failure
from .plain import as_json, plain, rewritten

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain).encode


def encode_answer(value: Any, whose: str) -> tuple[bytes, Failure | None]:
    """Encode an answer as JSON. What is no object or array then is a `bad_answer`, and so is what cannot be encoded.

    The failure's message names the answer as `whose`, and the place in it.
    """
    answer, failure = _encoded(value, whose)
    if failure is not None:
        return b"", failure
    if not answer.startswith((b"{", b"[")):
        return b"", _bad("{} is a {}; it must be a dict or a list".format(whose, type(value).__name__))
    return _bounded(answer, whose, MAX_ANSWER_BYTES)


def encode_value(value: Any, whose: str) -> tuple[bytes, Failure | None]:
    """Encode one value of a streamed answer, which may be anything that JSON has. The failures are as for an answer."""
    encoded, failure = _encoded(value, whose)
    return (b"", failure) if failure is not None else _bounded(encoded, whose, MAX_VALUE_BYTES)


def _encoded(value: Any, whose: str) -> tuple[bytes, Failure | None]:
    try:
        answer = _encode(value).encode("utf-8")
    except Exception:
        # Code of the function may fail in any way, and the encoder does not say where. This does, and takes odd keys.
        try:
            answer = as_json(rewritten(value))
        except RecursionError:
            return b"", _bad("{} cannot be written as JSON: it contains itself, or is nested too deeply".format(whose))
        except Exception as error:
            return b"", _bad("{} cannot be written as JSON: {}".format(whose, error))
    return answer, None


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
    return _bounded(line.encode("utf-8", "replace"), whose, MAX_ANSWER_BYTES)


def _bounded(answer: bytes, whose: str, most_bytes: int) -> tuple[bytes, Failure | None]:
    if len(answer) > most_bytes:
        return b"", _bad("{} has {} bytes, more than {}".format(whose, len(answer), most_bytes))
    return answer, None


def _bad(message: str) -> Failure:
    return Failure("bad_answer", message)


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError("{} is not JSON".format(text))
