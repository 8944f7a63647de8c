"""Decodes the body of a PUT of an action, within limits of memory.

A body may be very large, and nearly all of it is code. Decoded JSON can need many times the memory of its text. So the
parts of the body are first found as text, then each is measured, and only then decoded.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from typing import Any, Literal

import msgspec

from ..errors import BadInput, shown
from .bodies import MALFORMED, decoded, part, too_large
from .deployment import concrete_kind
from .records import SEQUENCE, Action, AskedLimits, Package, Rule, Trigger
from .responses import encode

FIRST_VERSION = "0.0.1"
MAX_PARAMETERS_BYTES = 1024 * 1024
"""Limit on the parameters that are bound to a function, which is OpenWhisk's. They stay in memory."""
MAX_ANNOTATIONS_BYTES = 64 * 1024
MAX_VERSION_LENGTH = 64
WEB_EXPORT = "web-export"
_MAX_MAIN_LENGTH = 256
_SMALL_BYTES = 16 * 1024
_MAX_COMPONENTS_BYTES = 64 * 1024
"""Enough for as many long names as a sequence may have."""
_CODE_SETTING = "server.max_code_bytes"
_STEP = 1024 * 1024
"""Characters of base64 that are decoded at a time, a multiple of four. No other Python thread runs during one step."""
_VERSION = re.compile(r"([0-9]{1,9})\.([0-9]{1,9})\.([0-9]{1,18})")
_NOTHING = msgspec.Raw(b"null")


class _Exec(msgspec.Struct):
    kind: str
    code: msgspec.Raw = _NOTHING
    components: msgspec.Raw = _NOTHING
    binary: bool | None = None
    main: str | None = None


class _Pair(msgspec.Struct, omit_defaults=True):
    key: str
    value: Any = None
    init: bool = False


class _Limits(msgspec.Struct):
    timeout: int | None = None
    memory: int | Literal["auto"] | None = None
    logs: int | None = None
    concurrency: int | None = None


class _Body(msgspec.Struct):
    """The body of a PUT. Unknown keys are ignored, because clients send some."""

    exec: msgspec.Raw = _NOTHING
    parameters: msgspec.Raw = _NOTHING
    annotations: msgspec.Raw = _NOTHING
    limits: msgspec.Raw = _NOTHING
    version: msgspec.Raw = _NOTHING
    publish: bool | None = None
    delAnnotations: msgspec.Raw = _NOTHING


class Code(msgspec.Struct, frozen=True):
    """The code of an action in the form in which it is stored."""

    source: bytes
    digest: str
    kind: str
    binary: bool
    """Whether `source` is an archive. Otherwise it is the text of one module."""
    main: str | None


