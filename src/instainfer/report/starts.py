"""Turns measured starts into medians for each kind of start, a document for programs, and tables.

A kind that did not occur is left out everywhere and listed as missing; nothing is estimated.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from ..core.model import MIB, Phases, StartKind
from .records import PHASES, quantile
from .tables import ms, plain

KINDS = (
    StartKind.COLD,
    StartKind.PREWARMED,
    StartKind.TEMPLATED,
    StartKind.FORKED,
    StartKind.PRELOADED,
    StartKind.WARM,
)
"""The kinds that can be provoked; a `joined` start is one of them in which the load has already begun."""

_NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Start:
    """One measured call."""

    function: str
    kind: StartKind
    phases: Phases
    resident_bytes: int | None
    """Size of the function after the call; None when it could not be measured."""


@dataclass(frozen=True, slots=True)
class DirectCall:
    """A function's call without a platform, in a process of its own that has just loaded it."""

    library_s: float
    model_s: float
    first_s: float


def document(
    functions: Sequence[str],
    starts: Sequence[Start],
    direct: Mapping[str, DirectCall],
    residents: Mapping[int, Mapping[str, int]],
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all figures; `residents` has, by MB of the container, the counts ``without_`` and ``with_templates``."""
    groups = _groups(functions, starts)
    measured = {name: {kind: _figures(found) for kind, found in kinds.items()} for name, kinds in groups.items()}
    return {
        "functions": measured,
        "missing": [[name, kind] for name in functions for kind in KINDS if kind not in groups[name]],
        "direct_ms": {
            name: {"libraries": 1e3 * call.library_s, "model": 1e3 * call.model_s, "first_call": 1e3 * call.first_s}
            for name, call in direct.items()
        },
        "summary": {
            "templated_vs_prewarmed_speedup_median": _median(_speedups(measured)),
            "resnet50_templated_ms": _p50(measured, "resnet50", StartKind.TEMPLATED),
            "forked_vs_warm": _median(_ratios(measured, StartKind.FORKED, StartKind.WARM)),
            "forked_mb": _median(_sizes_mb(measured, StartKind.FORKED)),
            **_preloaded(starts),
            "preloaded_vs_direct": _median(_over_direct(groups, direct)),
            **{f"residents_in_{mb}MB": dict(counts) for mb, counts in residents.items()},
        },
        "machine": dict(machine),
    }


def tables(found: Mapping[str, Any]) -> list[Table]:
    """Return the content of a `document` as tables."""
    functions: Mapping[str, Any] = found["functions"]
    latency = plain("Start-up latency by kind of start (ms, p50)", "function")
    memory = plain("Memory of the function after the call (MB, median)", "function")
    phases = plain("Median time in each phase (ms)", "function", "start")
    for kind in KINDS:
        latency.add_column(kind, justify="right")
        memory.add_column(kind, justify="right")
    for phase in PHASES:
        phases.add_column(phase, justify="right")
    for name, kinds in functions.items():
        latency.add_row(name, *(_cell(kinds, kind, lambda figures: ms(figures["startup_ms"]["p50"])) for kind in KINDS))
        memory.add_row(name, *(_cell(kinds, kind, _megabytes) for kind in KINDS))
        for position, (kind, figures) in enumerate(kinds.items()):
            cells = (ms(figures["phases_ms"][phase]) for phase in PHASES)
            last = position == len(kinds) - 1
            phases.add_row(name if position == 0 else "", kind, *cells, end_section=last)
    return [phases, memory, latency, _summary(found["summary"])]


def _summary(summary: Mapping[str, Any]) -> Table:
    table = plain("In short", "")
    table.add_column("", justify="right")
    rows = {
        "prewarmed over templated start-up, median over functions": _with(
            summary["templated_vs_prewarmed_speedup_median"], "x"
        ),
        "templated start-up of resnet50, p50": _with(summary["resnet50_templated_ms"], " ms"),
        "first answer after a fork over a warm call, median over functions": _with(summary["forked_vs_warm"], "x"),
        "memory of a forked resident, median over functions": _with(summary["forked_mb"], " MB"),
        "preloaded start-up, p50": _with(summary["preloaded_p50_ms"], " ms"),
        "preloaded start-up, p99": _with(summary["preloaded_p99_ms"], " ms"),
        "preloaded call over direct call, median over functions": _with(summary["preloaded_vs_direct"], "x"),
    }
    for key, counts in summary.items():
        if key.startswith("residents_in_"):
            size = key.removeprefix("residents_in_")
            rows[f"functions in an idle container of {size} without templates"] = _with(
                counts.get("without_templates"), ""
            )
            rows[f"functions in an idle container of {size} with templates"] = _with(counts.get("with_templates"), "")
    for name, value in rows.items():
        table.add_row(name, value)
    return table


_Groups = Mapping[str, Mapping[StartKind, Sequence[Start]]]


def _groups(functions: Iterable[str], starts: Sequence[Start]) -> _Groups:
    groups: dict[str, dict[StartKind, list[Start]]] = {name: {} for name in functions}
    for kind in KINDS:
        for start in starts:
            if start.kind == kind:
                groups[start.function].setdefault(kind, []).append(start)
    return groups


def _figures(starts: Sequence[Start]) -> dict[str, Any]:
    sizes = [start.resident_bytes for start in starts if start.resident_bytes is not None]
    return {
        "n": len(starts),
        "startup_ms": _quantiles(start.phases.startup for start in starts),
        "e2e_ms": _quantiles(start.phases.total for start in starts),
        "phases_ms": {
            phase: 1e3 * statistics.median(getattr(start.phases, phase) for start in starts) for phase in PHASES
        },
        "resident_bytes": int(statistics.median(sizes)) if sizes else None,
    }


def _quantiles(durations_s: Iterable[float]) -> dict[str, float]:
    values = sorted(1e3 * value for value in durations_s)
    return {"p50": quantile(values, 0.50), "p99": quantile(values, 0.99)}


def _preloaded(starts: Iterable[Start]) -> dict[str, float | None]:
    values = [start.phases.startup for start in starts if start.kind is StartKind.PRELOADED]
    found = _quantiles(values) if values else {"p50": None, "p99": None}
    return {f"preloaded_{name}_ms": value for name, value in found.items()}


def _p50(measured: Mapping[str, Mapping[StartKind, Any]], name: str, kind: StartKind) -> float | None:
    figures = measured.get(name, {}).get(kind)
    return None if figures is None else float(figures["startup_ms"]["p50"])


def _speedups(measured: Mapping[str, Mapping[StartKind, Any]]) -> Iterable[float]:
    for name in measured:
        templated, prewarmed = (_p50(measured, name, kind) for kind in (StartKind.TEMPLATED, StartKind.PREWARMED))
        if templated and prewarmed:
            yield prewarmed / templated


def _ratios(measured: Mapping[str, Mapping[StartKind, Any]], kind: StartKind, other: StartKind) -> Iterable[float]:
    """Yield, for each function, the end-to-end time of one kind over that of the other."""
    for kinds in measured.values():
        if kind in kinds and other in kinds:
            yield kinds[kind]["e2e_ms"]["p50"] / kinds[other]["e2e_ms"]["p50"]


def _sizes_mb(measured: Mapping[str, Mapping[StartKind, Any]], kind: StartKind) -> Iterable[float]:
    for kinds in measured.values():
        if kind in kinds and kinds[kind]["resident_bytes"] is not None:
            yield kinds[kind]["resident_bytes"] / MIB


def _over_direct(groups: _Groups, direct: Mapping[str, DirectCall]) -> Iterable[float]:
    for name, call in direct.items():
        starts = groups[name].get(StartKind.PRELOADED)
        if starts:
            yield statistics.median(start.phases.total for start in starts) / call.first_s


def _median(values: Iterable[float]) -> float | None:
    known = list(values)
    return statistics.median(known) if known else None


def _cell(kinds: Mapping[str, Any], kind: StartKind, show: Any) -> str:
    figures = kinds.get(kind)
    return _NOTHING if figures is None else str(show(figures))


def _megabytes(figures: Mapping[str, Any]) -> str:
    size_bytes = figures["resident_bytes"]
    return _NOTHING if size_bytes is None else f"{size_bytes / MIB:,.0f}"


def _with(value: float | None, unit: str) -> str:
    if value is None:
        return "missing"
    return f"{value}{unit}" if isinstance(value, int) else f"{value:,.2f}{unit}"
