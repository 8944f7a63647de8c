"""Prints the output of the commands: data to standard output, remarks and errors to standard error.

With ``--json`` a command prints compact lines of JSON and no tables. The library rich chooses colours and widths, and
honours ``NO_COLOR``. Importing rich is slow, so it is imported only when something is printed with it.
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
"""Width, in characters, of output to a file or a pipe. The environment variable ``COLUMNS`` overrides it."""


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def emit_json(value: Any) -> None:
    print(compact(value), flush=True)


def emit_result(value: Any) -> None:
    """Print a JSON value. It is coloured and indented on a terminal, and compact otherwise."""
    if not sys.stdout.isatty():
        emit_json(value)
        return
    console().print_json(data=value)


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """Open a text file for writing. Raises `BadInput` if the file cannot be written."""
    with _writable(path), path.open("w", encoding="utf-8") as file:
        yield file


def try_writing(path: Path) -> None:
    """Raise `BadInput` if a file cannot be written. Its content is kept.

    Commands call this before long work, so that the work is not done in vain.
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
    """Print an error to standard error, after the name of the program. Further lines may be the end of a log."""
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
    """A table in the style that all commands share. Cells are rich markup.

    The columns named in `right` are aligned to the right. If the terminal is too narrow, the cells of the columns named
    in `clip` are cut off first.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    result = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False, show_edge=False)
    cells = [[Text.from_markup(cell, overflow="ellipsis") for cell in row] for row in rows]
    for number, header in enumerate(headers):
        # When a table is too wide, rich first narrows the columns that may wrap. So only the columns in `clip` may wrap
        # here. Their cells, set below, may not: they are cut off instead of broken into several lines.
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
