"""Says what is wrong in a body that is no JSON, and where, so that whoever sent it finds the place.

The parser says whether a body is refused, but its words are about its own state: of a half of a character it says that
the data was truncated. Nothing is decided here, so a quick look around the place where the parser stopped is enough.
"""

from __future__ import annotations

import codecs
import re

MAX_DIGITS = 4300
"""Python refuses to convert longer decimal numbers from text (see `sys.set_int_max_str_digits`)."""
_MARKS = {codecs.BOM_UTF8: "UTF-8", codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16"}
_HALF = re.compile(
    rb"(?<!\\)(?:\\\\)*+(\\u[dD][89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..)\\u[dD][c-fC-F]..)", re.DOTALL
)
"""The escape of a high surrogate that no low one follows, or of a low one that follows no high one."""
_ESCAPE_BYTES = 6
_CONSTANT = re.compile(rb"-?(?:NaN|Infinity)")
_LONG_NUMBER = re.compile(rb"(?<=[:,\[\s-])[0-9]{%d,}+(?=[,\]}\s.eE]|\Z)" % (MAX_DIGITS + 1))
_PLACE = re.compile(r"\(byte ([0-9]+)\)")


def explained(body: bytes | bytearray, error: Exception) -> str:
    """What is wrong and where, for a body that the parser refused with this error. Places are counted from 0."""
    for mark, name in _MARKS.items():
        if body.startswith(mark):
            return f"a byte order mark of {name} (byte 0); send UTF-8 without a mark"
    if isinstance(error, UnicodeDecodeError):
        return f"byte 0x{body[error.start]:02x} is not UTF-8 (byte {error.start}); send the text as UTF-8"
    told = str(error)
    if "out of range" in told and (number := _LONG_NUMBER.search(body)):
        return (
            f"a number of {len(number[0])} digits (byte {number.start()}) is longer than the {MAX_DIGITS} that Python "
            "converts; send it as text"
        )
    place = _PLACE.search(told)
    at = int(place[1]) if place else len(body)
    if half := _HALF.search(body, max(0, at - 2 * _ESCAPE_BYTES), at + _ESCAPE_BYTES):
        text = half[1].decode("ascii", "replace")
        return f"{text} is half of a character, a lone surrogate (byte {half.start(1)}); send both halves, or none"
    if constant := _CONSTANT.match(body, max(0, at - 1)) or _CONSTANT.match(body, at):  # it stops behind a minus
        return f"{constant[0].decode()} is not JSON (byte {constant.start()}); send null, or text"
    if told == "Input data was truncated":
        return f"{told}: the JSON ends within a value (byte {at}); send all of it"
    return told
