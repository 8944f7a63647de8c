"""The command ``instainfer experiment`` runs the comparisons of a scenario file, simulated or live, with a report."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from .doors import Doors
from .exit_codes import ExitCode
from .options import Json
from .output import complain, console, emit_json, note, show, table

app = typer.Typer(name="experiment", no_args_is_help=True, help="Run comparisons from scenarios, and report them.")


@app.command(name="list")
def list_scenarios(*, as_json: Json = False) -> None:
    """Say which scenarios come with InstaInfer, and how many runs each has."""
    from ..experiments.runs import runs
    from ..experiments.scenario import built_in_files, load

    scenarios = [(load(path), path) for path in built_in_files()]
    found = [(each, sum(1 for _ in runs(each, path.parent))) for each, path in scenarios]
    if as_json:
        emit_json([{"name": each.name, "title": each.title, "runs": count} for each, count in found])
        return
    rows = [(each.name, f"{count}", each.title) for each, count in found]
    show(table(["scenario", "runs", "what it compares"], rows, right=["runs"], clip=["what it compares"]))


@app.command()
def run(
    ctx: typer.Context,
    scenario: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="The name of one that comes with us, or a TOML file.")
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where everything goes; default: ./out/NAME.", show_default=False),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j", "--jobs", metavar="N", min=1, help="Runs at a time; default: one per core.", show_default=False
        ),
    ] = None,
    costs: Annotated[
        str, typer.Option(metavar="paper|FILE", help="What things take, instead of the scenario's.", show_default=False)
    ] = "",
    live: Annotated[
        bool, typer.Option("--live", help="On real platforms with the example functions, one run after the other.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Make runs again that are there already.")] = False,
) -> None:
    """Make every run of a scenario that has not been made yet, then write the report.

    An interrupted experiment goes on where it was when it is run again into the same DIR.
    """
    from ..experiments.campaign import Folder, run_campaign
    from ..experiments.campaign_view import CampaignView
    from ..experiments.reporting import check
    from ..experiments.runs import runs
    from ..experiments.scenario import find, parse, text_of
    from ..sim.costs import load

    path = find(scenario)
    text = text_of(path)
    parsed = parse(text, str(path))
    planned = list(runs(parsed, path.parent, load(costs) if costs else None))
    check(parsed, planned)
    target = out if out is not None else Path("out") / parsed.name
    options = [*(["--costs", costs] if costs else []), *(["--live"] if live else []), "--out", str(target)]
    folder = Folder(target, text, shlex.join(["instainfer", "experiment", "run", scenario, *options]))
    view = CampaignView(console(sys.stderr), lines=live)
    with view.shown():
        if live:
            tally = ctx.ensure_object(Doors).live(planned, folder, view, console(sys.stderr), again=again)
        else:
            cores = jobs if jobs is not None else len(os.sched_getaffinity(0))
            tally = run_campaign(planned, folder, view, jobs=cores, again=again)
    _report(folder.path)
    if tally.failed:
        complain(f"{len(tally.failed)} of {tally.runs} runs failed: {tally.failed[0]}")
        raise typer.Exit(ExitCode.FAILED)


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `instainfer experiment run` has written.")],
    *,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables in Markdown, to be pasted into a document.")
    ] = False,
) -> None:
    """Write index.html, tables.md and the pictures anew from the runs that are there, and print the tables."""
    _report(folder, markdown=markdown)


def _report(folder: Path, *, markdown: bool = False) -> None:
    from ..experiments.campaign import read
    from ..experiments.reporting import report as write

    campaign = read(folder)
    written = write(campaign, folder)
    if markdown:
        print((folder / "tables.md").read_text(encoding="utf-8"), end="")
    else:
        for chapter in written.chapters:
            for grid in chapter.grids:
                show(grid.rich(), "")
            if chapter.findings:
                show(*(f"- {finding}" for finding in chapter.findings), "")
    if written.problem:
        note(f"no pictures: {written.problem}")
    if campaign.missing:
        note(f"{len(campaign.missing)} of {len(campaign.entries)} runs are missing")
    note(f"written to {folder}: index.html, tables.md, figures/")
