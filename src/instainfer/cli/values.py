"""Reads the values that people type, and formats values for people: sizes, durations, parameters, JSON.

Sizes are in binary units in every spelling (``2GB`` = ``2GiB`` = ``2048MB`` = ``2048``), as in the configuration.
A size or a duration that cannot be read raises `typer.BadParameter`, and typer reports a usage error with the option's
name.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..core.model import MIB
from ..errors import BadInput, NotFound, shown
from ..texts import decoded

if TYPE_CHECKING:
    from ..environments.manifest import Memory

PAIR = "\0"
"""Separates key and value of a ``-p KEY VALUE``. Arguments of a process cannot contain this character."""

_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")
_MB = {"": 1.0, "m": 1.0, "mb": 1.0, "mib": 1.0, "g": 1024.0, "gb": 1024.0, "gib": 1024.0}
_SECONDS = {"": 1.0, "s": 1.0, "ms": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0}


def size_mb(text: str) -> int:
    """Read a size in MB. A number without a unit is in MB."""
    mb = _quantity(text, _MB, "a size like 2GB, 2048MB or 2048 (MB)")
    if mb != int(mb):
        raise typer.BadParameter(f"{text!r} is not a whole number of MB; write it in MB")
    return int(mb)


def memory_mb(text: str) -> Memory:
    """Read a memory limit: a size, or ``auto``."""
    return "auto" if text.strip() == "auto" else size_mb(text)


def duration_s(text: str) -> float:
    """Read a duration in seconds. A number without a unit is in seconds."""
    return _quantity(text, _SECONDS, "a duration like 60s, 500ms, 2min or 60 (seconds)")


def _quantity(text: str, units: Mapping[str, float], wanted: str) -> float:
    match = _NUMBER.fullmatch(text.strip())
    unit = units.get(match[2].lower()) if match else None
    if match is None or unit is None or float(match[1]) == 0:
        raise typer.BadParameter(f"{text!r} is not {wanted}")
    return float(match[1]) * unit


def parameters(pairs: Sequence[str]) -> dict[str, Any]:
    """Read the pairs of ``-p KEY VALUE``. A value is parsed as JSON if it is valid JSON, otherwise it is a string.

    Raises `BadInput` for a pair that is not UTF-8.
    """
    for pair in pairs:
        if not _is_utf8(pair):
            raise BadInput(f"-p {shown(pair.replace(PAIR, ' '))} is not UTF-8 text; write it as UTF-8")
    return {key: _json_or_text(value) for key, _, value in (pair.partition(PAIR) for pair in pairs)}


def _is_utf8(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:  # Python keeps the bytes of an argument that is not UTF-8 as half characters
        return False
    return True


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(name: str) -> Any:
    """Refuse NaN and Infinity, which Python's parser accepts although they are not JSON."""
    raise ValueError(f"{name} is not JSON")


def data(source: str) -> dict[str, Any]:
    """Read the JSON object that ``--data`` gives: as text, as ``@FILE``, or as ``-`` for standard input.

    Raises `BadInput` if the text is not a JSON object, and `NotFound` if there is no such file.
    """
    content, where = _read(source)
    try:
        text = decoded(content)
    except ValueError as error:
        raise BadInput(f"{where} is {error}") from None
    try:
        value = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{where} is not valid JSON ({error}); give a JSON object, @FILE, or - for stdin") from None
    if not isinstance(value, dict):
        raise BadInput(f"{where} is a JSON {_json_type(value)}; a function takes a JSON object")
    return value


def _read(source: str) -> tuple[bytes, str]:
    if source == "-":
        return sys.stdin.buffer.read(), "standard input"
    if not source.startswith("@"):
        return os.fsencode(source), "the value of --data"
    path = Path(source[1:])
    try:
        return path.read_bytes(), str(path)
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}; --data @FILE takes the path of a JSON file") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; --data @FILE takes the path of a JSON file") from None


def _json_type(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case _:
            return "array"


def size(n_bytes: float) -> str:
    """Format a number of bytes for people: ``310 MB``, ``1.5 GB``."""
    mb = n_bytes / MIB
    if mb < 10:
        return f"{mb:.1f} MB" if mb else "0 MB"
    return f"{mb:.0f} MB" if mb < 1000 else f"{mb / 1024:.1f} GB"


def seconds(value_s: float) -> str:
    """Format a duration for people: ``4.1 ms``, ``310 ms``, ``2.35 s``, ``12 min``, ``2 h 5 min``, ``3 d 4 h``."""
    ms = value_s * 1000
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    if value_s < 10:
        return f"{value_s:.2f} s"
    if value_s < 120:
        return f"{value_s:.0f} s"
    minutes = round(value_s / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(epoch_ms: int) -> str:
    """Format a time in this machine's time zone: ``14:03:07`` if it is today, ``Nov 29 14:03`` otherwise."""
    there = datetime.fromtimestamp(epoch_ms / 1000).astimezone()
    today = there.date() == datetime.now(there.tzinfo).date()
    return there.strftime("%H:%M:%S" if today else "%b %d %H:%M")
