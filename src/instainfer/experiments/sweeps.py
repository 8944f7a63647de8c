"""Builds chapters about a parameter's effect: curves along the parameter, and memory against latency."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..report import curves
from ..report.canvas import Style, styles
from ..report.front import Place, Reading, latency_at, memory_at
from ..report.grid import NOTHING, Grid, number
from ..report.pooled import Pooled
from .cells import Cells
from .chapter import (
    AHEAD,
    AHEAD_NOTE,
    PAPER,
    UNITS,
    WORDS,
    Chapter,
    ahead,
    mean,
    system_styles,
    told,
    value_text,
    with_unit,
    word,
)
from .scenario import Point, Report


@dataclass(frozen=True, slots=True)
class _Curve:
    """A system's figures along a parameter, or along all that is varied for it."""

    label: str
    system: str
    alone: bool
    """Whether it is the only curve of its system."""
    found: Sequence[tuple[Point, Pooled | None]]
    """Pairs (what is varied along the curve, figures); the figures are None when the run was not made yet."""


def sweep(cells: Cells, report: Report) -> Chapter:
    """Return a chapter about the mean latency along a parameter."""
    values = next(each.values for each in cells.scenario.sweep if each.parameter == report.x)
    panels, rows, costs, drawn = [], [], [], []
    for workload in cells.workloads:
        series: dict[str, list[tuple[Any, float]]] = {}
        for curve in _curves(cells, report, workload):
            by_value = {point[report.x]: found for point, found in curve.found}
            means = {value: mean(found, report.metric) for value, found in by_value.items()}
            points = [(value, mean_ms) for value, mean_ms in means.items() if mean_ms is not None]
            series |= {curve.label: points} if points else {}
            rows.append([workload, curve.label, *(number(means.get(value)) for value in values)])
            if curve.label in report.published:
                rows.append(["", f"  {PAPER}", *map(number, report.published[curve.label])])
            costs.append([workload, curve.label, *(ahead(by_value.get(value)) for value in values)])
            drawn.append(curve)
        panels.append((workload, series))
    head = ["workload", f"{word(report.x)}:", *map(value_text, values)]
    grids = [
        Grid(f"{report.title}: mean {WORDS[report.metric]} latency (ms)", head, rows, texts=2),
        Grid(f"{report.title}: {AHEAD}", head, costs, texts=2, note=AHEAD_NOTE),
    ]
    look = _styles(cells, drawn)
    return Chapter(
        report.title,
        report.caption,
        grids,
        lambda: curves.lines(panels, look, word(report.x), UNITS[report.metric], log=report.log),
    )


def front(cells: Cells, report: Report) -> Chapter:
    """Return a chapter about memory against mean start-up latency, with readings against one point of a baseline.

    Without an ``x``, a system's curve is along whatever is varied for it.
    """
    baseline = _Baseline(cells.reference(report), report.at)
    panels: list[tuple[str, dict[str, list[Place]]]] = []
    at: dict[str, Place] = {}
    readings, points, drawn = [], [], []
    findings: list[str] = []
    names: dict[str, list[str]] = {}
    for workload in cells.workloads:
        base = _place(cells.find(report, workload, baseline.system))
        series: dict[str, list[Place]] = {}
        for curve in _curves(cells, report, workload):
            places = series[curve.label] = []
            names[curve.label] = []
            drawn.append(curve)
            for point, found in curve.found:
                if (place := _place(found)) is not None:
                    places.append(place)
                    names[curve.label].append(", ".join(with_unit(name, value) for name, value in point.items()))
                    at_point = value_text(point[report.x]) if report.x else told(point)
                    figures = [number(place.memory), number(place.latency), ahead(found)]
                    points.append([workload, curve.label, at_point, *figures])
            if base is not None:
                memory, latency = memory_at(places, base.latency), latency_at(places, base.memory)
                read = [_reading_text(memory, "GB·s"), _share_text(memory, base.memory), _reading_text(latency, "ms")]
                readings.append([workload, curve.label, *read, _share_text(latency, base.latency)])
                if curve.system != baseline.system:
                    findings.append(baseline.sentence(f"{workload}: {curve.label}", base, memory, latency))
        panels.append((workload, series))
        if base is not None:
            at[workload] = base
    note = (
        f"its: that of {baseline}. Between points curves are straight; ≤: the whole curve is better, and its end was "
        "read; not reached: no part of the curve is as good."
    )
    head = ["workload", "system", "memory at its latency", "of its memory", "latency at its memory", "of its latency"]
    look = _styles(cells, drawn)
    grids = [
        Grid(f"{report.title}: readings", head, readings, texts=2, note=note),
        Grid(
            f"{report.title}: points",
            ["workload", "system", word(report.x) or "at", "memory, GB·s", "mean start-up, ms", AHEAD],
            points,
            texts=2 if report.x else 3,
            note=AHEAD_NOTE,
        ),
    ]
    return Chapter(
        report.title, report.caption, grids, lambda: curves.fronts(panels, look, at, names, str(baseline)), findings
    )


@dataclass(frozen=True, slots=True)
class _Baseline:
    """The point with which the curves of a front are compared."""

    system: str
    point: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.system} ({told(self.point)})" if self.point else self.system

    def sentence(self, who: str, base: Place, memory: Reading | None, latency: Reading | None) -> str:
        """Return the two readings of a curve as a sentence."""
        if memory is None:
            first = f"does not reach the mean start-up latency of {self}, {number(base.latency)} ms"
        else:
            share = f"{'at most ' if memory.bound else ''}{memory.value / base.memory:.0%}"
            first = f"has the mean start-up latency of {self}, {number(base.latency)} ms, with {share} of its memory"
        if latency is None:
            return f"{who} {first}, and does not get by with its {number(base.memory)} GB·s."
        less = "less than " if latency.bound else ""
        return f"{who} {first}, and {number(latency.value)} ms with {less}its {number(base.memory)} GB·s."


def _curves(cells: Cells, report: Report, workload: str) -> Iterator[_Curve]:
    for system in cells.systems(report):
        if not report.x:
            yield _Curve(system, system, True, cells.points(workload, system))
            continue
        for rest, found in cells.along(report, workload, system, report.x):
            yield _Curve(", ".join([system, *([told(rest)] if rest else [])]), system, not rest, found)


def _styles(cells: Cells, drawn: Sequence[_Curve]) -> dict[str, Style]:
    """Return the usual styles of the systems, or, where a system has several curves, a colour for each curve."""
    if all(curve.alone for curve in drawn):
        return system_styles(cells)
    return styles((label, label, "solid") for label in dict.fromkeys(curve.label for curve in drawn))


def _place(found: Pooled | None) -> Place | None:
    if found is None or found.whole.startup_ms is None:
        return None
    return Place(found.memory_gb_s, found.whole.startup_ms)


def _reading_text(reading: Reading | None, unit: str) -> str:
    if reading is None:
        return "not reached"
    return f"{'≤ ' if reading.bound else ''}{number(reading.value)} {unit}"


def _share_text(reading: Reading | None, of: float) -> str:
    return NOTHING if reading is None or not of else f"{'≤ ' if reading.bound else ''}{reading.value / of:.0%}"
