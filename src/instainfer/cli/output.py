"""Where words go: data to standard output, everything said about it to standard error.

``--json`` writes one compact line of JSON and nothing else. Colours and widths are rich's business, which honours
``NO_COLOR``; rich is imported by the first table, not by ``--help``.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from ..errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPE_WIDTH = 120
"""Columns of a table that goes into a file or a pipe, unless ``COLUMNS`` says otherwise."""


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def emit_json(value: Any) -> None:
    print(compact(value), flush=True)


def emit_result(value: Any) -> None:
    """A function's answer: coloured and indented on a terminal, compact otherwise."""
    if not sys.stdout.isatty():
        emit_json(value)
        return
    console().print_json(data=value)


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A file that is open for writing; `BadInput` when it cannot be written."""
    with _writable(path), path.open("w", encoding="utf-8") as file:
        yield file


def try_writing(path: Path) -> None:
    """Find out before long work, and not after it, whether its result can be written; what is there stays.

    Raises `BadInput`.
    """
    with _writable(path), path.open("ab"):
        pass


@contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.filename not in (None, str(path)):
            raise
        raise BadInput(f"cannot write {path}: {error.strerror}; give another file") from None


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def complain(message: str) -> None:
    """Say what went wrong; the first line carries our name, a log's tail may follow it."""
    note(f"instainfer: {message}")


def console(stream: TextIO | None = None) -> Console:
    from rich.console import Console

    stream = stream if stream is not None else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return Console(file=stream, width=width, highlight=False)


def show(*parts: RenderableType) -> None:
    console().print(*parts, sep="\n")


def table(
    headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = (), clip: Sequence[str] = ()
) -> Table:
    """A table in the house style; cells are rich markup.

    Columns named in `right` are numbers. On a narrow terminal the columns named in `clip` lose their ends, before any
    other does.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False, show_edge=False)
    cells = [[Text.from_markup(cell, overflow="ellipsis") for cell in row] for row in rows]
    for number, header in enumerate(headers):
        # Of too wide a table rich first narrows the columns that may break into lines; their cells then may not.
        result.add_column(
            header,
            justify="right" if header in right else "left",
            no_wrap=header not in clip,
            min_width=None if header in clip else max([len(header), *(row[number].cell_len for row in cells)]),
        )
    for row in cells:
        for cell in row:
            cell.no_wrap = True
        result.add_row(*row)
    return result
