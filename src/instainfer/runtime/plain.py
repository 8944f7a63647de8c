"""Values of libraries that have one plain meaning in JSON, and the place in an answer of what has none.

Nothing is imported for this: a value is known by the methods of its type, so that a library that a function does not
use costs nothing, and its relatives (arrays of jax and cupy, series of pandas, timestamps) are understood as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence, Set, ValuesView
from enum import Enum
from typing import Any

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_BYTES = (bytes, bytearray, memoryview)
_SCALARS = (str, int, float, type(None))
_USE = "use dicts, lists, text, numbers, booleans and None"


class Unwritable(Exception):
    """A value cannot be written as JSON. The text says where it is (``$.boxes[3].mask``), and what to do."""


def plain(value: Any) -> Any:
    """A simpler value of the same meaning, perhaps with others like this in it.

    Arrays, tensors, sets and other sequences are lists, their scalars and decimals numbers, dates and times ISO 8601,
    models of pydantic, dataclasses and mappings dicts, enums their values, paths and UUIDs texts. Raises TypeError for
    anything else, and what a method of the value raises.
    """
    kind = type(value)
    if isinstance(value, _BYTES):
        raise TypeError("it can be text in several ways: use base64.b64encode(...).decode(), or .decode()")
    if hasattr(kind, "tolist"):
        return _of_array(value)
    if isinstance(value, Enum):
        return value.value
    if hasattr(kind, "isoformat"):
        return value.isoformat()
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields  # a module that such a value's module has imported

        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (Set, Sequence, ValuesView)):
        return list(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if (kind.__module__, kind.__name__) == ("uuid", "UUID"):
        return str(value)
    if (kind.__module__, kind.__name__) == ("decimal", "Decimal"):
        number = float(value)
        if not value.is_nan() and kind(repr(number)) != value:
            raise TypeError("it has more digits than a number in JSON keeps: use str(...)")
        return number
    raise TypeError(_USE)


def _of_array(value: Any) -> Any:
    """Lists of numbers, or a number: of an array, or of one of its scalars."""
    letter = value.dtype.kind if type(value).__module__ == "numpy" else ""
    if letter == "M":  # `tolist` makes numbers of those with nanoseconds
        return value.astype(str).tolist()
    if letter == "m":
        raise TypeError("nobody would know its unit: divide it by one, such as numpy.timedelta64(1, 's')")
    made = value.tolist()
    return float(made) if type(made) is type(value) else made  # NumPy's longdouble is its own `tolist`


def rewritten(value: Any, path: str = "$") -> Any:
    """The same in dicts with keys that JSON can have, lists, texts, numbers, booleans and None.

    Raises `Unwritable`, and RecursionError for a value that contains itself.
    """
    if isinstance(value, dict):
        return {_key(key, path): rewritten(inner, path + _step(key)) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [rewritten(inner, "{}[{}]".format(path, index)) for index, inner in enumerate(value)]
    if isinstance(value, _SCALARS):
        try:
            as_json(value)
        except ValueError as error:
            raise Unwritable("{}: {}".format(path, error)) from None
        return value
    return rewritten(_simpler(value, path), path)


def as_json(value: Any) -> bytes:
    """Encode what `rewritten` returned. Raises ValueError for a text or a number that JSON cannot have."""
    return _encode(value).encode("utf-8")


def _simpler(value: Any, path: str) -> Any:
    try:
        return plain(value)
    except RecursionError:
        raise
    except Exception as error:
        # Code of the function may fail in any way.
        raise Unwritable("{} is a {}; {}".format(path, _named(value), error)) from None


def _key(key: Any, path: str) -> Any:
    simple = key if isinstance(key, (*_SCALARS, tuple)) else _simpler(key, path + _step(key))
    if not isinstance(simple, _SCALARS):
        raise Unwritable("{} has a key that is a {}; use text".format(path, _named(key)))
    return simple


def _step(key: Any) -> str:
    text = str(key)
    return "." + text if text.isidentifier() else "[{}]".format(_encode(text))


def _named(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else "{}.{}".format(kind.__module__, kind.__qualname__)
