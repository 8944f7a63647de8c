"""Reads the record of an activation, which has OpenWhisk's fields and annotations, and words it for people."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeAlias

from .values import seconds

Record: TypeAlias = Mapping[str, Any]

PHASES = {
    "queue": "red",
    "container": "yellow",
    "libraries": "magenta",
    "model": "blue",
    "handoff": "cyan",
    "compute": "green",
}
"""The phases of an activation in their order, and the colour in which each is drawn."""

STATUSES = ("success", "application error", "action developer error", "whisk internal error")
"""OpenWhisk's names of the status codes 0 to 3."""

START_COLOURS = {
    "cold": "red",
    "prewarmed": "yellow",
    "templated": "blue",
    "forked": "bright_blue",
    "joined": "magenta",
    "preloaded": "green",
    "warm": "cyan",
}


def annotation(record: Record, key: str) -> Any:
    """The value of the annotation `key`. None if the record has no such annotation."""
    return next((pair["value"] for pair in record.get("annotations", ()) if pair["key"] == key), None)


def start_kind(record: Record) -> str:
    """The start kind, such as ``cold`` or ``warm``. Empty for an activation that was refused or is still running."""
    return annotation(record, "startKind") or ""


def phases_s(record: Record) -> dict[str, float]:
    """Seconds of each phase, in the order of `PHASES`. Empty for an activation that is still running."""
    given = annotation(record, "phases") or {}
    return {phase: float(given[phase]) for phase in PHASES if phase in given}


def startup_s(record: Record) -> float:
    return sum(value for phase, value in phases_s(record).items() if phase != "compute")


def compute_s(record: Record) -> float:
    return phases_s(record).get("compute", 0.0)


def running(record: Record) -> bool:
    return "end" not in record


def status(record: Record) -> str:
    """OpenWhisk's name of the status, or ``running``. `record` is a whole record or the summary in a list."""
    if running(record):
        return "running"
    if "response" in record:
        return str(record["response"]["status"])
    return STATUSES[record["statusCode"]]


def succeeded(record: Record) -> bool:
    return status(record) == STATUSES[0]


def function(record: Record) -> str:
    """The function's name without the namespace."""
    path = annotation(record, "path")
    return str(path).partition("/")[2] if path else str(record["name"])


def full_name(action: Mapping[str, Any]) -> str:
    """The name by which a function is called: with its package, if it is in one. `action` is the API's JSON of it."""
    package = str(action.get("namespace", "")).partition("/")[2]
    return f"{package}/{action['name']}" if package else str(action["name"])


def started(record: Record) -> datetime:
    """When the activation began, in this machine's time zone."""
    return datetime.fromtimestamp(record["start"] / 1000).astimezone()


def error_text(record: Record) -> str:
    """The first line of the error of a failed activation, with the status. The other lines may be a traceback."""
    result = record["response"].get("result")
    error = result.get("error") if isinstance(result, Mapping) else None
    text = error if isinstance(error, str) else str(error if error is not None else result)
    first_line = next(iter(text.strip().splitlines()), "no error was given")
    return f"{first_line.rstrip('.;')} ({status(record)})"


def how_it_went(record: Record) -> str:
    """A summary of an activation that has ended, such as ``preloaded, 4.1 ms start-up + 31 ms compute``."""
    kind = start_kind(record)
    if not kind:
        return f"not started, {seconds(startup_s(record))} after it was asked for"
    return f"{kind}, {seconds(startup_s(record))} start-up + {seconds(compute_s(record))} compute"
