"""Reads and writes the CSV text of traces, compressed or not; every error names file and line."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal, TextIO, cast

from ..errors import BadInput, NotFound
from ..texts import LONGEST_MARK, encoding_of


def open_text(path: Path) -> TextIO:
    """Open a trace for reading; a file whose name ends in ``.gz`` is decompressed.

    Raises `NotFound` when the file does not exist, and `BadInput` when it cannot be read.
    """
    try:
        return io.TextIOWrapper(_open(path, "rb"), encoding=_encoding(path), newline="")
    except FileNotFoundError:
        raise NotFound(f"no trace at {path}; give the path of a .csv or .csv.gz file") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder; give the path of one .csv or .csv.gz file") from None
    except OSError as error:
        raise BadInput(f"cannot read {path}: {error.strerror}; give another file") from None


def create_text(path: Path) -> TextIO:
    """Open a trace for writing; raises `BadInput` when it cannot be written."""
    try:
        return io.TextIOWrapper(_open(path, "wb"), encoding="utf-8", newline="")
    except OSError as error:
        raise BadInput(f"cannot write {path}: {error.strerror}; give another file") from None


def _open(path: Path, mode: Literal["rb", "wb"]) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path, mode)) if path.suffix == ".gz" else path.open(mode)


def _encoding(path: Path) -> str:
    # What is wrong with a file's compression is told with its line when its rows are read.
    with suppress(EOFError, zlib.error, gzip.BadGzipFile), _open(path, "rb") as file:
        return encoding_of(file.read(LONGEST_MARK))
    return encoding_of(b"")


def rows(path: Path, file: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, row) of each row that is not empty; raises `BadInput` when the rest cannot be read."""
    reader = csv.reader(file, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except EOFError:
        raise bad(path, reader.line_num + 1, "the gzip file is truncated; copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise bad(path, reader.line_num + 1, f"the gzip file is damaged ({error})") from None
    except UnicodeError:
        raise bad(path, reader.line_num + 1, "this is not UTF-8 text; save it as UTF-8") from None
    except csv.Error as error:
        raise bad(path, reader.line_num, f"this is not CSV ({error})") from None


def header(path: Path) -> list[str]:
    """Return the first row; empty when there is none."""
    with open_text(path) as file:
        return next(rows(path, file), (1, []))[1]


def bad(path: Path, line: int, reason: str) -> BadInput:
    return BadInput(f"{path}, line {line}: {reason}")
