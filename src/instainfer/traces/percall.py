"""Calls that have exact times, held in memory in 24 bytes each."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from .text import bad, open_text, rows
from .workload import Arrival, Row


class PerCall:
    """A workload of given calls, which may come in any order."""

    def __init__(
        self, source: str, calls: Iterable[Arrival], *, functions: Sequence[Row] = (), duration_s: float = 0.0
    ) -> None:
        """A reader that knows `functions` and `duration_s` only after it has read all calls sets them afterwards."""
        self.source = source
        self.duration_s = duration_s
        self.functions = functions
        times, who, durations = array("d"), array("L"), array("d")
        for call in calls:
            times.append(call.at_s)
            who.append(call.function)
            durations.append(math.nan if call.duration_s is None else call.duration_s)
        order = sorted(range(len(times)), key=times.__getitem__)
        self._times = array("d", map(times.__getitem__, order))
        self._who = array("L", map(who.__getitem__, order))
        self._durations = array("d", map(durations.__getitem__, order))

    @property
    def calls(self) -> int:
        return len(self._times)

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the calls; the seed is not used, because the trace has exact times."""
        for at_s, function, duration_s in zip(self._times, self._who, self._durations, strict=True):
            yield Arrival(at_s, function, None if math.isnan(duration_s) else duration_s)


class Parse(Protocol):
    def __call__(self, path: Path, line: int, row: Sequence[str]) -> tuple[Row, float, float | None]:
        """Return function, time and duration of one row; raise `BadInput` if it is malformed."""
        ...


def parsed(path: Path, columns: Sequence[str], parse: Parse) -> Iterator[tuple[Row, float, float | None]]:
    """Yield the rows of a file with these columns; raises `BadInput` with line and reason at a malformed row."""
    with open_text(path) as file:
        lines = rows(path, file)
        _, names = next(lines, (1, []))
        missing = [name for name in columns if name not in names]
        if missing:
            raise bad(path, 1, f"missing columns: {', '.join(missing)}; they are {', '.join(columns)}")
        if names != list(columns):
            raise bad(path, 1, f"the columns must be {', '.join(columns)}, in this order and no others")
        for line, row in lines:
            if len(row) != len(columns):
                raise bad(path, line, f"{len(row)} values, but the header has {len(columns)} columns")
            yield parse(path, line, row)


def number(path: Path, line: int, column: str, text: str) -> float:
    """Parse a finite number of seconds that is not negative."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise bad(path, line, f"{column} must be a number of seconds that is not negative, not {text!r}")
    return value
