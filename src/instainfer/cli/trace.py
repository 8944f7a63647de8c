"""``instainfer trace``: what is in a workload, parts of it, and made-up ones."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import BadInput
from .options import Json
from .output import emit_json, note, show, table
from .values import seconds

app = typer.Typer(name="trace", no_args_is_help=True, help="Look at workloads, cut parts out of them, make new ones.")

TraceFile = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE", help="Azure 2019 (a file or a dataset's folder), Azure 2021, or function,seconds; may be .gz."
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="The same seed, the same result.")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where it goes; .gz compresses it.")]


class Class(StrEnum):
    PREDICTABLE = "predictable"
    NORMAL = "normal"
    BURSTY = "bursty"


@app.command()
def info(
    trace: TraceFile,
    *,
    classes: Annotated[
        bool, typer.Option("--classes", help="Also count the classes of arrivals, which looks at every call.")
    ] = False,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Say how long a trace is, and how much is called in it."""
    from ..traces.read import read
    from ..traces.select import gaps

    workload = read(trace)
    facts: dict[str, Any] = {
        "source": workload.source,
        "duration_s": workload.duration_s,
        "functions": len(workload.functions),
        "owners": len({row.owner for row in workload.functions}),
        "calls": workload.calls,
    }
    if classes:
        from ..traces.classes import ArrivalClass, classify

        kinds = Counter(classify(each.cov) for each in gaps(workload, seed))
        facts["classes"] = {kind.value: kinds[kind] for kind in ArrivalClass}
    if as_json:
        emit_json(facts)
        return
    minutes = max(workload.duration_s / 60, 1e-9)
    show(
        f"{facts['calls']:,} calls of {facts['functions']:,} functions in {seconds(workload.duration_s)}",
        f"{facts['calls'] / minutes:,.1f} calls a minute; {facts['owners']:,} owners",
    )
    if classes:
        rows = [(name, f"{count:,}") for name, count in facts["classes"].items()]
        show("", table(["CoV of gaps", "functions"], rows, right=["functions"]))


@app.command()
def select(
    trace: TraceFile,
    *,
    out: Out,
    window: Annotated[
        str, typer.Option(metavar="FROM:TO", help="Minutes since the trace began, TO excluded; 480: is to the end.")
    ] = "0:",
    min_calls: Annotated[int, typer.Option(metavar="N", help="In the window.")] = 1,
    max_calls: Annotated[int | None, typer.Option(metavar="N", help="In the window.")] = None,
    kind: Annotated[
        Class | None,
        typer.Option(
            "--class",
            metavar="predictable|normal|bursty",
            help="By the coefficient of variation of the gaps: below 1, 1 to 4, above 4.",
        ),
    ] = None,
    functions: Annotated[int | None, typer.Option(metavar="N", min=1, help="Draw so many; default: all.")] = None,
    seed: Seed = 1,
) -> None:
    """Cut a part out of a trace: a window of time, and functions that are like what you ask for.

    Counts per minute stay that; what has times of its own is written as function,seconds.
    """
    from ..traces import azure2019, timestamps
    from ..traces.classes import ArrivalClass
    from ..traces.counts import Counts
    from ..traces.read import read
    from ..traces.select import Selection
    from ..traces.select import select as cut

    first, minutes = _window(window)
    wanted = Selection(first, minutes, min_calls, max_calls, ArrivalClass(kind) if kind else None, functions, seed)
    part = cut(read(trace), wanted)
    if isinstance(part, Counts):
        azure2019.write(part.trace, out)
    else:
        timestamps.write(part, out, seed)
    note(f"{part.calls:,} calls of {len(part.functions):,} functions in {seconds(part.duration_s)}: {out}")


@app.command()
def generate(
    *,
    out: Out,
    minutes: Annotated[int, typer.Option(metavar="N", min=1, help="How long it is.")] = 60,
    functions: Annotated[int, typer.Option(metavar="N", min=1, help="How many are called in it.")] = 8,
    seed: Seed = 1,
) -> None:
    """Make up a trace with predictable, normal and bursty functions, in the layout of Azure 2019."""
    from ..traces import azure2019
    from ..traces.generate import generate as make

    made = make(minutes, functions, seed)
    azure2019.write(made, out)
    note(f"{made.calls:,} calls of {functions:,} functions in {seconds(made.duration_s)}: {out}")


@app.command()
def chrome(
    story: Annotated[Path, typer.Argument(metavar="STORY", help="What `instainfer up --story` has recorded.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where it goes.")],
) -> None:
    """Turn a recorded story into a Chrome trace: what stood in which container, doing what, when."""
    from ..report.chrome import convert

    try:
        with out.open("w", encoding="utf-8") as file:
            convert(story, file)
    except OSError as error:
        raise BadInput(f"cannot write {out}: {error.strerror}; give another file") from None


def _window(text: str) -> tuple[int, int | None]:
    first, colon, last = text.partition(":")
    if not colon or not first.isdecimal() or not (last == "" or last.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not FROM:TO in whole minutes, 0:480 say", param_hint="--window")
    return int(first), int(last) - int(first) if last else None
