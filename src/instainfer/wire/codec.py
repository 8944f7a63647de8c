"""Turns messages into frames and back. Each message is a named tuple, and each of its fields is a field of the header.

The values that a field may hold are declared with `schema`, and checked when a message is decoded. So every decoded
message has values of the declared types within the declared limits. Any other message raises a `ProtocolError` that
names the message, the field and the expected value. A missing field without a default is an error, too. Unknown fields
are ignored, so that an older side understands a newer one.
"""

from __future__ import annotations

from typing import Any

from .framing import Decoder, Frame, ProtocolError, encode
from .schema import Kind, Mismatch

_MOST_SHOWN = 60


class Fields:
    """Declares one kind of message, or a part of a message: the kinds of the fields of the named tuple `make`."""

    def __init__(self, make: Any, body: str = "", /, **kinds: Kind) -> None:
        """`body` names the field that is sent as the body of the frame."""
        self.make = make
        self.body = body
        if set(make._fields) != {*kinds, *filter(None, [body])}:
            raise TypeError("{} has other fields than {}".format(make.__name__, ", ".join(kinds)))
        defaults = make._field_defaults
        self._checks = [(name, kinds[name].check, name in defaults) for name in make._fields if name != body]
        self._plains = [(name, kind.plain) for name, kind in kinds.items() if kind.plain is not None]

    def plain(self, message: Any) -> dict[str, Any]:
        """The fields of a message as values that JSON can write, and the body, unchanged, among them."""
        values: dict[str, Any] = message._asdict()
        for name, plain in self._plains:
            values[name] = plain(values[name])
        return values

    def build(self, values: dict[str, Any]) -> Any:
        """The named tuple made of decoded JSON. Raises `Mismatch`, whose path begins with the name of the field."""
        known: dict[str, Any] = {}
        for name, check, has_default in self._checks:
            if name in values:
                try:
                    known[name] = check(values[name])
                except Mismatch as error:
                    path = "{}.{}".format(name, error.path) if error.path else name
                    raise Mismatch(error.expected, error.value, path) from None
            elif not has_default:
                missing = [name for name, _, has_default in self._checks if not has_default and name not in values]
                raise Mismatch("the fields " + ", ".join(missing), Missing)
        if self.body:
            known[self.body] = values[self.body]
        return self.make(**known)


class Missing:
    """Stands for a missing value in a `Mismatch`."""


def nested(fields: Fields) -> Kind:
    """A field that holds a named tuple."""

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch("an object", value)
        return fields.build(value)

    return Kind(check, fields.plain)


class Vocabulary:
    """The messages that may be sent in one direction of a connection, by their names on the wire."""

    def __init__(self, messages: dict[str, Fields], max_header_bytes: int, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._messages = messages
        self._names = {fields.make: name for name, fields in messages.items()}

    def decoder(self) -> Decoder:
        """A new decoder for a stream of these messages."""
        return Decoder(self._max_header_bytes, self.max_body_bytes)

    def encode(self, message: Any) -> bytes:
        """Raises KeyError for a message that is not in this vocabulary."""
        name = self._names[type(message)]
        fields = self._messages[name]
        header = fields.plain(message)
        body: bytes = header.pop(fields.body) if fields.body else b""
        header["type"] = name
        return encode(header, body)

    def decode(self, frame: Frame) -> Any:
        """Raises `ProtocolError` for an unknown message, a missing field, or a value that its field may not hold."""
        name = frame.header.get("type")
        fields = self._messages.get(name) if isinstance(name, str) else None
        if fields is None:
            raise ProtocolError("unknown message {}; known: {}".format(_shown(name), ", ".join(sorted(self._messages))))
        values = frame.header
        if fields.body:
            values[fields.body] = frame.body
        elif frame.body:
            raise ProtocolError("message {!r} should have no body, not one of {} bytes".format(name, len(frame.body)))
        try:
            return fields.build(values)
        except Mismatch as error:
            raise ProtocolError(_words(str(name), error)) from None


def _words(name: str, error: Mismatch) -> str:
    where = "message {!r}".format(name)
    if error.path:
        where += ", field {}".format(error.path)
    if error.value is Missing:
        return "{} lacks {}".format(where, error.expected)
    return "{}: expected {}, not {}".format(where, error.expected, _shown(error.value))


def _shown(value: Any) -> str:
    """A short text about a value of any type."""
    if isinstance(value, str):
        return ascii(value if len(value) <= _MOST_SHOWN else value[:_MOST_SHOWN] + "...")
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return "a {} of {} items".format(type(value).__name__, len(value))
