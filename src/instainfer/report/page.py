"""``index.html`` of a campaign: all its tables and pictures on one page that can be read without anything else."""

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
    """An ``<svg>`` element; empty: there is no picture."""
    picture: str = ""
    """Name of its files, without what follows the dot."""


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    about: str
    command: str
    """What repeats it."""
    set_up: str
    findings: Sequence[str]
    problems: Sequence[str]
    """What is missing."""
    sections: Sequence[Section]


def render(page: Page) -> str:
    """The page."""
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
