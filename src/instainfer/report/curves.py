"""Figures that compare systems on several workloads: a panel for each workload, and a style for each system."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .canvas import PHASE_COLOURS, WIDTH_IN, Style, new_figure
from .front import Place
from .pooled import shares
from .records import PHASES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Series: TypeAlias = Mapping[str, Any]
Panels: TypeAlias = Sequence[tuple[str, Series]]
"""A title for each panel, and its data by the system's label."""
Styles: TypeAlias = Mapping[str, Style]

_FLOOR_MS = 0.1
"""Shorter durations are drawn at this value, because a logarithmic axis has no zero."""
_LEGEND_INCHES = 0.24
_STEPS = 24
_FEWEST_ROWS = 4
_WIDE, _NARROW = 5.0, 1.3
"""An axis is logarithmic if the largest value is more than `_WIDE` times the smallest, and does not begin at zero if it
is less than `_NARROW` times the smallest."""
_GREY = "#555555"


def function_bars(panels: Panels, functions: Sequence[str], styles: Styles, unit: str) -> Figure:
    """Draw a group of bars for each function with a bar for each system; values are ms by the function's name."""
    figure = new_figure(0.6 + 2.1 * len(panels) + _legend_height(panels))
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        width = 0.84 / max(1, len(series))
        for number, (label, values) in enumerate(series.items()):
            style = styles[label]
            places = [group - 0.42 + (number + 0.5) * width for group in range(len(functions))]
            heights = [(values.get(name) or 0.0) / 1000.0 for name in functions]
            look = {"color": style.fill, "edgecolor": style.colour, "hatch": style.hatch, "linewidth": 0.6}
            axes.bar(places, heights, width, label=label, **look)
        axes.set_ylabel(unit)
        axes.set_xticks(range(len(functions)), functions, fontsize=9)
        axes.set_xlim(-0.5, max(1, len(functions)) - 0.5)
        axes.tick_params(axis="x", length=0)
        _tidy(axes, title, "y")
    _legend(figure, all_axes[0])
    return figure


def cdfs(panels: Panels, styles: Styles, unit: str) -> Figure:
    """Draw for each duration the share of calls that took at most this long; the data are histograms by system."""
    figure = new_figure(2.9 + _legend_height(panels))
    from matplotlib.ticker import PercentFormatter

    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        for label, histogram in series.items():
            points = shares(histogram)
            times_s = [max(_FLOOR_MS, end_ms) / 1000.0 for end_ms, _ in points]
            heights = [share for _, share in points]
            style = styles[label]
            axes.step(
                times_s[:1] + times_s,
                [0.0, *heights] if heights else [],
                where="post",
                color=style.colour,
                linestyle=style.dash,
                linewidth=1.7,
                label=label,
            )
        _logarithmic(axes, "x")
        axes.set_ylim(0, 1.02)
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
        _tidy(axes, title, "both")
    figure.supxlabel(f"{unit} (logarithmic)", fontsize=10)
    all_axes[0].set_ylabel("share of calls")
    _legend(figure, all_axes[0])
    return figure


def phase_stacks(panels: Panels) -> Figure:
    """Draw the mean seconds of each phase as one stack of bars for each system; the data are ms by the phase's name."""
    figure, all_axes = _rows(panels)
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        labels, places = list(series), range(len(series))
        left = [0.0] * len(labels)
        for phase in PHASES:
            widths = [series[label][phase] / 1000.0 for label in labels]
            axes.barh(places, widths, left=left, height=0.78, color=PHASE_COLOURS[phase], label=phase)
            left = [before + width for before, width in zip(left, widths, strict=True)]
        _label_rows(axes, labels, left, [f"{total:.2f}" for total in left])
        _tidy(axes, title, "x")
    figure.supxlabel("mean seconds of a call", fontsize=10)
    _legend(figure, all_axes[0], columns=len(PHASES))
    return figure


def memory_bars(panels: Panels, styles: Styles) -> Figure:
    """Draw (reserved, used) memory over time by system, in GB·s: what containers reserved, and what was in use."""
    figure, all_axes = _rows(panels)
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        labels, places = list(series), range(len(series))
        limits, used = ([series[label][part] / 1000.0 for label in labels] for part in (0, 1))
        colours = [styles[label].colour for label in labels]
        pale = [styles[label].fill for label in labels]
        axes.barh(places, limits, height=0.78, color="#e4e4e4", edgecolor=colours, linewidth=1.0, label="limits")
        axes.barh(places, used, height=0.44, color=pale, label="in use")
        _label_rows(axes, labels, limits, [f"{value:,.0f}" for value in limits])
        _tidy(axes, title, "x")
    figure.supxlabel("1000 GB·s: limits of all containers (outer bar), in use (inner bar)", fontsize=10)
    return figure


def lines(panels: Panels, styles: Styles, x_label: str, unit: str, *, log: bool) -> Figure:
    """Draw a curve for each system; the data are pairs of x and ms."""
    figure = new_figure(3.7 + _legend_height(panels))
    all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    every = [y for _, series in panels for points in series.values() for _, y in points]
    form = _span_axis(all_axes[0], every)
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        for label, points in series.items():
            style = styles[label]
            xs, ys = [x for x, _ in points], [y / 1000.0 for _, y in points]
            axes.plot(xs, ys, style.dash, marker=style.marker, markersize=4.5, color=style.colour, label=label)
        xs = sorted({x for points in series.values() for x, _ in points})
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(xs, [f"{x:,g}" for x in xs], rotation=30 if len(xs) > 7 else 0)
        _tidy(axes, title, "both")
    figure.supxlabel(x_label + (" (logarithmic)" if log else ""), fontsize=10)
    all_axes[0].set_ylabel(f"mean {unit}{form}")
    _legend(figure, all_axes[0])
    return figure


