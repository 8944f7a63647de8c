"""Decodes the bodies of PUTs of triggers and rules, and of the POST that switches a rule."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from ..errors import BadInput
from .bodies import decoded
from .paths import EntityPath
from .puts import MAX_ANNOTATIONS_BYTES, MAX_PARAMETERS_BYTES, bound_pairs, checked_version

MAX_TRIGGER_BYTES = 2 * (MAX_PARAMETERS_BYTES + MAX_ANNOTATIONS_BYTES)
"""Longest body. The exact limits of its parts are checked after decoding."""
_NOTHING = msgspec.Raw(b"null")


class _TriggerBody(msgspec.Struct):
    """The body of a trigger's PUT. Unknown keys are ignored, because clients send some."""

    parameters: msgspec.Raw = _NOTHING
    annotations: msgspec.Raw = _NOTHING
    version: str | None = None
    publish: bool | None = None


class _RuleBody(msgspec.Struct):
    trigger: str | None = None
    action: str | None = None
    annotations: msgspec.Raw = _NOTHING
    version: str | None = None
    publish: bool | None = None


class _Switch(msgspec.Struct):
    status: Literal["active", "inactive"]


class TriggerPut(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded body of a PUT. A field that is None keeps its previous value, or gets the default."""

    parameters: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    version: str | None = None
    publish: bool | None = None


class RulePut(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded body of a PUT. A field that is None keeps its previous value, or gets the default."""

    trigger: EntityPath | None = None
    action: EntityPath | None = None
    annotations: list[dict[str, Any]] | None = None
    version: str | None = None
    publish: bool | None = None


_decode_trigger = msgspec.json.Decoder(_TriggerBody).decode
_decode_rule = msgspec.json.Decoder(_RuleBody).decode
_decode_switch = msgspec.json.Decoder(_Switch).decode


def decode_trigger(body: bytes | bytearray) -> TriggerPut:
    """Decode the body of a trigger's PUT.

    Raises `BadInput` for a malformed body, and `HTTPException` 413 when a part is larger than allowed.
    """
    found = decoded(_decode_trigger, body or b"{}")
    annotations = bound_pairs(found.annotations, "annotations", MAX_ANNOTATIONS_BYTES)
    if any(pair["key"] == "feed" and not isinstance(pair["value"], str) for pair in annotations or ()):
        raise BadInput("Feed name is not valid")
    return TriggerPut(
        parameters=bound_pairs(found.parameters, "parameters", MAX_PARAMETERS_BYTES),
        annotations=annotations,
        version=checked_version(found.version),
        publish=found.publish,
    )


def decode_rule(body: bytes | bytearray, own: str) -> RulePut:
    """Decode the body of a rule's PUT. `own` is the caller's namespace. Raises as `decode_trigger` does."""
    found = decoded(_decode_rule, body or b"{}")
    return RulePut(
        trigger=None if found.trigger is None else EntityPath.parsed(found.trigger, own),
        action=None if found.action is None else EntityPath.parsed(found.action, own),
        annotations=bound_pairs(found.annotations, "annotations", MAX_ANNOTATIONS_BYTES),
        version=checked_version(found.version),
        publish=found.publish,
    )


def decode_switch(body: bytes | bytearray) -> bool:
    """Whether a rule is to be active. Raises `BadInput`."""
    return decoded(_decode_switch, body).status == "active"
