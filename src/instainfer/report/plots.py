"""Figures over all calls of each run, as SVG text: the distributions of latencies, and the mean times of phases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .canvas import PHASE_COLOURS, new_figure, run_colours, svg
from .records import PHASES, SUCCESS, CallRecord, by_function, summarise
from .results import Run

_FLOOR_MS = 0.1
"""Shorter durations are drawn at this value, because a logarithmic axis has no zero."""
_GROUP_GAP = 1.3


def latency_cdfs(runs: Sequence[Run]) -> str:
    """Draw for each duration the share of calls that took at most this long, for start-up and end-to-end latency."""
    figure = new_figure(3.9)
    from matplotlib.ticker import FuncFormatter, PercentFormatter

    colours = run_colours([run.label for run in runs])
    for axes, title in zip(figure.subplots(1, 2, sharey=True), ("start-up", "end-to-end"), strict=True):
        for run in runs:
            seconds = [record.startup_s if title == "start-up" else record.e2e_s for record in _good(run.records)]
            values = sorted(max(_FLOOR_MS, 1000.0 * value) for value in seconds)
            shares = [rank / len(values) for rank in range(len(values) + 1)] if values else []
            axes.step(
                values[:1] + values, shares, where="post", color=colours[run.label], linewidth=2.0, label=run.label
            )
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_xlabel(f"{title} latency, ms (logarithmic)")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes.grid(True, alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share of calls")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=max(1, len(runs)), frameon=False)
    return svg(figure, "cdf")


def phase_bars(runs: Sequence[Run]) -> str:
    """Draw the mean seconds of each phase as stacked bars for each run, over all calls and for each function."""
    groups = [("all calls", {run.label: list(run.records) for run in runs})]
    parts = {run.label: by_function(run.records) for run in runs}
    names = sorted({name for functions in parts.values() for name in functions})
    groups += [(name, {label: functions.get(name, []) for label, functions in parts.items()}) for name in names]
    rows = [
        (place + position * (len(runs) + _GROUP_GAP), label, summarise(records).phases_s)
        for position, (_, members) in enumerate(groups)
        for place, (label, records) in enumerate(members.items())
    ]
    figure = new_figure(1.0 + 0.2 * len(groups) * (len(runs) + _GROUP_GAP))
    axes = figure.subplots()
    places, left = [place for place, _, _ in rows], [0.0] * len(rows)
    for phase in PHASES:
        widths = [getattr(mean, phase) for _, _, mean in rows]
        axes.barh(places, widths, left=left, height=0.82, color=PHASE_COLOURS[phase], label=phase)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    longest_s = max(left, default=0.0) or 1.0
    for place, _, mean in rows:
        text = f"{mean.total:.2f} s, start-up {mean.startup:.2f}" if mean.total else "no call succeeded"
        axes.text(mean.total + 0.008 * longest_s, place, text, va="center", fontsize=7, color="#444444")
    for position, (name, _) in enumerate(groups):
        top = position * (len(runs) + _GROUP_GAP) - 0.95
        axes.text(0.0, top, name, va="center", fontsize=9, fontweight="bold")
    axes.set_yticks(places, [label for _, label, _ in rows], fontsize=8)
    axes.set_ylim(places[-1] + 0.7, -1.6)
    axes.set_xlim(0.0, longest_s * 1.22)
    axes.set_xlabel("mean seconds of a call")
    axes.grid(True, axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(PHASES), frameon=False)
    return svg(figure, "phases")


def _good(records: Iterable[CallRecord]) -> list[CallRecord]:
    return [record for record in records if record.status == SUCCESS]
