"""A plain CSV of calls: the function, and the time in seconds since the trace began.

::

    function,seconds
    resize,0.25
    notify,1.5

Rows may be in any order. A file that is ordered by time is streamed, so it may be long; others are sorted in memory.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from .percall import PerCall, number, parsed
from .text import bad, create_text
from .workload import Arrival, Row, Workload

COLUMNS = ("function", "seconds")


class Stream:
    """A workload from a file that is ordered by time; every run reads the file again."""

    def __init__(self, path: Path, functions: Sequence[Row], calls: int, duration_s: float) -> None:
        self.source = str(path)
        self.functions = functions
        self.calls = calls
        self.duration_s = duration_s
        self._path = path

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the calls; the seed is not used, because the trace has exact times."""
        index = {row: number for number, row in enumerate(self.functions)}
        for row, at_s, _ in parsed(self._path, COLUMNS, _parse):
            yield Arrival(at_s, index[row])


def read(path: Path) -> Workload:
    """Check a whole trace, and return it as a workload.

    Raises `NotFound` when the file does not exist, and `BadInput` with file, line and reason when it is malformed.
    """
    index: dict[Row, int] = {}
    calls, last_s, end_s, ascending = 0, 0.0, 0.0, True
    for row, at_s, _ in parsed(path, COLUMNS, _parse):
        index.setdefault(row, len(index))
        calls += 1
        ascending = ascending and at_s >= last_s
        last_s, end_s = at_s, max(end_s, at_s)
    if not calls:
        raise bad(path, 1, "there is a header but no call")
    stream = Stream(path, tuple(index), calls, end_s)
    if ascending:
        return stream
    return PerCall(str(path), stream.arrivals(0), functions=stream.functions, duration_s=end_s)


def write(workload: Workload, path: Path, seed: int) -> None:
    """Write any workload in this layout; `seed` gives times to calls that have none in the trace."""
    names = [row.name for row in workload.functions]
    with create_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for arrival in workload.arrivals(seed):
            writer.writerow((names[arrival.function], repr(arrival.at_s)))


def _parse(path: Path, line: int, row: Sequence[str]) -> tuple[Row, float, float | None]:
    name, at = row
    if not name:
        raise bad(path, line, "function is empty")
    return Row("", "", name), number(path, line, "seconds", at), None
