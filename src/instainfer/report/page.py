"""Makes ``index.html`` of a campaign: all its tables and figures on one page that needs no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from .grid import Grid
from .html import whole_page


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    caption: str
    grids: Sequence[Grid]
    svg: str = ""
    """An ``<svg>`` element; empty if there is no figure."""
    picture: str = ""
    """Name of the figure's files, without the suffix."""


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    about: str
    command: str
    """The command that repeats the experiment."""
    set_up: str
    findings: Sequence[str]
    problems: Sequence[str]
    """Sentences about what is missing from the results."""
    sections: Sequence[Section]


def render(page: Page) -> str:
    """Return the page."""
    found = "".join(f"<p>{escape(sentence)}</p>" for sentence in page.findings)
    parts = [
        f"<h1>{escape(page.title)}</h1>",
        *(f"<p>{escape(paragraph)}</p>" for paragraph in page.about.strip().split("\n\n") if paragraph),
        *([f'<div class="finding">{found}</div>'] if found else []),
        *(f"<p><strong>{escape(problem)}</strong></p>" for problem in page.problems),
        f"<p>{escape(page.set_up)}<br>To repeat it: <code>{escape(page.command)}</code></p>",
        *map(_section, page.sections),
    ]
    return whole_page(page.title, parts)


def _section(section: Section) -> str:
    tables = "".join(f'<div class="wide">{grid.html()}</div>' for grid in section.grids)
    picture = f'<div class="wide">{section.svg}</div>' if section.svg else ""
    if section.picture:
        picture += f'<p class="caption">figures/{escape(section.picture)}.svg, .png</p>'
    caption = f'<p class="caption">{escape(section.caption)}</p>' if section.caption else ""
    return f"<h2>{escape(section.title)}</h2>{caption}{picture}{tables}"
