"""Reads a trace of any layout: a folder is a dataset of days, and a file's header tells its layout."""

from __future__ import annotations

from pathlib import Path

from . import azure2019, azure2021, timestamps
from .counts import Counts, Dataset
from .text import bad, header
from .workload import Workload


def read(path: Path) -> Workload:
    """Read a trace of any known layout.

    Raises `NotFound` when it does not exist, and `BadInput` when it is malformed or has an unknown layout.
    """
    if path.is_dir():
        return Dataset(path)
    columns = header(path)
    if not columns:
        raise bad(path, 1, "the file is empty; a trace begins with the names of its columns")
    if columns[0] == azure2019.COLUMNS[0] or set(azure2019.COLUMNS) & set(columns):
        return Counts(azure2019.read(path))
    if columns[0] == azure2021.COLUMNS[0] or "end_timestamp" in columns:
        return azure2021.read(path)
    if set(timestamps.COLUMNS) & set(columns):
        return timestamps.read(path)
    layouts = (azure2019.COLUMNS, azure2021.COLUMNS, timestamps.COLUMNS)
    known = "; or ".join(", ".join(layout) for layout in layouts)
    raise bad(path, 1, f"no trace has the columns {', '.join(columns[:4])!r}; they begin with {known}")
