"""Parses the names and query parameters of requests. Refusals have the texts of OpenWhisk."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from ..errors import BadInput, shown
from .paths import is_relative
from .queries import Filter

MAX_LIMIT = 200
DEFAULT_LIMIT = 30
ACTIVATION_ID_LENGTH = 32
_HEX = re.compile(r"[0-9a-fA-F]+")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_REMEMBERED_LENGTH = 256
_TRUE = frozenset({"true", "yes", "on", "1"})
_FALSE = frozenset({"false", "no", "off", "0"})


class InvokeOptions(NamedTuple):
    blocking: bool
    result_only: bool
    timeout_s: float | None


class Page(NamedTuple):
    """The part of a list that is wanted. With `only_count` only the length of the list is wanted."""

    limit: int
    skip: int
    only_count: bool


def activation_id(encoded: str) -> str:
    """An activation id in lower case. Raises `BadInput`."""
    if len(encoded) != ACTIVATION_ID_LENGTH:
        raise BadInput(f"Activation id length is {len(encoded)} but must be {ACTIVATION_ID_LENGTH}.")
    if _HEX.fullmatch(encoded) is None:
        raise BadInput("The activation id is not valid.")
    return encoded.lower()


def invoke_options(query: bytes, longest_s: float) -> InvokeOptions:
    """The options in the query string of a call. Raises `BadInput`.

    `longest_s` is the greatest timeout in seconds that a caller may ask for.
    """
    # Long query strings are not cached, so that no caller can fill the memory with them.
    return _remembered(query, longest_s) if len(query) <= _REMEMBERED_LENGTH else _invoke_options(query, longest_s)


def _invoke_options(query: bytes, longest_s: float) -> InvokeOptions:
    given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
    timeout_s: float | None = None
    if "timeout" in given:
        longest_ms = int(longest_s * 1000)
        text = given["timeout"]
        if _INTEGER.fullmatch(text) is None or not 1 <= int(text) <= longest_ms:
            raise BadInput(f"Timeout must be number of milliseconds up to {longest_ms}.")
        timeout_s = int(text) / 1000
    return InvokeOptions(flag(given, "blocking", False), flag(given, "result", False), timeout_s)


_remembered = lru_cache(maxsize=1024)(_invoke_options)


def flag(given: Mapping[str, str], name: str, default: bool) -> bool:
    """The value of a Boolean parameter. Raises `BadInput`."""
    if name not in given:
        return default
    value = given[name].lower()
    if value in _TRUE:
        return True
    if value in _FALSE:
        return False
    raise BadInput(f"The query parameter '{name}' was malformed:\n{shown(given[name])} is not a valid Boolean value")


def page(given: Mapping[str, str], collection: str) -> Page:
    """The part of a list that the parameters ask for. A limit of 0 means `MAX_LIMIT`. Raises `BadInput`."""
    limit = _integer(given, "limit", DEFAULT_LIMIT, collection)
    if not 0 <= limit <= MAX_LIMIT:
        raise BadInput(f"The value '{limit}' is not in the range of 0 to {MAX_LIMIT} for {collection}.")
    skip = _integer(given, "skip", 0, collection)
    if skip < 0:
        raise BadInput(f"The value '{skip}' is not greater than or equal to 0 for {collection}.")
    return Page(limit or MAX_LIMIT, skip, flag(given, "count", False))


def activation_filter(given: Mapping[str, str], namespace: str) -> Filter:
    """The filter that the parameters of a list of activations describe. Raises `BadInput`."""
    name = _filter_name(given.get("name", ""))
    package, _, simple = (name or "").rpartition("/")
    return Filter(
        namespace=namespace,
        package=package,
        name=None if name is None else simple,
        since_ms=_instant(given, "since"),
        upto_ms=_instant(given, "upto"),
        ended_since_ms=_instant(given, "endedSince"),
    )


def _filter_name(name: str) -> str | None:
    """The name to filter by, ``name`` or ``package/name``."""
    if not name:
        return None
    if not is_relative(name):
        raise BadInput(f"Parameter may be a 'simple' name or 'package-name/simple' name: {name[:100]}")
    return name


def _instant(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name)
    if text is None:
        return None
    if _INTEGER.fullmatch(text) is None:
        raise BadInput(f"Parameter is not a valid value for epoch seconds: {text[:100]}")
    return int(text)


def _integer(given: Mapping[str, str], name: str, default: int, collection: str) -> int:
    text = given.get(name)
    if text is None:
        return default
    if _INTEGER.fullmatch(text) is None:
        raise BadInput(f"The value {shown(text)} is not an integer for {collection}.")
    return int(text)
