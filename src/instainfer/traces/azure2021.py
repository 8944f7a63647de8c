"""The layout of the Azure Functions 2021 trace: one row per call, with the time of its end and its duration.

::

    app,func,end_timestamp,duration
    a1,resize,57.157,57.154

Times are in seconds since the trace began. A call arrived at ``end_timestamp - duration``, or at 0 if that is negative.
Rows are in the order of their ends, so all must be read before the first arrival is known: two million calls take
about 50 MB. Source: Zhang et al., "Faster and Cheaper Serverless Computing", SOSP 2021.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from .percall import PerCall, number, parsed
from .text import bad
from .workload import Arrival, Row

COLUMNS = ("app", "func", "end_timestamp", "duration")


def read(path: Path) -> PerCall:
    """Read a whole trace.

    Raises `NotFound` when the file does not exist, and `BadInput` with file, line and reason when it is malformed.
    """
    index: dict[Row, int] = {}
    end_s = 0.0

    def calls() -> Iterator[Arrival]:
        nonlocal end_s
        for row, ended_s, duration_s in parsed(path, COLUMNS, _parse):
            end_s = max(end_s, ended_s)
            began_s = max(0.0, ended_s - (duration_s or 0.0))
            yield Arrival(began_s, index.setdefault(row, len(index)), duration_s)

    workload = PerCall(str(path), calls())
    if not workload.calls:
        raise bad(path, 1, "there is a header but no call")
    workload.duration_s, workload.functions = end_s, tuple(index)
    return workload


def _parse(path: Path, line: int, row: Sequence[str]) -> tuple[Row, float, float | None]:
    app, name, end, duration = row
    if not name:
        raise bad(path, line, "func is empty")
    return Row("", app, name), number(path, line, "end_timestamp", end), number(path, line, "duration", duration)
