"""Combines runs that differ only in their seed: adds counts, takes means over all calls, and merges distributions.

Each input is a document in the form of ``results.json`` (`report.results`) with one run, so simulated and live runs are
treated alike.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from ..core.model import READY_KINDS, StartKind
from .records import PHASES, Histogram

Document: TypeAlias = Mapping[str, Any]
Metric: TypeAlias = Literal["e2e", "startup"]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of all calls, or of the calls of one function."""

    calls: int
    bad: int
    """Number of failed and lost calls."""
    e2e_ms: float | None
    """Mean over the calls that succeeded; None when no call did."""
    startup_ms: float | None
    start_kinds: Mapping[str, int]

    @classmethod
    def of(cls, parts: Sequence[Figures]) -> Figures:
        """Return the figures of several sets of calls taken together."""
        kinds: Counter[str] = Counter()
        for part in parts:
            kinds.update(part.start_kinds)
        good = [(part, part.calls - part.bad) for part in parts]
        return cls(
            calls=sum(part.calls for part in parts),
            bad=sum(part.bad for part in parts),
            e2e_ms=_mean((part.e2e_ms, count) for part, count in good if part.e2e_ms is not None),
            startup_ms=_mean((part.startup_ms, count) for part, count in good if part.startup_ms is not None),
            start_kinds=dict(kinds),
        )

    def mean_ms(self, metric: Metric) -> float | None:
        return self.e2e_ms if metric == "e2e" else self.startup_ms

    @property
    def ready(self) -> float:
        """Share of the calls that found their function resident, for whatever reason it was resident."""
        return self._share(READY_KINDS)

    @property
    def preloaded(self) -> float:
        """Share of the calls whose function was resident because of pre-loading."""
        return self._share((StartKind.PRELOADED,))

    def _share(self, kinds: Iterable[str]) -> float:
        return sum(self.start_kinds.get(kind, 0) for kind in kinds) / self.calls if self.calls else 0.0


@dataclass(frozen=True, slots=True)
class Pooled:
    """One system on one workload, over several seeds."""

    whole: Figures
    functions: Mapping[str, Figures]
    of_seeds: Sequence[Figures]
    """Figures of each run alone, in the order of the runs."""
    phases_ms: Mapping[str, float]
    """Means over the calls that succeeded."""
    e2e_histogram: Histogram
    startup_histogram: Histogram
    memory_gb_s: float
    """Memory limits of the containers, integrated over time; mean over the runs."""
    used_gb_s: float
    ahead_ms: float | None
    """Processor time of the loads and templates that were made ahead of calls, per call; None if a run does not say."""
    minutes: float
    """Duration of all runs together."""

    def histogram(self, metric: Metric) -> Histogram:
        return self.e2e_histogram if metric == "e2e" else self.startup_histogram


def pool(documents: Sequence[Document]) -> Pooled:
    """Combine at least one document."""
    runs = [document["runs"][0] for document in documents]
    names = sorted({name for run in runs for name in run["functions"]})
    return Pooled(
        whole=_figures(runs),
        functions={
            name: _figures([run["functions"][name] for run in runs if name in run["functions"]]) for name in names
        },
        of_seeds=[_figures([run]) for run in runs],
        phases_ms={phase: _mean((run["phases_ms"][phase], _good(run)) for run in runs) or 0.0 for phase in PHASES},
        e2e_histogram=_merged(run["e2e_histogram_ms"] for run in runs),
        startup_histogram=_merged(run["startup_histogram_ms"] for run in runs),
        memory_gb_s=math.fsum(run["memory_gb_s"] for run in runs) / len(runs),
        used_gb_s=math.fsum(run["used_gb_s"] for run in runs) / len(runs),
        ahead_ms=_ahead_ms(runs),
        minutes=math.fsum(document["workload"]["duration_s"] for document in documents) / 60.0,
    )


def shares(histogram: Histogram) -> list[tuple[float, float]]:
    """Return the cumulative distribution: pairs (end of a bucket in ms, share of the durations up to it)."""
    total = sum(count for _, count in histogram)
    seen, result = 0, []
    for end_ms, count in histogram:
        seen += count
        result.append((end_ms, seen / total))
    return result


def _figures(parts: Iterable[Mapping[str, Any]]) -> Figures:
    return Figures.of(
        [
            Figures(
                calls=part["calls"],
                bad=part["failed"] + part["lost"],
                e2e_ms=part["e2e_ms"]["mean"] if part["e2e_ms"] else None,
                startup_ms=part["startup_ms"]["mean"] if part["startup_ms"] else None,
                start_kinds=part["start_kinds"],
            )
            for part in parts
        ]
    )


def _ahead_ms(runs: Sequence[Mapping[str, Any]]) -> float | None:
    calls: int = sum(run["calls"] for run in runs)
    if not calls or any("ahead_processor_s" not in run for run in runs):
        return None
    return 1000.0 * math.fsum(run["ahead_processor_s"] for run in runs) / calls


def _good(part: Mapping[str, Any]) -> int:
    return int(part["calls"] - part["failed"] - part["lost"])


def _mean(weighted: Iterable[tuple[float, int]]) -> float | None:
    pairs = list(weighted)
    weight = sum(count for _, count in pairs)
    return math.fsum(value * count for value, count in pairs) / weight if weight else None


def _merged(histograms: Iterable[Sequence[Sequence[float]]]) -> Histogram:
    counts: Counter[float] = Counter()
    for histogram in histograms:
        for end_ms, count in histogram:
            counts[end_ms] += int(count)
    return tuple(sorted(counts.items()))
