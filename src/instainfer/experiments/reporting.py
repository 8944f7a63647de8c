"""Writes the report of a campaign: a page, its figures as files, and its tables as Markdown::

    OUT/index.html     everything, in one self-contained page
    OUT/tables.md      all tables in Markdown, for other documents
    OUT/figures/       each figure as .svg and .png

All files are written again each time, from nothing but the results of the runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import HostError
from ..report.canvas import save_png, svg
from ..report.page import Page, Section, render
from .campaign import Campaign, Document, entry
from .cells import Cells
from .chapter import Chapter
from .figures import chapters
from .runs import Run
from .scenario import Scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>\n'
_MISSING_NAMED = 3


@dataclass(frozen=True, slots=True)
class Written:
    chapters: Sequence[Chapter]
    problem: str = ""
    """Why there are no figures; empty if there are."""


def check(scenario: Scenario, runs: Sequence[Run]) -> None:
    """Check before the runs are made that their report can be written. Raises `BadInput` if not."""
    chapters(Cells(Campaign(scenario, "", [entry(run) for run in runs], {})))


def report(campaign: Campaign, out: Path) -> Written:
    """Write the report of the runs made so far into the campaign's folder.

    Without matplotlib there are tables but no figures. Raises `BadInput` for a scenario with an ambiguous report, and
    `HostError` when the folder cannot be written.
    """
    told = chapters(Cells(campaign))
    problem = ""
    try:
        (out / "tables.md").write_text(markdown(campaign, told), encoding="utf-8")
        (out / "figures").mkdir(exist_ok=True)
        for earlier in (out / "figures").iterdir():
            earlier.unlink()
        sections = []
        for place, chapter in enumerate(told):
            drawn, name = "", f"{place:02d}-{_file_name(chapter.title)}"
            if chapter.draw is not None and not problem:
                try:
                    drawn = _drawn(chapter.draw, out / "figures" / name, f"chapter{place}")
                except HostError as error:
                    problem = str(error)
            sections.append(Section(chapter.title, chapter.caption, chapter.grids, drawn, name if drawn else ""))
        (out / "index.html").write_text(render(_page(campaign, told, sections)), encoding="utf-8")
    except OSError as error:
        raise HostError(f"cannot write the report into {out}: {error.strerror}; make room there") from None
    return Written(told, problem)


def markdown(campaign: Campaign, told: Sequence[Chapter]) -> str:
    """Return all tables, with a heading for each chapter."""
    scenario = campaign.scenario
    parts = [f"# {scenario.title}", *_problems(campaign), _set_up(campaign), f"    {campaign.command}"]
    for chapter in told:
        parts += [f"## {chapter.title}", *(f"- {finding}" for finding in chapter.findings)]
        parts += [grid.markdown() for grid in chapter.grids]
    return "\n\n".join(parts) + "\n"


def _drawn(draw: Callable[[], Figure], path: Path, unique: str) -> str:
    """Write the figure's files, and return its SVG text; ids contain `unique`, which is unique on the page."""
    figure = draw()
    text = svg(figure, unique)
    path.with_suffix(".svg").write_text(_DECLARATION + text, encoding="utf-8")
    save_png(figure, path.with_suffix(".png"))
    return text


def _page(campaign: Campaign, told: Sequence[Chapter], sections: Sequence[Section]) -> Page:
    scenario = campaign.scenario
    return Page(
        title=scenario.title,
        about=scenario.about,
        command=campaign.command,
        set_up=_set_up(campaign),
        findings=[finding for chapter in told for finding in chapter.findings],
        problems=_problems(campaign),
        sections=sections,
    )


def _set_up(campaign: Campaign) -> str:
    scenario, documents = campaign.scenario, list(campaign.documents.values())
    counts = f"{len(documents)} runs of {len({entry.id for entry in campaign.entries})}"
    seeds = f"seeds {', '.join(map(str, scenario.seeds))}"
    if not documents:
        return f"{counts}, {seeds}."
    calls = sum(document["runs"][0]["calls"] for document in documents)
    return (
        f"{counts} with {calls:,} calls, {seeds}; {_how(documents[0])}. Means are over all calls of all seeds, memory "
        f"is the mean over seeds. InstaInfer {documents[0]['version']}."
    )


def _how(document: Document) -> str:
    found, machine = document["runs"][0], document["machine"]
    if "wall_s" in found:
        return f"simulated with the costs {found['costs']!r}"
    return f"measured on {machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB"


def _problems(campaign: Campaign) -> list[str]:
    missing = campaign.missing
    if not missing:
        return []
    named = [", ".join([entry.system, entry.workload, f"seed {entry.seed}"]) for entry in missing[:_MISSING_NAMED]]
    more = "; …" if len(missing) > _MISSING_NAMED else ""
    return [f"{len(missing)} runs are missing: {'; '.join(named)}{more}. The command below makes them."]


def _file_name(title: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in title.lower()).split()
    return "-".join(words)[:40].strip("-")
