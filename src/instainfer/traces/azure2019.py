"""The layout of the Azure Functions 2019 trace: one row per function, one column per minute, cells are call counts.

::

    HashOwner,HashApp,HashFunction,Trigger,1,2,3,4,5
    o1,a1,resize,http,4,0,4,4,0

The columns of the minutes are consecutive whole numbers and may start anywhere (a window of a day keeps its own).
A file whose name ends in ``.gz`` is compressed. Shahrad et al., "Serverless in the Wild", ATC 2020.
"""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from ..errors import BadInput, NotFound

COLUMNS = ("HashOwner", "HashApp", "HashFunction", "Trigger")


@dataclass(frozen=True, slots=True)
class TraceFunction:
    """One row: whose function it is, what starts it, and how often it was called in each minute."""

    owner: str
    app: str
    name: str
    trigger: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Call counts of some functions over the same minutes."""

    functions: tuple[TraceFunction, ...]
    minutes: int
    source: str
    """Where it came from, for reports: a path, or the generator and its seed."""
    first_minute: int = 1
    """Name of the first minute's column."""

    @property
    def calls(self) -> int:
        return sum(sum(function.counts) for function in self.functions)

    @property
    def duration_s(self) -> float:
        return self.minutes * 60.0


def read(path: Path) -> Trace:
    """Read a whole trace.

    Raises `NotFound` when there is no such file and `BadInput`, with file, line and reason, when it is malformed.
    """
    try:
        with _open(path, "rt") as file:
            return _parse(path, file)
    except FileNotFoundError:
        raise NotFound(f"no trace at {path}; give the path of a .csv or .csv.gz file") from None
    except IsADirectoryError:
        raise BadInput(f"{path} is a folder; give the path of one .csv or .csv.gz file") from None


def write(trace: Trace, path: Path) -> None:
    """Write a trace in the same layout."""
    with _open(path, "wt") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *range(trace.first_minute, trace.first_minute + trace.minutes)])
        for function in trace.functions:
            writer.writerow([function.owner, function.app, function.name, function.trigger, *function.counts])


def _open(path: Path, mode: str) -> TextIO:
    encoding = "utf-8-sig" if mode == "rt" else "utf-8"
    if path.suffix == ".gz":
        return cast(TextIO, gzip.open(path, mode, encoding=encoding, newline=""))
    return cast(TextIO, path.open(mode, encoding=encoding, newline=""))


def _parse(path: Path, file: TextIO) -> Trace:
    rows = _rows(path, file)
    _, header = next(rows, (1, []))
    first_minute, minutes = _minutes(path, header)
    functions = tuple(_function(path, line, row, first_minute, minutes) for line, row in rows)
    if not functions:
        raise _bad(path, 1, "there is a header but no function")
    return Trace(functions, minutes, str(path), first_minute)


def _rows(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """The rows with their line numbers; whatever stops the reading in mid-file becomes a `BadInput`."""
    reader = csv.reader(file, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except EOFError:
        raise _bad(path, reader.line_num + 1, "the gzip file is truncated; copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _bad(path, reader.line_num + 1, f"the gzip file is damaged ({error})") from None
    except UnicodeDecodeError:
        raise _bad(path, reader.line_num + 1, "this is not UTF-8 text") from None
    except csv.Error as error:
        raise _bad(path, reader.line_num, f"this is not CSV ({error})") from None


def _minutes(path: Path, header: list[str]) -> tuple[int, int]:
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise _bad(path, 1, f"missing columns: {', '.join(missing)}; the first four are {', '.join(COLUMNS)}")
    if tuple(header[: len(COLUMNS)]) != COLUMNS:
        raise _bad(path, 1, f"the first four columns must be {', '.join(COLUMNS)}, in this order")
    names = header[len(COLUMNS) :]
    if not names:
        raise _bad(path, 1, "there is no column of a minute after Trigger")
    if not _is_count(names[0]):
        raise _bad(path, 1, f"column 5 must be the number of a minute, not {names[0]!r}")
    first = int(names[0])
    for offset, name in enumerate(names):
        if name != str(first + offset):
            raise _bad(
                path,
                1,
                f"column {len(COLUMNS) + 1 + offset} must be minute {first + offset}, not {name!r}: "
                "minutes are consecutive whole numbers",
            )
    return first, len(names)


def _function(path: Path, line: int, row: list[str], first_minute: int, minutes: int) -> TraceFunction:
    owner, app, name, trigger = (row + [""] * len(COLUMNS))[: len(COLUMNS)]
    cells = row[len(COLUMNS) :]
    if len(cells) != minutes:
        raise _bad(path, line, f"{len(cells)} counts, but the header has {minutes} minutes")
    if not name:
        raise _bad(path, line, "HashFunction is empty")
    # One test of all digits at once: a day of the real trace has tens of millions of cells.
    if "" in cells or not _is_count("".join(cells)):
        offset, cell = next((o, c) for o, c in enumerate(cells) if not _is_count(c))
        raise _bad(path, line, f"minute {first_minute + offset} must be a whole number of calls, not {cell!r}")
    return TraceFunction(owner, app, name, trigger, tuple(map(int, cells)))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _bad(path: Path, line: int, reason: str) -> BadInput:
    return BadInput(f"{path}, line {line}: {reason}")
