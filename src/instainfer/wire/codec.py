"""Messages as frames: one named tuple per message, one field of the header per field of the tuple.

What a field may hold is declared with it (`schema`) and checked when a message is decoded: whoever gets a message gets
values of the declared types within the declared bounds. Everything else is a `ProtocolError` that names the message,
the field and what was expected. Unknown fields are ignored, so that an older side understands a newer one; a missing
field without a default is an error, too.
"""

from __future__ import annotations

from typing import Any

from .framing import Decoder, Frame, ProtocolError, encode
from .schema import Kind, Mismatch

_MOST_SHOWN = 60


class Fields:
    """How one kind of message, or a part of one, is written: what each field of the named tuple `make` may hold."""

    def __init__(self, make: Any, body: str = "", /, **kinds: Kind) -> None:
        """`body` is the field that travels as the frame's body."""
        self.make = make
        self.body = body
        if set(make._fields) != {*kinds, *filter(None, [body])}:
            raise TypeError("{} has other fields than {}".format(make.__name__, ", ".join(kinds)))
        defaults = make._field_defaults
        self._checks = [(name, kinds[name].check, name in defaults) for name in make._fields if name != body]
        self._plains = [(name, kind.plain) for name, kind in kinds.items() if kind.plain is not None]

    def plain(self, message: Any) -> dict[str, Any]:
        """For JSON; with the body among the fields."""
        values: dict[str, Any] = message._asdict()
        for name, plain in self._plains:
            values[name] = plain(values[name])
        return values

    def build(self, values: dict[str, Any]) -> Any:
        """The named tuple of what JSON gave. Raises `Mismatch`, whose path begins with the field."""
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
    """In the place of a value that is not there."""


def nested(fields: Fields) -> Kind:
    """A part that is a named tuple itself."""

    def check(value: Any) -> Any:
        if type(value) is not dict:
            raise Mismatch("an object", value)
        return fields.build(value)

    return Kind(check, fields.plain)


class Vocabulary:
    """The messages that may pass over one connection in one direction, by their names on the wire."""

    def __init__(self, messages: dict[str, Fields], max_header_bytes: int, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._max_header_bytes = max_header_bytes
        self._messages = messages
        self._names = {fields.make: name for name, fields in messages.items()}

    def decoder(self) -> Decoder:
        """For the stream that these messages come in."""
        return Decoder(self._max_header_bytes, self.max_body_bytes)

    def encode(self, message: Any) -> bytes:
        """Raises KeyError for what is not in this vocabulary."""
        name = self._names[type(message)]
        fields = self._messages[name]
        header = fields.plain(message)
        body: bytes = header.pop(fields.body) if fields.body else b""
        header["type"] = name
        return encode(header, body)

    def decode(self, frame: Frame) -> Any:
        """Raises `ProtocolError` for an unknown message, a missing field, and a value that its field may not hold."""
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
    """A value that may be anything, in few characters."""
    if isinstance(value, str):
        return ascii(value if len(value) <= _MOST_SHOWN else value[:_MOST_SHOWN] + "...")
    if value is None or isinstance(value, (bool, int, float)):
        return repr(value)
    return "a {} of {} items".format(type(value).__name__, len(value))
