"""The comparison as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.table import Table

from .records import Latency, Summary, by_function, summarise
from .results import Run

RATHER_THAN = "instainfer"
"""The run whose advantage over the others is shown as speed-ups."""


def ms(value: float) -> str:
    """Milliseconds with three significant digits or so: 0.42, 8.1, 2,140."""
    if value < 1:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def overall(runs: Sequence[Run]) -> Table:
    """One row per run over all its calls."""
    table = _latency_table("All calls", "run")
    for name in ("lost", "failed", "pre-loaded", "GB·s", "GB·s used"):
        table.add_column(name, justify="right")
    for run in runs:
        summary = summarise(run.records)
        table.add_row(
            run.label,
            *_latency_cells(summary),
            str(summary.lost),
            str(summary.failed),
            f"{summary.preload_rate:.0%}",
            f"{run.memory_gb_s:,.0f}",
            f"{run.used_gb_s:,.1f}",
        )
    return table


def functions(runs: Sequence[Run]) -> Table:
    """One row per function and run."""
    table = _latency_table("By function", "function", "run")
    table.add_column("pre-loaded", justify="right")
    groups = [(run.label, by_function(run.records)) for run in runs]
    names = sorted({name for _, group in groups for name in group})
    for name in names:
        for position, (label, group) in enumerate(groups):
            summary = summarise(group.get(name, []))
            table.add_row(
                name if position == 0 else "",
                label,
                *_latency_cells(summary),
                f"{summary.preload_rate:.0%}",
                end_section=position == len(groups) - 1,
            )
    return table


def start_kinds(runs: Sequence[Run]) -> Table:
    """How the calls of each run began, and where their time went on average."""
    kinds = ("cold", "prewarmed", "joined", "preloaded", "warm")
    phases = ("queue", "container", "libraries", "model", "handoff", "compute")
    table = Table(title="How calls began, and the mean of each phase in ms", title_justify="left")
    table.add_column("run")
    for name in (*kinds, *phases):
        table.add_column(name, justify="right")
    for run in runs:
        summary = summarise(run.records)
        table.add_row(
            run.label,
            *(str(summary.start_kinds.get(kind, 0)) for kind in kinds),
            *(ms(1000.0 * getattr(summary.phases_s, phase)) for phase in phases),
        )
    return table


def speedups(runs: Sequence[Run]) -> Table | None:
    """How many times lower the means of the `RATHER_THAN` run are; None when it or its rivals are missing."""
    summaries: Mapping[str, Summary] = {run.label: summarise(run.records) for run in runs}
    ours = summaries.get(RATHER_THAN)
    rivals = {label: summary for label, summary in summaries.items() if label != RATHER_THAN}
    if ours is None or not rivals:
        return None
    table = Table(title=f"{RATHER_THAN} in comparison (means)", title_justify="left")
    for name in ("against", "start-up", "saved", "end-to-end", "saved"):
        table.add_column(name, justify="left" if name == "against" else "right")
    for label, theirs in rivals.items():
        table.add_row(label, *_gain(theirs.startup, ours.startup), *_gain(theirs.e2e, ours.e2e))
    return table


def _gain(theirs: Latency | None, ours: Latency | None) -> tuple[str, str]:
    if theirs is None or ours is None or ours.mean == 0 or theirs.mean == 0:
        return "–", "–"
    return f"{theirs.mean / ours.mean:.2f}x", f"{1 - ours.mean / theirs.mean:.0%}"


def _latency_table(title: str, *names: str) -> Table:
    table = Table(title=f"{title} (latency in ms)", title_justify="left")
    for name in names:
        table.add_column(name)
    table.add_column("calls", justify="right")
    for kind in ("start-up", "end-to-end"):
        for figure in ("mean", "p50", "p95", "p99"):
            table.add_column(f"{kind}\n{figure}" if figure == "mean" else f"\n{figure}", justify="right")
    return table


def _latency_cells(summary: Summary) -> tuple[str, ...]:
    return (str(summary.calls), *_four(summary.startup), *_four(summary.e2e))


def _four(latency: Latency | None) -> tuple[str, ...]:
    if latency is None:
        return ("–",) * 4
    return ms(latency.mean), ms(latency.p50), ms(latency.p95), ms(latency.p99)
