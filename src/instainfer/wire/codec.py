"""Messages as frames: one named tuple per message, one field of the header per field of the tuple.

Unknown fields are ignored, so that an older side understands a newer one; a missing field without a default is a
`ProtocolError`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .framing import Frame, ProtocolError, encode


class Fields(NamedTuple):
    """How one kind of message is written."""

    make: Any
    """The named tuple."""
    body: str = ""
    """The field that travels as the frame's body."""
    nested: dict[str, Fields] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """Fields that are named tuples themselves (or None), and how those are written."""


class Vocabulary:
    """The messages that may pass over one connection in one direction, by their names on the wire."""

    def __init__(self, messages: dict[str, Fields]) -> None:
        self._messages = messages
        self._names = {fields.make: name for name, fields in messages.items()}

    def encode(self, message: Any) -> bytes:
        """Raises KeyError for what is not in this vocabulary."""
        name = self._names[type(message)]
        fields = self._messages[name]
        header = _plain(message, fields)
        body: bytes = header.pop(fields.body) if fields.body else b""
        header["type"] = name
        return encode(header, body)

    def decode(self, frame: Frame) -> Any:
        """Raises `ProtocolError` for an unknown message or a missing field."""
        name = frame.header.get("type")
        fields = self._messages.get(name) if isinstance(name, str) else None
        if fields is None:
            raise ProtocolError("unknown message {!r}; known: {}".format(name, ", ".join(sorted(self._messages))))
        values = frame.header
        if fields.body:
            values = {**values, fields.body: frame.body}
        return _build(fields, values, str(name))


def _plain(message: Any, fields: Fields) -> dict[str, Any]:
    values: dict[str, Any] = message._asdict()
    for field, inner in fields.nested.items():
        if values[field] is not None:
            values[field] = _plain(values[field], inner)
    return values


def _build(fields: Fields, values: Any, what: str) -> Any:
    if not isinstance(values, dict):
        raise ProtocolError("message {!r} is a {}, not an object".format(what, type(values).__name__))
    make = fields.make
    known = {field: values[field] for field in make._fields if field in values}
    for field, inner in fields.nested.items():
        if known.get(field) is not None:
            known[field] = _build(inner, known[field], "{} of {}".format(field, what))
    try:
        return make(**known)
    except TypeError:
        missing = [f for f in make._fields if f not in known and f not in make._field_defaults]
        raise ProtocolError("message {!r} lacks {}".format(what, ", ".join(missing))) from None
