"""Builds the chapters of a scenario's reports: tables with the paper's figures beside ours, and plots."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..report import curves
from ..report.grid import NOTHING, Grid, number, percent, ratio, times
from ..report.pooled import Figures, Metric, Pooled
from ..report.records import PHASES
from . import sweeps
from .cells import Cells
from .chapter import AHEAD, AHEAD_NOTE, PAPER, UNITS, WORDS, Chapter, ahead, mean, system_styles, with_speedup
from .scenario import Report


def chapters(cells: Cells) -> list[Chapter]:
    """Return a chapter about the workloads and one for each report. Raises `BadInput` for an ambiguous report."""
    return [_workloads(cells), *(_BUILDERS[report.kind](cells, report) for report in cells.scenario.report)]


def _workloads(cells: Cells) -> Chapter:
    rows = []
    for label in cells.workloads:
        facts = list(cells.facts(label))
        if not facts:
            continue
        calls, minutes = [each["calls"] for each in facts], [each["duration_s"] / 60.0 for each in facts]
        kinds: Counter[str] = Counter()
        for each in facts:
            kinds.update(each["classes"])
        rows.append(
            [
                label,
                _span(each["functions"] for each in facts),
                _span(minutes),
                _span(calls),
                _span(count / long for count, long in zip(calls, minutes, strict=True)),
                ", ".join(f"{count} {kind}" for kind, count in kinds.items()),
            ]
        )
    head = ["workload", "functions", "minutes", "calls", "a minute", "functions by measured class of arrivals"]
    return Chapter(
        "Workloads",
        "From the least to the most over the seeds and what is varied. Classes are those of the gaps between calls as "
        "they were placed: CoV below 1, 1 to 4, above 4; functions count once for each seed.",
        [Grid("Workloads", head, rows)],
    )


def _latency(cells: Cells, report: Report) -> Chapter:
    reference = cells.reference(report)
    base = [cells.find(report, workload, reference) for workload in cells.workloads]
    head = ["system"]
    head += [f"{word} {workload}" for word in ("E2E", "W+L") for workload in cells.workloads]
    head += ["ready %", "pre-loaded %", AHEAD, "failed"]
    rows = []
    for system in cells.systems(report):
        found = [cells.find(report, workload, system) for workload in cells.workloads]
        row = [system]
        for metric in UNITS:
            row += [with_speedup(mean(each, metric), mean(b, metric)) for each, b in zip(found, base, strict=True)]
        row.append("/".join(f"{100 * each.whole.ready:.0f}" if each else NOTHING for each in found))
        row.append("/".join(f"{100 * each.whole.preloaded:.0f}" if each else NOTHING for each in found))
        row.append("/".join(map(ahead, found)))
        row.append(f"{sum(each.whole.bad for each in found if each):,}" if any(found) else NOTHING)
        rows.append(row)
        if system in report.published:
            rows.append(_published_latency(report, system, reference, len(cells.workloads)))
    note = (
        f"Means in ms, and in brackets how many times lower than {reference}. W+L is start-up: all before compute. "
        "ready: calls that found their function resident; pre-loaded: those of them where pre-loading had put it there."
        f" {AHEAD_NOTE}"
    )
    return Chapter(report.title, report.caption, [Grid(report.title, head, rows, note=note)])


def _published_latency(report: Report, system: str, reference: str, workloads: int) -> list[str]:
    ours, base = report.published[system], report.published.get(reference, {})
    row = [f"  {PAPER}"]
    for metric in UNITS:
        values, bases = ours.get(metric, [None] * workloads), base.get(metric, [None] * workloads)
        row += [with_speedup(value, other) for value, other in zip(values, bases, strict=True)]
    return [*row, "/".join(f"{100 * rate:.0f}" for rate in ours.get("ready", [])) or NOTHING, NOTHING, NOTHING, NOTHING]


def _functions(cells: Cells, report: Report) -> Chapter:
    names = _function_names(cells, report)
    panels = []
    rows = []
    for workload in cells.workloads:
        series = {}
        for system in cells.systems(report):
            found = cells.find(report, workload, system)
            values = {name: each.mean_ms(report.metric) for name, each in found.functions.items()} if found else {}
            series[system] = values
            rows.append([workload, system, *(number(values.get(name)) for name in names)])
            printed = report.published.get(workload, {}).get(system)
            if printed is not None:
                rows.append(["", f"  {PAPER}", *(number(value) for value in printed)])
        panels.append((workload, series))
    grid = Grid(f"{report.title} (ms)", ["workload", "system", *names], rows, texts=2)
    return Chapter(
        report.title,
        report.caption,
        [grid],
        lambda: curves.function_bars(panels, names, system_styles(cells), f"mean {UNITS[report.metric]}"),
    )


def _cdf(cells: Cells, report: Report) -> Chapter:
    panels = []
    for workload in cells.workloads:
        found = {system: cells.find(report, workload, system) for system in cells.systems(report)}
        panels.append((workload, {name: each.histogram(report.metric) for name, each in found.items() if each}))
    return Chapter(
        report.title,
        report.caption or "The share of calls that took at most so long: a curve further left is better.",
        [],
        lambda: curves.cdfs(panels, system_styles(cells), UNITS[report.metric]),
    )


def _phases(cells: Cells, report: Report) -> Chapter:
    panels, rows = [], []
    for workload in cells.workloads:
        series = {}
        for system in cells.systems(report):
            found = cells.find(report, workload, system)
            if found is not None:
                series[system] = found.phases_ms
                total = sum(found.phases_ms.values())
                phases = (number(found.phases_ms[phase]) for phase in PHASES)
                rows.append([workload, system, *phases, number(total), ahead(found)])
        panels.append((workload, series))
    head = ["workload", "system", *PHASES, "all", AHEAD]
    grid = Grid("Mean time in each phase (ms)", head, rows, texts=2, note=AHEAD_NOTE)
    return Chapter(report.title, report.caption, [grid], lambda: curves.phase_stacks(panels))


def _memory(cells: Cells, report: Report) -> Chapter:
    reference = cells.reference(report)
    panels, rows = [], []
    for workload in cells.workloads:
        base = cells.find(report, workload, reference)
        series = {}
        for system in cells.systems(report):
            found = cells.find(report, workload, system)
            limits, used = (found.memory_gb_s, found.used_gb_s) if found else (None, None)
            if limits is not None and used is not None:
                series[system] = (limits, used)
            share = ratio(limits, base.memory_gb_s if base else None)
            row = [workload, system, number(limits), times(share), number(used), ahead(found)]
            rows.append([*row, *([number(report.published.get(system))] if report.published else [])])
        panels.append((workload, series))
    head = ["workload", "system", "limits, GB·s", f"times {reference}", "in use, GB·s", AHEAD]
    head += [f"{PAPER}, GB·s"] if report.published else []
    return Chapter(
        report.title,
        report.caption,
        [Grid(report.title, head, rows, texts=2, note=AHEAD_NOTE)],
        lambda: curves.memory_bars(panels, system_styles(cells)),
    )


def _ablation(cells: Cells, report: Report) -> Chapter:
    full = cells.reference(report)
    rows, findings = [], []
    for workload in cells.workloads:
        base = cells.find(report, workload, full)
        for system in cells.systems(report):
            found = cells.find(report, workload, system)
            row = [workload, system, *(number(mean(found, metric)) for metric in UNITS)]
            row += [_over_seeds(found, base, metric) if system != full else "1" for metric in UNITS]
            row += [percent(found.whole.ready) if found else NOTHING, ahead(found)]
            rows.append([*row, *([str(report.published.get(system, NOTHING))] if report.published else [])])
            gain = ratio(mean(found, report.metric), mean(base, report.metric))
            if system != full and gain is not None:
                findings.append(
                    f"{workload}: the mean {WORDS[report.metric]} latency of {system} is {times(gain)} times that of "
                    f"{full}."
                )
    head = ["workload", "system", "E2E, ms", "W+L, ms", "E2E, times full", "W+L, times full", "ready", AHEAD]
    head += [f"{PAPER}, E2E"] if report.published else []
    note = f"times full: its mean over that of {full}; in brackets the least and the most over the seeds. {AHEAD_NOTE}"
    drawn = _cdf(cells, report)
    return Chapter(
        report.title, report.caption, [Grid(report.title, head, rows, texts=2, note=note)], drawn.draw, findings
    )


def _predictors(cells: Cells, report: Report) -> Chapter:
    reference = cells.reference(report)
    systems = [system for system in cells.systems(report) if system != reference]
    rows = []
    for workload in cells.workloads:
        base = cells.find(report, workload, reference)
        row, costs = [workload], [f"  {AHEAD}"]
        for system in systems:
            found = cells.find(report, workload, system)
            costs.append(ahead(found))
            speedup = times(ratio(mean(base, report.metric), mean(found, report.metric)))
            row.append(f"{100 * found.whole.ready:.0f} ({speedup})" if found else NOTHING)
        rows += [row, costs]
        if workload in report.published:
            rows.append([f"  {PAPER}", *map(str, report.published[workload])])
    note = (
        f"Calls that found their function resident, in %; how many times lower the mean E2E is than {reference}'s. "
        f"{AHEAD_NOTE}"
    )
    return Chapter(report.title, report.caption, [Grid(report.title, ["workload", *systems], rows, note=note)])


def _groups(cells: Cells, report: Report) -> Chapter:
    rows = []
    for workload in cells.workloads:
        for system in cells.systems(report):
            found = cells.find(report, workload, system)
            bands = _bands(found, report.bands) if found is not None else {}
            for band in report.bands:
                row = [workload, system, band, *(bands[band].cells() if band in bands else [NOTHING] * 6)]
                printed = report.published.get(system, {}).get(band)
                rows.append([*row, *([percent(printed)] if report.published else [])])
    head = ["workload", "system", "group", "functions", "calls", "ready", "pre-loaded", "E2E, ms", "W+L, ms"]
    head += [f"{PAPER}, ready"] if report.published else []
    least = ", ".join(f"{band} from {rate:g}" for band, rate in report.bands.items())
    note = f"Groups by calls per minute of a function: {least}."
    return Chapter(report.title, report.caption, [Grid(report.title, head, rows, texts=3, note=note)])


_BUILDERS: Mapping[str, Callable[[Cells, Report], Chapter]] = {
    "latency": _latency,
    "functions": _functions,
    "cdf": _cdf,
    "phases": _phases,
    "memory": _memory,
    "ablation": _ablation,
    "sweep": sweeps.sweep,
    "predictors": _predictors,
    "groups": _groups,
    "front": sweeps.front,
}


# Parts of tables


@dataclass(frozen=True, slots=True)
class _Band:
    functions: int
    whole: Figures

    def cells(self) -> list[str]:
        means = (number(self.whole.mean_ms(metric)) for metric in UNITS)
        counts = (f"{self.functions:,}", f"{self.whole.calls:,}")
        return [*counts, percent(self.whole.ready), percent(self.whole.preloaded), *means]


def _bands(found: Pooled, bands: Mapping[str, float]) -> dict[str, _Band]:
    """Sort the functions into groups by their calls per minute; functions below every group are left out."""
    members: dict[str, list[Figures]] = {band: [] for band in bands}
    for figures in found.functions.values():
        rate = figures.calls / found.minutes
        band = next((name for name, least in bands.items() if rate >= least), None)
        if band is not None:
            members[band].append(figures)
    return {band: _Band(len(each), Figures.of(each)) for band, each in members.items()}


def _over_seeds(found: Pooled | None, base: Pooled | None, metric: Metric) -> str:
    """Format a mean as a multiple of that of `base`, with the least and the greatest multiple over the seeds."""
    if found is None or base is None:
        return NOTHING
    whole = times(ratio(found.whole.mean_ms(metric), base.whole.mean_ms(metric)))
    each = [
        gain
        for ours, theirs in zip(found.of_seeds, base.of_seeds, strict=False)
        if (gain := ratio(ours.mean_ms(metric), theirs.mean_ms(metric))) is not None
    ]
    return f"{whole} ({min(each):.2f}–{max(each):.2f})" if len(each) > 1 else whole


def _function_names(cells: Cells, report: Report) -> list[str]:
    """Return the functions' names as the first workload orders them, or else in alphabetical order."""
    given = cells.scenario.workload[0].names
    if given:
        return list(dict.fromkeys(given))
    found = (cells.find(report, workload, system) for workload in cells.workloads for system in cells.systems(report))
    return sorted({name for each in found if each is not None for name in each.functions})


def _span(values: Iterable[float]) -> str:
    """Format values as a range from the least to the greatest."""
    known = sorted(values)
    least, most = (
        f"{value:,.0f}" if value >= 100 or value % 1 == 0 else f"{value:.3g}" for value in (known[0], known[-1])
    )
    return least if least == most else f"{least}–{most}"
