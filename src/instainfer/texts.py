"""Reads text files in the encodings that people's editors save them in.

A byte order mark at the beginning tells UTF-16 and UTF-32, and may stand before UTF-8, too; Notepad and PowerShell
write one. A file without a mark is UTF-8.
"""

from __future__ import annotations

import codecs
from pathlib import Path

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF_32 = (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)
LONGEST_MARK = 4
"""Number of bytes of the longest byte order mark."""


def encoding_of(start: bytes) -> str:
    """The name of the codec for a file that starts with these bytes; the codec passes over the byte order mark."""
    if start.startswith(_UTF_32):  # first, because the mark of UTF-16 begins one of these
        return "utf-32"
    return "utf-16" if start.startswith(_UTF_16) else "utf-8-sig"


def decoded(data: bytes) -> str:
    """The text of a file, without its byte order mark. Raises `ValueError`, which names the place and the remedy."""
    encoding = encoding_of(data)
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        named = "UTF-8" if encoding == "utf-8-sig" else encoding.upper()
        raise ValueError(f"not {named} text (byte {error.start}); save it as UTF-8") from None
    if "\0" in text:  # such as UTF-16 without a mark
        raise ValueError(f"no text: character {text.index(chr(0))} is NUL; save it as UTF-8")
    return text


def read_text(path: Path) -> str:
    """The text of a file. Raises `OSError`, and `ValueError` as `decoded` does."""
    return decoded(path.read_bytes())
