"""A table that can be written as Markdown, on a terminal, and as HTML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from rich.table import Table

from .tables import ms, plain

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Grid:
    """A table whose cells are text."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: int = 1
    """Number of columns at the left that hold words; the others hold numbers, and are aligned to the right."""
    note: str = ""

    def markdown(self) -> str:
        """Return the table below a line with its title."""
        rules = ["---"] * self.texts + ["---:"] * (len(self.head) - self.texts)
        lines = ["| " + " | ".join(_piped(cell) for cell in line) + " |" for line in (self.head, rules, *self.rows)]
        return "\n".join([f"**{self.title}**", "", *lines, *(["", self.note] if self.note else [])])

    def rich(self) -> Table:
        table = plain(self.title)
        for number, name in enumerate(self.head):
            # Only headings may break into lines, so that many columns fit; cells must not.
            words = max((len(row[number]) for row in self.rows), default=0)
            justify = "left" if number < self.texts else "right"
            table.add_column(name, justify=justify, min_width=words)  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*row)
        if self.note:
            table.caption, table.caption_justify = self.note, "left"
        return table

    def html(self) -> str:
        head = "".join(f"<th{_text(number, self.texts)}>{escape(name)}</th>" for number, name in enumerate(self.head))
        rows = "".join(
            "<tr>"
            + "".join(f"<td{_text(number, self.texts)}>{escape(cell)}</td>" for number, cell in enumerate(row))
            + "</tr>"
            for row in self.rows
        )
        note = f'<p class="caption">{escape(self.note)}</p>' if self.note else ""
        return f"<h3>{escape(self.title)}</h3><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{note}"


def number(value: float | None) -> str:
    """Format like `tables.ms`, but also 0 and None."""
    if value is None:
        return NOTHING
    return ms(value) if value else "0.0"


def times(value: float | None) -> str:
    """Format a ratio: 1.08, 5.6."""
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value < 2 else f"{value:,.1f}"


def percent(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.1%}" if 0 < value < 0.1 else f"{value:.0%}"


def ratio(above: float | None, below: float | None) -> float | None:
    """Return the quotient; None when either value is missing or the divisor is 0."""
    return None if above is None or not below else above / below


def _piped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _text(number: int, texts: int) -> str:
    return ' class="text"' if number < texts else ""
