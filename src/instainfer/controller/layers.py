"""Merges the parameters of several layers: package, binding, action and call. Those of a later layer win.

A parameter with ``init`` is for the function's processes, which have it as an environment variable from their start; no
call gets it. An action with the annotation ``final`` refuses calls that give a parameter which has a value already.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

import msgspec

from ..errors import BadInput, shown
from .bodies import MALFORMED, object_items
from .records import Action
from .responses import encode

FINAL_PARAMETERS = "Request defines parameters that are not allowed (e.g., reserved properties)."
_VARIABLE = re.compile(r"(?!__OW_|INSTAINFER_)[A-Za-z_][A-Za-z0-9_]{0,127}")

Pairs: TypeAlias = Sequence[dict[str, Any]]
"""Parameters as in the API, ``{"key", "value"}`` each, and some with ``"init": true``."""


def merged_pairs(*layers: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of several layers together."""
    return list({pair["key"]: pair for layer in layers for pair in layer}.values())


def merged(action: Action, inherited: Pairs, args: bytes) -> bytes:
    """The arguments of a call as JSON, merged with the parameters that are bound to its action or inherited by it.

    Raises `BadInput` when an argument would replace one of these and the action's annotation ``final`` forbids this. As
    in OpenWhisk, a parameter that is bound to null or to an empty object has no value yet, so it may be given.
    """
    if not action.parameters and not inherited:
        return args
    bound = {pair["key"]: pair for pair in (*inherited, *action.parameters)}
    given = object_items(args)
    if action.annotation("final") is True and any(_has_value(bound.get(key)) for key in given):
        raise BadInput(FINAL_PARAMETERS)
    values: dict[str, Any] = {key: pair["value"] for key, pair in bound.items()}
    both = values | given
    for key, pair in bound.items():
        if pair.get("init"):
            del both[key]
    return encode(both)


def merged_onto(bound: Pairs, args: bytes) -> bytes:
    """A JSON object, completed by parameters that it does not have."""
    return encode({pair["key"]: pair["value"] for pair in bound} | object_items(args)) if bound else args


def variables_of(*layers: Pairs) -> dict[str, str]:
    """The environment variables that the parameters with ``init`` of several layers make. Null makes none.

    Raises `BadInput` for a parameter that cannot be a variable.
    """
    found = {}
    for pair in merged_pairs(*layers):
        key, value = pair["key"], pair["value"]
        if not pair.get("init") or value is None:
            continue
        if _VARIABLE.fullmatch(key) is None:
            raise BadInput(
                f"{MALFORMED}the parameter {shown(key)} is for initialization, where it is an environment variable: "
                "its name has at most 128 letters, digits and _, no digit first, and neither __OW_ nor INSTAINFER_ "
                "at its beginning"
            )
        text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        if "\0" in text:
            raise BadInput(f"{MALFORMED}the parameter {shown(key)} contains a zero byte: no environment variable can")
        found[key] = text
    return found


def _has_value(pair: dict[str, Any] | None) -> bool:
    return pair is not None and pair["value"] is not None and pair["value"] != {}
