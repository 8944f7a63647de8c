"""The figures of a report as SVG text. They need matplotlib, which comes with ``instainfer[report]``."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import HostError
from .records import PHASES, SUCCESS, CallRecord, by_function, summarise
from .results import Run
from .timeline import ResidentSpan, Stage, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RUN_COLOURS = ("#8c8c8c", "#d98b2b", "#1f77b4", "#2a9d5c", "#7b4fa3")
PHASE_COLOURS = dict(zip(PHASES, ("#b5b5b5", "#7b4fa3", "#d1495b", "#edae49", "#2e4057", "#66a182"), strict=True))
_STAGE_LOOK: dict[Stage, dict[str, Any]] = {
    Stage.PRELOADING: {"alpha": 0.35, "hatch": "//////"},
    Stage.LOADING: {"alpha": 0.35, "hatch": "xxxxxx"},
    Stage.PRELOADED: {"alpha": 0.6},
    Stage.RUNNING: {"alpha": 1.0},
    Stage.WARM: {"alpha": 0.3},
}
_FLOOR_MS = 0.01
"""Where a logarithmic axis shows what took no time."""


def latency_cdfs(runs: Sequence[Run]) -> str:
    """The share of calls that took at most so long, for start-up and end-to-end."""
    figure = _figure(10, 3.6)
    for axes, title in zip(figure.subplots(1, 2, sharey=True), ("start-up", "end-to-end"), strict=True):
        for run, colour in zip(runs, _colours(len(runs)), strict=True):
            seconds = [record.startup_s if title == "start-up" else record.e2e_s for record in _good(run.records)]
            values = sorted(max(_FLOOR_MS, 1000.0 * value) for value in seconds)
            shares = [(rank + 1) / len(values) for rank in range(len(values))]
            axes.step(values, shares, where="post", color=colour, label=run.label)
        axes.set_xscale("log")
        axes.set_xlabel(f"{title} latency, ms")
        axes.grid(True, alpha=0.3)
    figure.axes[0].set_ylabel("share of calls")
    figure.axes[0].set_ylim(0, 1.02)
    figure.axes[0].legend(loc="upper left", frameon=False)
    return _svg(figure, "cdf")


def phase_bars(runs: Sequence[Run]) -> str:
    """Mean seconds of each phase, stacked, for each function under each run."""
    groups = [(run, by_function(run.records)) for run in runs]
    names = sorted({name for _, functions in groups for name in functions})
    rows = [("all", run.label, list(run.records)) for run in runs]
    rows += [(name, run.label, functions.get(name, [])) for name in names for run, functions in groups]
    # A gap after each function: its rows belong together.
    places = [index + index // len(runs) * 0.6 for index in range(len(rows))]
    figure = _figure(10, 1.0 + 0.22 * (places[-1] + 1))
    axes = figure.subplots()
    left = [0.0] * len(rows)
    means = [summarise(records).phases_s for _, _, records in rows]
    for phase in PHASES:
        widths = [getattr(mean, phase) for mean in means]
        axes.barh(places, widths, left=left, height=0.8, color=PHASE_COLOURS[phase], label=phase)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    axes.set_yticks(places, [f"{name}  ·  {label}" for name, label, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mean seconds of a call")
    axes.grid(True, axis="x", alpha=0.3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, 1.0 + 0.5 / figure.get_figheight()), ncols=6, frameon=False)
    return _svg(figure, "phases")


def timeline(told: Timeline, functions: Sequence[str], name: str) -> str:
    """Containers as grey bands over time, and in each band a thin bar for every resident."""
    lanes = _lanes(told)
    figure = _figure(10, 1.2 + 0.16 * max(4, len(lanes)) + 0.12 * len(told.containers))
    axes = figure.subplots()
    colours = _function_colours(functions)
    ticks: list[tuple[float, str]] = []
    top = 0.0
    for container in told.containers:
        own = [lane for lane in lanes if lane[0] == container.container]
        height = max(1, len(own)) + 0.4
        axes.barh(
            top + height / 2,
            container.end_s - container.start_s,
            left=container.start_s,
            height=height,
            color="#ececec",
            edgecolor="#c4c4c4",
            linewidth=0.6,
        )
        for offset, lane in enumerate(own):
            spans = [span for span in told.residents if (span.container, span.function) == lane]
            _draw_lane(axes, spans, top + 0.7 + offset, colours[lane[1]])
        ticks.append((top + height / 2, container.container))
        top += height + 0.4
    axes.set_yticks([at for at, _ in ticks], [label[-12:] for _, label in ticks])
    axes.set_ylim(max(top, 1.0), -0.4)
    axes.set_xlabel("seconds since the replay began")
    _timeline_legend(figure, colours)
    return _svg(figure, f"timeline-{name}")


def _draw_lane(axes: Axes, spans: Iterable[ResidentSpan], y: float, colour: str) -> None:
    for span in spans:
        length_s = span.end_s - span.start_s
        axes.barh(y, length_s, left=span.start_s, height=0.85, color=colour, **_STAGE_LOOK[span.stage])


def _timeline_legend(figure: Figure, colours: dict[str, str]) -> None:
    from matplotlib.patches import Patch

    what = [Patch(color=colour, label=function) for function, colour in colours.items()]
    how = [Patch(facecolor="#444444", label=stage.value, **look) for stage, look in _STAGE_LOOK.items()]
    figure.legend(handles=what, loc="outside upper center", ncols=min(8, len(what) or 1), frameon=False, fontsize=8)
    figure.legend(handles=how, loc="outside lower center", ncols=5, frameon=False, fontsize=8)


def _lanes(told: Timeline) -> list[tuple[str, str]]:
    """(container, function) in the order in which they first appear."""
    return list(dict.fromkeys((span.container, span.function) for span in told.residents))


def _function_colours(functions: Sequence[str]) -> dict[str, str]:
    palette = ("#1f77b4", "#d1495b", "#2a9d5c", "#edae49", "#7b4fa3", "#17a2b8", "#8c564b", "#e377c2")
    return {name: palette[index % len(palette)] for index, name in enumerate(sorted(functions))}


def _good(records: Iterable[CallRecord]) -> list[CallRecord]:
    return [record for record in records if record.status == SUCCESS]


def _colours(count: int) -> list[str]:
    return [RUN_COLOURS[index % len(RUN_COLOURS)] for index in range(count)]


def _figure(width: float, height: float) -> Figure:
    try:
        # Not pyplot: it keeps every figure, and picks a display.
        from matplotlib.figure import Figure
    except ImportError:
        raise HostError("figures need matplotlib; install it with: pip install 'instainfer[report]'") from None
    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, name: str) -> str:
    """The figure as an ``<svg>`` element; `name` keeps its ids apart from those of other figures on the page."""
    import matplotlib

    out = io.StringIO()
    # Text stays text (small, selectable), and equal figures give equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]
