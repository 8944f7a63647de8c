"""Decodes the body of a PUT of a package or a binding."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import BadInput
from .bodies import MALFORMED, decoded, part
from .paths import OWN, EntityPath, checked_name, checked_namespace
from .puts import MAX_ANNOTATIONS_BYTES, MAX_PARAMETERS_BYTES, bound_pairs, checked_version

MAX_PACKAGE_BYTES = 2 * (MAX_PARAMETERS_BYTES + MAX_ANNOTATIONS_BYTES)
"""Longest body. The exact limits of its parts are checked after decoding."""
_NOTHING = msgspec.Raw(b"null")


class _Binding(msgspec.Struct):
    namespace: str | None = None
    name: str | None = None


class _Body(msgspec.Struct):
    """The body of a PUT. Unknown keys are ignored, because clients send some."""

    binding: msgspec.Raw = _NOTHING
    parameters: msgspec.Raw = _NOTHING
    annotations: msgspec.Raw = _NOTHING
    version: str | None = None
    publish: bool | None = None


class PackagePut(msgspec.Struct, frozen=True, kw_only=True):
    """The decoded body of a PUT. A field that is None keeps its previous value, or gets the default."""

    binding: EntityPath | None = None
    """The package that is bound."""
    parameters: list[dict[str, Any]] | None = None
    annotations: list[dict[str, Any]] | None = None
    version: str | None = None
    publish: bool | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


def decode_package(body: bytes | bytearray, own: str) -> PackagePut:
    """Decode the body of a PUT. `own` is the caller's namespace.

    Raises `BadInput` for a malformed body, and `HTTPException` 413 when a part is larger than allowed.
    """
    found = decoded(_decode_body, body or b"{}")
    return PackagePut(
        binding=_binding(part(found.binding, _Binding | None, "$.binding"), own),
        parameters=bound_pairs(found.parameters, "parameters", MAX_PARAMETERS_BYTES),
        annotations=bound_pairs(found.annotations, "annotations", MAX_ANNOTATIONS_BYTES),
        version=checked_version(found.version),
        publish=found.publish,
    )


def _binding(given: _Binding | None, own: str) -> EntityPath | None:
    if given is None or (given.namespace is None and given.name is None):
        return None  # clients that are written in Go send an empty object for no binding
    if given.namespace is None or given.name is None:
        raise BadInput(f"{MALFORMED}a binding has a namespace and a name")
    namespace = own if given.namespace == OWN else checked_namespace(given.namespace)
    return EntityPath(namespace, None, checked_name(given.name))
