"""Turns counts per minute into streams of calls: from one trace, or from the daily files of a whole dataset.

Calls get their times minute by minute (see `traces.placement`), so a stream holds in memory only the non-zero counts of
one day and the calls of one minute.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from ..errors import BadInput
from . import azure2019
from .azure2019 import COLUMNS, Trace, TraceFunction
from .placement import minute_times
from .text import bad, header, open_text, rows
from .workload import Arrival, Row

_DAY = re.compile(r"(.*?)(\d+)\.csv(\.gz)?")
_DAY_MINUTES = 1440


class Counts:
    """A trace in the Azure 2019 layout as a workload."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    @property
    def source(self) -> str:
        return self.trace.source

    @property
    def duration_s(self) -> float:
        return self.trace.duration_s

    @cached_property
    def functions(self) -> Sequence[Row]:
        return tuple(_row(function) for function in self.trace.functions)

    @property
    def calls(self) -> int:
        return self.trace.calls

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        numbered = enumerate(self.trace.functions)
        minutes = _by_minute(((i, f.counts) for i, f in numbered), self.trace.minutes)
        names = [function.name for function in self.trace.functions]
        return _stream(minutes, names, seed, self.trace.first_minute, 0)


class Dataset:
    """A folder of daily files in the Azure 2019 layout, ``...d01.csv`` to ``...d14.csv``, as one workload."""

    def __init__(self, folder: Path) -> None:
        """Raises `BadInput` when the folder has no such files, or when headers or first columns are malformed."""
        self.source = str(folder)
        self._days = _days(folder)
        self._index: dict[Row, int] = {}
        for path in self._days:
            for row in _names(path):
                self._index.setdefault(row, len(self._index))
        self._calls: int | None = None

    @property
    def duration_s(self) -> float:
        return len(self._days) * _DAY_MINUTES * 60.0

    @cached_property
    def functions(self) -> Sequence[Row]:
        return tuple(self._index)

    @property
    def calls(self) -> int:
        """The number of calls; counting them reads all files, once."""
        if self._calls is None:
            self._calls = sum(sum(f.counts) for path in self._days for f in azure2019.iterate(path)[2])
        return self._calls

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        names = [row.name for row in self.functions]
        for day, path in enumerate(self._days):
            first_minute, minutes, functions = azure2019.iterate(path)
            if first_minute - 1 + minutes > _DAY_MINUTES:
                raise bad(path, 1, f"a day has minutes 1 to {_DAY_MINUTES}; this one goes on")
            # Minutes are numbered on from day to day, because the same number would give the same times on both days.
            begins = day * _DAY_MINUTES + first_minute - 1
            numbered = ((self._index[_row(function)], function.counts) for function in functions)
            yield from _stream(_by_minute(numbered, minutes), names, seed, begins + 1, begins)


def _stream(
    minutes: Iterable[array[int]], names: Sequence[str], seed: int, first_minute: int, begins: int
) -> Iterator[Arrival]:
    for offset, pairs in enumerate(minutes):
        calls = [
            (at_s, function)
            for function, count in zip(pairs[::2], pairs[1::2], strict=True)
            for at_s in minute_times(seed, names[function], first_minute + offset, begins + offset, count)
        ]
        calls.sort()
        for at_s, function in calls:
            yield Arrival(at_s, function)


def _by_minute(functions: Iterable[tuple[int, Sequence[int]]], minutes: int) -> list[array[int]]:
    """Return for each minute the functions that were called and their counts: [function, count, function, ...]."""
    table = [array("L") for _ in range(minutes)]
    for index, counts in functions:
        for offset, count in enumerate(counts):
            if count:
                table[offset].extend((index, count))
    return table


def _row(function: TraceFunction) -> Row:
    return Row(function.owner, function.app, function.name)


def _days(folder: Path) -> list[Path]:
    """Return the daily files by number, without files that have other columns (durations, memory)."""
    found = {}
    for path in sorted(folder.iterdir()):
        match = _DAY.fullmatch(path.name)
        if match and tuple(header(path)[: len(COLUMNS)]) == COLUMNS:
            found[int(match[2])] = path
    if not found:
        raise BadInput(
            f"{folder} holds no daily traces: files called ...d01.csv, with the columns {', '.join(COLUMNS)}"
        )
    missing = set(range(min(found), max(found) + 1)) - set(found)
    if missing:
        raise BadInput(f"{folder} lacks day {min(missing)}; put its file there or take the days after it away")
    return [found[day] for day in sorted(found)]


def _names(path: Path) -> Iterator[Row]:
    with open_text(path) as file:
        lines = rows(path, _heads(file))
        next(lines)
        for line, row in lines:
            if len(row) < len(COLUMNS) or not row[2]:
                raise bad(path, line, f"a row begins with {', '.join(COLUMNS)}")
            yield Row(*row[:3])


def _heads(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines without their counts: to split a thousand columns would take most of the reading time."""
    for line in lines:
        yield line if '"' in line else ",".join(line.split(",", len(COLUMNS))[: len(COLUMNS)])
