"""The layout of the Azure Functions 2019 trace: one row per function, one column per minute, cells are call counts.

::

    HashOwner,HashApp,HashFunction,Trigger,1,2,3,4,5
    o1,a1,resize,http,4,0,4,4,0

The minutes' columns are named by consecutive whole numbers, which may start anywhere: a window cut from a day keeps
the numbers of its minutes. A file whose name ends in ``.gz`` is compressed. Source: Shahrad et al., "Serverless in the
Wild", ATC 2020.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .text import bad, create_text, header, open_text, rows

COLUMNS = ("HashOwner", "HashApp", "HashFunction", "Trigger")


@dataclass(frozen=True, slots=True)
class TraceFunction:
    """One row: the function's owner, application, name and trigger, and its number of calls in each minute."""

    owner: str
    app: str
    name: str
    trigger: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """Call counts of functions over the same minutes."""

    functions: tuple[TraceFunction, ...]
    minutes: int
    source: str
    """Where the trace comes from, for reports: a path, or the generator and its seed."""
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

    Raises `NotFound` when the file does not exist, and `BadInput` with file, line and reason when it is malformed.
    """
    first_minute, minutes, functions = iterate(path)
    trace = Trace(tuple(functions), minutes, str(path), first_minute)
    if not trace.functions:
        raise bad(path, 1, "there is a header but no function")
    return trace


def iterate(path: Path) -> tuple[int, int, Iterator[TraceFunction]]:
    """Return the first minute, the number of minutes, and an iterator over the rows.

    The call and the iterator raise the same errors as `read`.
    """

    def functions() -> Iterator[TraceFunction]:
        with open_text(path) as file:
            lines = rows(path, file)
            next(lines)
            for line, row in lines:
                yield _function(path, line, row, first_minute, minutes)

    first_minute, minutes = _minutes(path, header(path))
    return first_minute, minutes, functions()


def write(trace: Trace, path: Path) -> None:
    """Write a trace in this layout."""
    with create_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *range(trace.first_minute, trace.first_minute + trace.minutes)])
        for function in trace.functions:
            writer.writerow([function.owner, function.app, function.name, function.trigger, *function.counts])


def _minutes(path: Path, columns: list[str]) -> tuple[int, int]:
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise bad(path, 1, f"missing columns: {', '.join(missing)}; the first four are {', '.join(COLUMNS)}")
    if tuple(columns[: len(COLUMNS)]) != COLUMNS:
        raise bad(path, 1, f"the first four columns must be {', '.join(COLUMNS)}, in this order")
    names = columns[len(COLUMNS) :]
    if not names:
        raise bad(path, 1, "there is no column of a minute after Trigger")
    if not _is_count(names[0]):
        raise bad(path, 1, f"column 5 must be the number of a minute, not {names[0]!r}")
    first = int(names[0])
    for offset, name in enumerate(names):
        if name != str(first + offset):
            raise bad(
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
        raise bad(path, line, f"{len(cells)} counts, but the header has {minutes} minutes")
    if not name:
        raise bad(path, line, "HashFunction is empty")
    # All digits are tested at once, for speed: a day of the real trace has tens of millions of cells.
    if "" in cells or not _is_count("".join(cells)):
        offset, cell = next((o, c) for o, c in enumerate(cells) if not _is_count(c))
        raise bad(path, line, f"minute {first_minute + offset} must be a whole number of calls, not {cell!r}")
    return TraceFunction(owner, app, name, trigger, tuple(map(int, cells)))


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()
