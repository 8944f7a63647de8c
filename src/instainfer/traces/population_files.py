"""Writes a population into files, besides the layouts that any trace can have.

Calls are written in the layout of Azure 2021, which keeps the times and durations that counts per minute lose.
Durations and memory are written as the two series that Azure 2019 has beside its counts; they are for other tools, we
do not read them.
"""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from pathlib import Path

from . import azure2021
from .curves import LogNormal
from .population import Member, Population
from .text import create_text

DURATION_COLUMNS = (
    *("HashOwner", "HashApp", "HashFunction", "Average", "Count", "Minimum", "Maximum"),
    *(f"percentile_Average_{percent}" for percent in (0, 1, 25, 50, 75, 99, 100)),
)
MEMORY_COLUMNS = (
    *("HashOwner", "HashApp", "SampleCount", "AverageAllocatedMb"),
    *(f"AverageAllocatedMb_pct{percent}" for percent in (1, 5, 25, 50, 75, 95, 99, 100)),
)

_MEMORY_SIGMA = 0.055
"""Standard deviation of the logarithm of an application's memory from minute to minute.

It is the median over 500 applications of the released trace, taken from their quartiles."""
_MEMORY_SPREAD = LogNormal(-(_MEMORY_SIGMA**2) / 2, _MEMORY_SIGMA)
"""An application's memory relative to its mean: the mean of this distribution is 1."""


def write_calls(drawn: Population, path: Path) -> None:
    """Write a row for each call, ordered by the ends of the calls, in the layout of Azure 2021."""
    ends = ((drawn.members[number], end_s, duration_s) for end_s, number, duration_s in _by_end(drawn))
    rows = ((member.app, member.name, f"{end_s:.6f}", f"{duration_s:.6f}") for member, end_s, duration_s in ends)
    _write(path, azure2021.COLUMNS, rows)


def write_series(drawn: Population, path: Path) -> tuple[Path, Path]:
    """Write the durations of the functions that were called and the memory of their applications; return both paths.

    ``trace.csv.gz`` gets ``trace_durations.csv.gz`` and ``trace_memory.csv.gz`` beside it. Durations are those of
    single calls, in milliseconds (Azure's percentiles are of averages over 30 seconds). A memory sample is a minute in
    which a function of the application was called.
    """
    durations = [array("d") for _ in drawn.members]
    minutes: dict[str, set[int]] = {}
    for at_s, number, duration_s in drawn.arrivals(0):
        durations[number].append(1000 * (duration_s or 0.0))
        minutes.setdefault(drawn.members[number].app, set()).add(int(at_s // 60))
    called = [(member, sorted(times_ms)) for member, times_ms in zip(drawn.members, durations, strict=True) if times_ms]
    durations_path, memory_path = (_beside(path, series) for series in ("durations", "memory"))
    _write(durations_path, DURATION_COLUMNS, (_durations(member, times_ms) for member, times_ms in called))
    apps = {member.app: member for member, _ in called}
    _write(memory_path, MEMORY_COLUMNS, (_memory(member, len(minutes[app])) for app, member in apps.items()))
    return durations_path, memory_path


def _by_end(drawn: Population) -> Iterator[tuple[float, int, float]]:
    """Yield (end, function, duration) of each call, ordered by end; only calls under way are held in memory."""
    running: list[tuple[float, int, float]] = []
    for at_s, number, duration_s in drawn.arrivals(0):
        while running and running[0][0] <= at_s:
            yield heappop(running)
        if duration_s is not None:
            heappush(running, (at_s + duration_s, number, duration_s))
    yield from sorted(running)


def _durations(member: Member, times_ms: Sequence[float]) -> list[object]:
    count = len(times_ms)
    ranks = (max(0, math.ceil(share * count) - 1) for share in (0, 0.01, 0.25, 0.5, 0.75, 0.99, 1))
    figures = (math.fsum(times_ms) / count, count, times_ms[0], times_ms[-1], *(times_ms[rank] for rank in ranks))
    return [member.owner, member.app, member.name, *(round(figure, 3) for figure in figures)]


def _memory(member: Member, samples: int) -> list[object]:
    # The largest of n samples is about the n / (n + 1) quantile.
    shares = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, samples / (samples + 1))
    quantiles = (member.memory_mb * _MEMORY_SPREAD.quantile(min(share, shares[-1])) for share in shares)
    return [member.owner, member.app, samples, round(member.memory_mb, 3), *(round(mb, 3) for mb in quantiles)]


def _beside(path: Path, series: str) -> Path:
    stem, dot, suffixes = path.name.partition(".csv")
    return path.with_name(f"{stem}_{series}{dot or '.csv'}{suffixes}")


def _write(path: Path, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with create_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
