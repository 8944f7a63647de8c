"""Shows a comparison of runs as tables for a terminal; no table is wider than 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rich import box
from rich.table import Table

from ..core.model import StartKind
from .records import PHASES, START_KINDS, CallRecord, Latency, Summary, by_function, summarise
from .results import Run

BASELINES = ("stateless", "keep-alive")
"""The runs with which the other runs are compared."""

FIGURES = ("mean", "p50", "p95", "p99")

TEMPLATES_NOTE = (
    "Runs without templates load libraries and models from nothing, as any platform would (node.templates,\n"
    "node.function_templates and node.fast_init are off); instainfer+templates is the default, with all on."
)

_NOTHING = "–"
_RATE = "(number of calls; rate: found pre-loaded)"
_HYPHENATED = {
    "prewarmed": "pre-\nwarmed",
    "templated": "tem-\nplated",
    "forked": "for-\nked",
    "preloaded": "pre-\nloaded",
}


def ms(value: float) -> str:
    """Format milliseconds with about three significant digits: 0.42, 8.1, 2,140."""
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def overall(runs: Sequence[Run]) -> list[Table]:
    """Return tables over all calls of each run: latencies, start kinds, phases, counts and memory, and speed-ups."""
    whole = [(run.label, summarise(run.records)) for run in runs]
    tables = [_latencies(whole), _beginnings(f"How calls began {_RATE}", [("", whole)]), _phases(whole)]
    return [*tables, _costs(runs), *speedups(runs)]


def functions(runs: Sequence[Run]) -> list[Table]:
    """Return tables for each function: its start-up latency, its end-to-end latency, and how its calls began."""
    groups = list(_by_function(runs))
    return [
        _latency_by_function("Start-up latency by function (ms), and the speed-up of its mean", groups, startup=True),
        _latency_by_function(
            "End-to-end latency by function (ms), and the speed-up of its mean", groups, startup=False
        ),
        _beginnings(f"How each function's calls began {_RATE}", groups),
    ]


def speedups(runs: Sequence[Run]) -> list[Table]:
    """Return a table of the speed-ups over the baselines; no table when there is nothing to compare."""
    pairs = [(run, rival) for run in runs for rival in runs if is_rival(run.label, rival.label)]
    if not pairs:
        return []
    table = plain("Speed-up of the mean latency, and container memory", "run", "over")
    for name in ("start-up", "saved", "end-to-end", "saved", "GB·s"):
        table.add_column(name, justify="right")
    before = ""
    for run, rival in pairs:
        ours, theirs = summarise(run.records), summarise(rival.records)
        gains = (*_gain(theirs.startup, ours.startup), *_gain(theirs.e2e, ours.e2e))
        memory = f"{run.memory_gb_s / rival.memory_gb_s - 1:+.0%}" if rival.memory_gb_s else _NOTHING
        table.add_row(run.label if run.label != before else "", rival.label, *gains, memory)
        before = run.label
    return [table]


def is_rival(label: str, other: str) -> bool:
    """Return whether `label` should be compared with `other`: a run with pre-loading with one without."""
    return label not in BASELINES and other in BASELINES


def _latencies(whole: Sequence[tuple[str, Summary]]) -> Table:
    table = plain("Latency of all calls (ms)", "", "run")
    for figure in FIGURES:
        table.add_column(figure, justify="right")
    for kind in ("start-up", "end-to-end"):
        for position, (label, summary) in enumerate(whole):
            latency = summary.startup if kind == "start-up" else summary.e2e
            last = position == len(whole) - 1 and kind == "start-up"
            table.add_row(kind if position == 0 else "", label, *_four(latency), end_section=last)
    return table


def _latency_by_function(title: str, groups: Sequence[_Group], *, startup: bool) -> Table:
    labels = {label for _, rows in groups for label, _ in rows}
    rivals = [label for label in BASELINES if label in labels and any(is_rival(other, label) for other in labels)]
    table = plain(title, "")
    for figure in FIGURES:
        table.add_column(figure, justify="right")
    for rival in rivals:
        table.add_column(f"over\n{rival}", justify="right")

    def latency(summary: Summary) -> Latency | None:
        return summary.startup if startup else summary.e2e

    for rows in _titled(table, groups):
        known = dict(rows)
        for position, (label, summary) in enumerate(rows):
            gains = [
                _gain(latency(known[rival]), latency(summary))[0] if is_rival(label, rival) else "" for rival in rivals
            ]
            table.add_row(label, *_four(latency(summary)), *gains, end_section=_ends(position, rows, groups))
    return table


def _beginnings(title: str, groups: Sequence[_Group]) -> Table:
    table = plain(title, "")
    table.caption, table.caption_justify = _without_success(groups), "left"
    columns: dict[str, Callable[[Summary], str]] = {"calls": lambda summary: str(summary.calls)}
    # Most platforms fork nothing from function templates, and the table is as wide as a terminal without that column.
    forked = any(StartKind.FORKED in summary.start_kinds for _, rows in groups for _, summary in rows)
    kinds = [kind for kind in START_KINDS if forked or kind is not StartKind.FORKED]
    columns |= {_HYPHENATED.get(kind, kind): _count(kind) for kind in kinds}
    columns["rate"] = lambda summary: f"{summary.preload_rate:.0%}"
    for name in columns:
        table.add_column(name, justify="right")
    for rows in _titled(table, groups):
        for position, (label, summary) in enumerate(rows):
            cells = (cell(summary) for cell in columns.values())
            table.add_row(label, *cells, end_section=_ends(position, rows, groups))
    return table


def _without_success(groups: Iterable[_Group]) -> str | None:
    """Return a line about lost and failed calls, which is shorter than two columns that are usually empty."""
    bad = [
        f"{title} {label}".strip() + f" {summary.lost} lost, {summary.failed} failed"
        for title, rows in groups
        for label, summary in rows
        if summary.lost or summary.failed
    ]
    return f"Not answered with success: {'; '.join(bad)}" if bad else None


def _count(kind: StartKind) -> Callable[[Summary], str]:
    return lambda summary: str(summary.start_kinds.get(kind, 0))


def _phases(whole: Iterable[tuple[str, Summary]]) -> Table:
    table = plain("Mean time in each phase (ms)", "run")
    for phase in PHASES:
        table.add_column(phase, justify="right")
    for label, summary in whole:
        table.add_row(label, *(ms(1000.0 * getattr(summary.phases_s, phase)) for phase in PHASES))
    return table


def _costs(runs: Iterable[Run]) -> Table:
    table = plain("What became of the calls, and memory over time (GB·s)", "run")
    for name in ("calls", "lost", "failed", "GB·s of limits", "GB·s measured"):
        table.add_column(name, justify="right")
    for run in runs:
        summary = summarise(run.records)
        counts = (str(summary.calls), str(summary.lost), str(summary.failed))
        table.add_row(run.label, *counts, f"{run.memory_gb_s:,.1f}", f"{run.used_gb_s:,.1f}")
    return table


_Group = tuple[str, Sequence[tuple[str, Summary]]]
"""A title, and the rows below it as pairs (label, summary). The title is empty if the rows need none."""


def _by_function(runs: Sequence[Run]) -> Iterator[_Group]:
    parts: list[tuple[str, Mapping[str, list[CallRecord]]]] = [(run.label, by_function(run.records)) for run in runs]
    names = sorted({name for _, functions in parts for name in functions})
    if len(runs) == 1:
        yield "", [(name, summarise(parts[0][1][name])) for name in names]
        return
    for name in names:
        yield name, [(label, summarise(functions.get(name, []))) for label, functions in parts]


def _titled(table: Table, groups: Sequence[_Group]) -> Iterator[Sequence[tuple[str, Summary]]]:
    for title, rows in groups:
        if title:
            table.add_row(title, style="bold")
        yield rows


def _ends(position: int, rows: Sequence[object], groups: Sequence[_Group]) -> bool:
    return position == len(rows) - 1 and len(groups) > 1


def _gain(theirs: Latency | None, ours: Latency | None) -> tuple[str, str]:
    if theirs is None or ours is None or ours.mean == 0 or theirs.mean == 0:
        return _NOTHING, _NOTHING
    return f"{theirs.mean / ours.mean:.2f}x", f"{1 - ours.mean / theirs.mean:.0%}"


def _four(latency: Latency | None) -> tuple[str, ...]:
    return (_NOTHING,) * 4 if latency is None else tuple(ms(getattr(latency, figure)) for figure in FIGURES)


def plain(title: str, *names: str) -> Table:
    """Return an empty table in our style; `names` are its first columns, which hold text."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.pad_edge, table.show_edge = False, False
    for name in names:
        table.add_column(name, no_wrap=True)
    return table
