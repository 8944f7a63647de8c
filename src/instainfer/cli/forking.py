"""Says whether the calls of a function are forked, and tries a function that was just deployed with its sample.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.model import function_template_key
from ..errors import BadFunction, InstaInferError, NotFound, one_line
from .output import complain, note
from .records import Record, compute_s, error_text, how_it_went, start_kind, startup_s, succeeded

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


def forked(client: Client, name: str) -> Forked:
    """Whether a function can be forked, as far as the platform knows now."""
    found = _details(client, name)
    return _UNKNOWN if found is None else found.get("forked") or _UNKNOWN


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


def try_out(client: Client, action: Json, request: Json, tick: Callable[[float], None]) -> Json:
    """Call a function that was just deployed, wait until it is known whether it can be forked, and tell people both.

    The result has the key `error`, which is None if the call succeeded. `tick` waits for some seconds.
    """
    name = action["name"]
    note("trying it with sample.json")
    check: Json = {"activationId": None, "startKind": None, "startup_s": None, "compute_s": None, "error": None}
    check["forked"] = None
    try:
        record = client.invoke(name, request)
        check["error"], text = _outcome(name, record)
    except InstaInferError as error:
        check["error"] = str(error)
        complain(f"{name} is deployed, but could not be tried: {error}")
        return check
    check["activationId"] = record["activationId"]
    if "response" in record:
        check |= {
            "startKind": start_kind(record) or None,
            "startup_s": startup_s(record),
            "compute_s": compute_s(record),
        }
    if check["error"] is not None:
        complain(text)
        return check
    note(text)
    check["forked"] = _awaited(client, action, tick)
    note(in_words(check["forked"], name))
    return check


def _outcome(name: str, record: Record) -> tuple[str | None, str]:
    """The error of the call, if it failed, and what to say of it."""
    activation = record["activationId"]
    if "response" not in record:
        return "no answer yet", f"it has not answered yet and goes on; see `instainfer activations {activation}` later"
    if succeeded(record):
        return None, f"sample.json is answered: {how_it_went(record)}"
    error = one_line(error_text(record))
    logs = f"`instainfer activations {activation} --logs`"
    return (
        error,
        f"{name} failed with sample.json: {error}; it is deployed all the same, and its logs are shown by {logs}",
    )


def _awaited(client: Client, action: Json, tick: Callable[[float], None]) -> Forked:
    """Whether a function can be forked, once that is known. It is not, if no function template of it is being made."""
    waited_s = 0.0
    while True:
        found = _details(client, action["name"])
        if found is None or found["version"] != action["version"]:
            return _UNKNOWN  # it has been replaced or deleted meanwhile
        known: Forked = found.get("forked") or _UNKNOWN
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


def _details(client: Client, name: str) -> Json | None:
    return next((function for function in client.details() if function["name"] == name), None)
