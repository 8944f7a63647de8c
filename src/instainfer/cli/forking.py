"""Says how a new version of a function was tried when it was deployed, and whether its calls are forked."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.model import function_template_key
from ..errors import BadFunction, NotFound, one_line
from .output import note
from .records import Record, compute_s, full_name, how_it_went, start_kind, startup_s

if TYPE_CHECKING:
    from ..client import Client, Json

Forked: TypeAlias = Mapping[str, Any]
"""``{"fit", "reason"}`` of ``GET /instainfer/v1/functions``."""

WAIT_S = 20.0
"""Longest time to wait until it is known whether a function can be forked."""
BEGIN_S = 5.0
"""Time after which the first function template is being made, if one is wanted: the node may put it off for calls."""
EVERY_S = 0.5

_UNKNOWN: Forked = {"fit": None, "reason": None}


def details(client: Client, name: str) -> Json:
    """What the platform knows now of a function, besides its description; empty if it has been deleted."""
    return next((function for function in client.details() if function["name"] == name), {})


def forked(found: Json) -> Forked:
    """Whether a function can be forked, from its details."""
    return found.get("forked") or _UNKNOWN


def in_words(found: Forked, name: str) -> str:
    if found["fit"]:
        return "its calls are forked from a loaded process"
    if found["reason"]:
        reason = one_line(found["reason"])
        return f"its calls are not forked: {reason}" if found["fit"] is None else f"cannot be forked: {reason}"
    return f"it is not known yet whether its calls can be forked; see `instainfer function show {name}` later"


def sample_of(folder: Path) -> Json | None:
    """The request in a function's ``sample.json``. None if there is no such file.

    Raises `BadFunction` when it is not a JSON object.
    """
    from ..environments.sample import sample_request

    try:
        request: Json = json.loads(sample_request(folder))
    except NotFound:
        return None
    except BadFunction as error:
        raise BadFunction(f"{error}, or deploy with --no-check") from None
    return request


def tried(client: Client, action: Json, record: Record, tick: Callable[[float], None], *, with_sample: bool) -> Json:
    """Tell people how the call went with which a new version was tried, and whether its calls can be forked.

    The latter is waited for if the function has a sample; `tick` waits for some seconds.
    """
    note(f"{'sample.json is answered' if with_sample else 'it can be loaded'}: {how_it_went(record)}")
    check: Json = {
        "activationId": record["activationId"],
        "startKind": start_kind(record) or None,
        "startup_s": startup_s(record),
        "compute_s": compute_s(record),
        "forked": None,
    }
    if with_sample:
        check["forked"] = _awaited(client, action, tick)
        note(in_words(check["forked"], full_name(action)))
    return check


def _awaited(client: Client, action: Json, tick: Callable[[float], None]) -> Forked:
    """Whether a function can be forked, once that is known. It is not, if no function template of it is being made."""
    waited_s = 0.0
    while True:
        found = details(client, full_name(action))
        if found.get("version") != action["version"]:
            return _UNKNOWN  # it has been replaced or deleted meanwhile
        known = forked(found)
        if known["fit"] is not None or known["reason"] or waited_s >= WAIT_S:
            return known
        if waited_s >= BEGIN_S and not _being_made(client, found["key"]):
            return known
        tick(EVERY_S)
        waited_s += EVERY_S


def _being_made(client: Client, key: str) -> bool:
    template = function_template_key(key)
    return any(
        resident["function"] == template
        for node in client.status()["nodes"]
        for container in node["containers"]
        for resident in container["residents"]
    )