def fronts(
    panels: Panels, styles: Styles, at: Mapping[str, Place], names: Mapping[str, Sequence[str]], reference: str
) -> Figure:
    """Draw mean start-up latency over memory: a curve of `Place` for each system, linear between its points.

    `at` has the baseline's point for each panel, and `reference` is the baseline's name. `names` has the names of each
    system's points by its label; the first and the last point are labelled.
    """
    figure = new_figure(4.4 + _legend_height(panels))
    all_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (title, series) in zip(all_axes, panels, strict=True):
        for label, curve in ((label, curve) for label, curve in series.items() if curve):
            style = styles[label]
            between = [(place.memory / 1000.0, place.latency / 1000.0) for place in _between(curve)]
            axes.plot(*zip(*between, strict=True), style.dash, color=style.colour, linewidth=1.7)
            xs, ys = [place.memory / 1000.0 for place in curve], [place.latency / 1000.0 for place in curve]
            axes.plot(xs, ys, style.marker, markersize=4.5, color=style.colour)
            axes.plot([], [], style.dash, marker=style.marker, markersize=4.5, color=style.colour, label=label)
            for end, offset, side in ((0, (-6, 5), "right"), (len(curve) - 1, (6, 3), "left")):
                axes.annotate(
                    names[label][end],
                    (xs[end], ys[end]),
                    offset,
                    textcoords="offset points",
                    fontsize=7,
                    color=style.colour,
                    ha=side,
                )
        _logarithmic(axes, "y")
        if title in at:
            place = at[title]
            axes.axvline(place.memory / 1000.0, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.axhline(place.latency / 1000.0, color=_GREY, linewidth=0.8, linestyle=(0, (4, 3)))
            axes.annotate(
                reference,
                (1.0, place.latency / 1000.0),
                (-2, 3),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                fontsize=7,
                color=_GREY,
                ha="right",
            )
        axes.set_xlim(left=0)
        _tidy(axes, title, "both")
    figure.supxlabel("limits of all containers, 1000 GB·s", fontsize=10)
    all_axes[0].set_ylabel("mean start-up latency, s (logarithmic)")
    _legend(figure, all_axes[0])
    return figure


def _between(curve: Sequence[Place]) -> Iterator[Place]:
    """Yield many places along a curve, because a straight line on linear axes is curved on a logarithmic axis."""
    for (memory, latency), (next_memory, next_latency) in pairwise(curve):
        for step in range(_STEPS):
            share = step / _STEPS
            yield Place(memory + share * (next_memory - memory), latency + share * (next_latency - latency))
    yield curve[-1]


def _rows(panels: Panels) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure for horizontal bars, with its panels side by side and a row for each system."""
    rows = max(_FEWEST_ROWS, *(len(series) for _, series in panels))
    figure = new_figure(0.9 + 0.27 * rows)
    return figure, figure.subplots(1, len(panels), sharey=True, sharex=True, squeeze=False)[0]


def _label_rows(axes: Axes, labels: Sequence[str], ends: Sequence[float], texts: Sequence[str]) -> None:
    """Label the rows with the systems from top to bottom, and write a text at the end of each bar."""
    for place, (end, text) in enumerate(zip(ends, texts, strict=True)):
        axes.annotate(text, (end, place), (3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.margins(x=0.14)
    axes.tick_params(axis="y", length=0)


def _span_axis(axes: Axes, values_ms: Sequence[float]) -> str:
    """Choose the y axis: from zero, if the values can be told apart then. Return a remark for the axis label."""
    least, most = min(values_ms, default=0.0) / 1000.0, max(values_ms, default=0.0) / 1000.0
    if least > 0 and most > _WIDE * least:
        _logarithmic(axes, "y")
        return " (logarithmic)"
    if least > 0 and most < _NARROW * least:
        room = max(0.3 * (most - least), 0.02 * most)
        axes.set_ylim(least - room, most + room)
        return " (not from zero)"
    axes.set_ylim(0, 1.08 * most or 1.0)
    return ""


def _logarithmic(axes: Axes, which: Literal["x", "y"]) -> None:
    axis = axes.xaxis if which == "x" else axes.yaxis
    axes.set(**{f"{which}scale": "log"})
    axis.set_major_formatter(_plain_numbers())
    axis.set_minor_formatter(_plain_numbers(sparse=True))
    axis.set_tick_params(which="minor", labelsize=7)


def _plain_numbers(*, sparse: bool = False) -> Any:
    """Format numbers without powers of ten; `sparse` keeps only numbers that begin with 2 or 5."""
    from matplotlib.ticker import FuncFormatter

    def form(value: float, _place: Any) -> str:
        text = f"{value:,g}"
        return "" if sparse and text.lstrip("0.,")[:1] not in ("2", "5") else text

    return FuncFormatter(form)


def _tidy(axes: Axes, title: str, grid: Literal["both", "x", "y"]) -> None:
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(True, axis=grid, alpha=0.3)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legend(figure: Figure, axes: Axes, columns: int | None = None) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if labels:
        columns = columns if columns is not None else _columns(labels)
        figure.legend(
            handles, labels, loc="outside upper center", ncols=columns, frameon=False, fontsize=8, handlelength=2.8
        )


def _columns(labels: Sequence[str]) -> int:
    """Return how many labels fit side by side."""
    longest_in = 0.7 + 0.075 * max(map(len, labels))
    return max(1, min(len(labels), int(WIDTH_IN / longest_in)))


def _legend_height(panels: Panels) -> float:
    labels = list(panels[0][1]) if panels else []
    return _LEGEND_INCHES * -(-len(labels) // _columns(labels)) if labels else 0.0