class ActionPut(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded body of a PUT. A field that is None keeps its previous value, or gets the default."""

    code: Code | None = None
    components: list[str] | None = None
    """The parts of a sequence, as they were given."""
    parameters: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] = []
    limits: _Limits | None = None
    version: str | None = None
    publish: bool | None = None
    deleted_annotations: list[str] = []


_decode_body = msgspec.json.Decoder(_Body).decode


def decode_put(body: bytes | bytearray, *, max_code_bytes: int) -> ActionPut:
    """Decode the body of a PUT. May be called in a thread.

    Raises `BadInput` for a malformed body, and `HTTPException` 413 when a part is larger than allowed.
    """
    found = decoded(_decode_body, body)
    _bound(found.delAnnotations, "annotations", MAX_ANNOTATIONS_BYTES)
    for what, text in (("limits", found.limits), ("version", found.version)):
        _bound(text, what, _SMALL_BYTES)
    code, components = _code(found.exec, max_code_bytes)
    return ActionPut(
        code=code,
        components=components,
        parameters=bound_pairs(found.parameters, "parameters", MAX_PARAMETERS_BYTES),
        annotations=bound_pairs(found.annotations, "annotations", MAX_ANNOTATIONS_BYTES) or [],
        limits=part(found.limits, _Limits | None, "$.limits"),
        version=checked_version(part(found.version, str | None, "$.version")),
        publish=found.publish,
        deleted_annotations=part(found.delAnnotations, list[str] | None, "$.delAnnotations") or [],
    )


def next_version(wanted: str | None, old: Action | Package | Trigger | Rule | None) -> str:
    """The version of a new entity: the wanted one, else the old one with its last number increased."""
    if wanted is not None:
        return wanted
    if old is None:
        return FIRST_VERSION
    major, minor, patch = old.version.split(".")
    return f"{major}.{minor}.{int(patch) + 1}"


def asked_limits(wanted: _Limits | None, old: Action | None) -> AskedLimits:
    """The limits in the PUT, completed by those asked for in earlier PUTs.

    Raises `BadInput` for any concurrency but 1: a container runs one activation at a time.
    """
    before = old.asked if old else AskedLimits()
    if wanted is None:
        return before
    if wanted.concurrency not in (None, 1):
        how = "below" if wanted.concurrency < 1 else "exceeds"
        raise BadInput(
            f"{MALFORMED}requirement failed: concurrency {shown(wanted.concurrency)} {how} allowed threshold of 1"
        )
    return AskedLimits(
        timeout=before.timeout if wanted.timeout is None else wanted.timeout,
        memory=before.memory if wanted.memory is None else wanted.memory,
        logs=before.logs if wanted.logs is None else wanted.logs,
    )


def merged_annotations(wanted: ActionPut, kind: str, old: Action | None) -> list[dict[str, Any]]:
    """The old annotations, overridden by the wanted ones, and the two annotations that every action has.

    Raises `BadInput` for one that asks for what is not there, and `HTTPException` 413 when they are too large together.
    """
    if any(pair["key"] == WEB_EXPORT and pair["value"] not in (False, None) for pair in wanted.annotations):
        raise BadInput(
            f"The annotation '{WEB_EXPORT}' is refused: there are no web actions here, and its URL would answer 404. "
            "Leave it out, or give it the value false, and call the action with a key."
        )
    merged = {"provide-api-key": {"key": "provide-api-key", "value": False}}
    for pair in (*(old.annotations if old else ()), *wanted.annotations):
        merged[pair["key"]] = pair
    for key in wanted.deleted_annotations:
        merged.pop(key, None)
    merged["exec"] = {"key": "exec", "value": kind}
    all_of_them = list(merged.values())
    _bound(encode(all_of_them), "annotations", MAX_ANNOTATIONS_BYTES)
    return all_of_them


def _bound(text: msgspec.Raw | bytes, what: str, most_bytes: int) -> None:
    size = len(memoryview(text))
    if size > most_bytes:
        raise too_large(size, most_bytes, what=what)


def _code(text: msgspec.Raw, max_code_bytes: int) -> tuple[Code | None, list[str] | None]:
    """The code of a function, or the parts of a sequence. Neither if the body has none."""
    # In `_Exec` the code stays JSON text (`msgspec.Raw`), so that it is not copied here.
    execution = part(text, _Exec | None, "$.exec")
    if execution is None:
        return None, None
    if execution.kind == SEQUENCE:
        _bound(execution.components, "components", _MAX_COMPONENTS_BYTES)
        return None, part(execution.components, list[str] | None, "$.exec.components") or []
    kind = concrete_kind(execution.kind)
    main = execution.main
    if main is not None and (len(main) > _MAX_MAIN_LENGTH or not main.isidentifier()):
        raise BadInput(f"{MALFORMED}'main' must be the name of a function, at most {_MAX_MAIN_LENGTH} characters long")
    source, binary = _source(execution, max_code_bytes)
    return Code(source, hashlib.sha256(source).hexdigest(), kind, binary, main), None


def _source(execution: _Exec, max_code_bytes: int) -> tuple[bytes, bool]:
    """The code in the form in which it is stored, and whether it is an archive."""
    raw = memoryview(execution.code)
    if len(raw) > max_code_bytes * 4 // 3 + _SMALL_BYTES:
        raise too_large(len(raw), max_code_bytes, _CODE_SETTING)
    source, binary = None, execution.binary is not False
    if binary and raw and raw[0] == ord('"'):
        source = _from_base64(raw[1:-1])  # base64 in JSON almost never has escapes, so no copy as text is needed
    if source is None:
        text = part(execution.code, str | None, "$.exec.code")
        if text is None:
            raise BadInput(f"{MALFORMED}'code' must be a string of code or base64")
        source = _from_base64(memoryview(text.encode())) if binary else None
        if source is None:
            if execution.binary:
                raise BadInput(f"{MALFORMED}'code' is not base64 of an archive; encode it, or leave 'binary' out")
            source, binary = text.encode(), False
    if len(source) > max_code_bytes:
        raise too_large(len(source), max_code_bytes, _CODE_SETTING)
    return source, binary


def _from_base64(text: memoryview) -> bytes | None:
    """Decode base64. None if the text is empty or is not base64."""
    if len(text) == 0 or len(text) % 4:
        return None
    found = bytearray()
    try:
        for start in range(0, len(text), _STEP):
            if start and text[start - 1] == ord("="):  # padding is allowed only at the end of the whole text
                return None
            found += binascii.a2b_base64(text[start : start + _STEP], strict_mode=True)
    except binascii.Error:
        return None
    return bytes(found)


def checked_version(wanted: str | None) -> str | None:
    """The version in a body. Raises `BadInput` when it is none."""
    if wanted is not None and _VERSION.fullmatch(wanted) is None:
        raise BadInput(
            f"{MALFORMED}{shown(wanted)} is not a version like {FIRST_VERSION}, three numbers of at most nine digits"
        )
    return wanted


def bound_pairs(text: msgspec.Raw, what: str, most_bytes: int) -> list[dict[str, Any]] | None:
    """The parameters or annotations in a body, `what` is the word for them. None if they are null or not there.

    If two pairs have the same key, the later one counts. Raises `BadInput` for what are no pairs, and `HTTPException`
    413 for more than `most_bytes`.
    """
    if text == _NOTHING:
        return None
    _bound(text, what, most_bytes)
    by_key: dict[str, dict[str, Any]] = {}
    for pair in part(text, list[_Pair], f"$.{what}"):
        value = {"key": pair.key, "value": pair.value}
        by_key[pair.key] = {**value, "init": True} if pair.init else value
    found = list(by_key.values())
    _bound(encode(found), what, most_bytes)
    return found
