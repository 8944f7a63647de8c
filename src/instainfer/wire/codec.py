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
    nested: dict[str, Any] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """Fields that are named tuples themselves (or None), with their types."""


class Vocabulary:
    """The messages that may pass over one connection in one direction, by their names on the wire."""

    def __init__(self, messages: dict[str, Fields]) -> None:
        self._messages = messages
        self._names = {fields.make: name for name, fields in messages.items()}

    def encode(self, message: Any) -> bytes:
        """Raises KeyError for what is not in this vocabulary."""
        name = self._names[type(message)]
        fields = self._messages[name]
        header = message._asdict()
        body: bytes = header.pop(fields.body) if fields.body else b""
        for field in fields.nested:
            if header[field] is not None:
                header[field] = header[field]._asdict()
        header["type"] = name
        return encode(header, body)

    def decode(self, frame: Frame) -> Any:
        """Raises `ProtocolError` for an unknown message or a missing field."""
        name = frame.header.get("type")
        fields = self._messages.get(name) if isinstance(name, str) else None
        if fields is None:
            raise ProtocolError("unknown message {!r}; known: {}".format(name, ", ".join(sorted(self._messages))))
        values = dict(frame.header)
        for field, make in fields.nested.items():
            if values.get(field) is not None:
                values[field] = _build(make, values[field], "{} of {}".format(field, name))
        if fields.body:
            values[fields.body] = frame.body
        return _build(fields.make, values, str(name))


def _build(make: Any, values: Any, what: str) -> Any:
    if not isinstance(values, dict):
        raise ProtocolError("message {!r} is a {}, not an object".format(what, type(values).__name__))
    known = {field: values[field] for field in make._fields if field in values}
    try:
        return make(**known)
    except TypeError:
        missing = [f for f in make._fields if f not in known and f not in make._field_defaults]
        raise ProtocolError("message {!r} lacks {}".format(what, ", ".join(missing))) from None
