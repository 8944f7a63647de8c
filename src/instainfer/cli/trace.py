"""The command ``instainfer trace`` describes traces, cuts parts out of them, and generates new ones."""

from __future__ import annotations

import math
from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import Json
from .output import emit_json, note, show, table, writing
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


class Layout(StrEnum):
    CALLS = "calls"
    COUNTS = "counts"
    TIMES = "times"


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
    published: Annotated[
        bool, typer.Option("--published", help="Also put it beside what was published about Azure 2019.")
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
    if published:
        from ..traces.compare import compare

        facts["published"] = [line._asdict() for line in compare(workload, seed)]
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
    if published:
        lines = [
            (line["of"], line["what"], f"{line['here']:.1%}", f"{line['published']:.1%}") for line in facts["published"]
        ]
        show("", table(["share of", "with", "here", "Azure 2019"], lines, right=["here", "Azure 2019"]))


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
def population(
    *,
    out: Out,
    functions: Annotated[int, typer.Option(metavar="N", min=1, help="How many there are.")] = 500,
    minutes: Annotated[int, typer.Option(metavar="N", min=1, help="How long they are called.")] = 240,
    layout: Annotated[
        Layout,
        typer.Option(
            metavar="calls|counts|times",
            help="Each call with its duration (Azure 2021), counts per minute (Azure 2019), or function,seconds.",
        ),
    ] = Layout.CALLS,
    series: Annotated[
        bool,
        typer.Option("--series", help="Also write FILE_durations.csv and FILE_memory.csv, as Azure 2019 has them."),
    ] = False,
    min_per_day: Annotated[
        float, typer.Option(metavar="N", min=0, help="Leave out functions that are called less often.")
    ] = 0.0,
    max_per_day: Annotated[
        float | None, typer.Option(metavar="N", help="Leave out functions that are called more often.")
    ] = None,
    max_per_minute: Annotated[
        float, typer.Option(metavar="N", min=0.001, help="Slow busier functions down to so many calls on average.")
    ] = 60.0,
    start_hour: Annotated[
        int, typer.Option(metavar="N", min=0, max=23, help="Hour of the day at which it begins.")
    ] = 0,
    seed: Seed = 1,
) -> None:
    """Make up functions like those of Azure 2019, and their calls: rates, triggers, regularity, durations, hours.

    They follow what was published; `trace info --published` puts a trace beside
    it. A few functions have nearly all the calls: --max-per-minute slows them
    down, and it is said how many.

    For a day of functions that are called once an hour to once a minute:
    instainfer trace population -o day.csv.gz --minutes 1440 --min-per-day 24 --max-per-day 1440
    """
    from ..traces import azure2019, timestamps
    from ..traces.population import population as draw
    from ..traces.population import to_counts
    from ..traces.population_files import write_calls, write_series

    drawn = draw(
        functions,
        minutes * 60.0,
        seed,
        min_per_day=min_per_day,
        max_per_day=math.inf if max_per_day is None else max_per_day,
        max_per_minute=max_per_minute,
        start_hour=start_hour,
    )
    match layout:
        case Layout.CALLS:
            write_calls(drawn, out)
        case Layout.COUNTS:
            azure2019.write(to_counts(drawn), out)
        case Layout.TIMES:
            timestamps.write(drawn, out, seed)
    note(f"{drawn.calls:,} calls of {functions:,} functions in {seconds(drawn.duration_s)}: {out}")
    if drawn.slowed:
        note(
            f"{len(drawn.slowed):,} functions would be called more than {max_per_minute:g} times a minute and are "
            f"slowed down to that, which leaves {drawn.calls_kept:.1%} of all calls (--max-per-minute)"
        )
    if series:
        note("beside it: " + ", ".join(str(path) for path in write_series(drawn, out)))


@app.command()
def chrome(
    story: Annotated[Path, typer.Argument(metavar="STORY", help="What `instainfer up --story` has recorded.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE", help="Where it goes.")],
) -> None:
    """Turn a recorded story into a Chrome trace: what stood in which container, doing what, when."""
    from ..report.chrome import convert

    with writing(out) as file:
        convert(story, file)


def _window(text: str) -> tuple[int, int | None]:
    first, colon, last = text.partition(":")
    if not colon or not first.isdecimal() or not (last == "" or last.isdecimal()):
        raise typer.BadParameter(f"{text!r} is not FROM:TO in whole minutes, 0:480 say", param_hint="--window")
    return int(first), int(last) - int(first) if last else None
