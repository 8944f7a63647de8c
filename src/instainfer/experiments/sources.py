"""Makes the workload that a scenario describes, once per process, however many runs use it."""

from __future__ import annotations

import hashlib
import math
import random
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

from ..errors import BadInput, NotFound
from ..traces import read as traces
from ..traces.classes import ArrivalClass, classify
from ..traces.counts import Counts
from ..traces.generate import Arrivals, generate
from ..traces.population import Population, population
from ..traces.select import Selection, gaps, select
from ..traces.workload import Workload
from .scenario import Drawn, Generated, TraceFile
from .scenario import Workload as Described

_KEPT = 4
"""Number of workloads that a process keeps; runs that share a workload follow each other closely."""
_DAY_MINUTES = 1440


@dataclass(frozen=True, slots=True)
class Source:
    """A workload and a description of it."""

    workload: Workload
    facts: dict[str, Any]
    """Number of calls and functions, duration, and functions by class of arrivals."""


def source(described: Described, seed: int, folder: Path) -> Source:
    """Return the workload that a scenario in `folder` describes.

    The same seed gives the same calls to every system. Raises `BadInput` and `NotFound` as `traces` does.
    """
    return _source(described.model_copy(update={"label": "", "names": ()}), seed, folder)


def digest(trace: TraceFile, folder: Path) -> str:
    """Return a digest of the trace file, so that runs on different files with the same name are told apart."""
    path = folder / trace.file
    try:
        return _digest(path, path.stat().st_mtime_ns)
    except FileNotFoundError:
        raise NotFound(f"{trace.label}: no trace at {path}; put it there or name another under `file`") from None
    except IsADirectoryError:
        raise BadInput(f"{trace.label}: {path} is a folder; name one file of it under `file`") from None


def mix(workload: Generated, seed: int) -> tuple[Arrivals, ...]:
    """Return class and rate of each generated function; several rates are dealt in an order drawn by the seed."""
    dealt: list[Arrivals] = []
    for number, group in enumerate(workload.group):
        rates = [rate for rate, _ in zip(cycle(group.rates), range(group.functions))]
        random.Random(f"{seed}/rates/{number}").shuffle(rates)
        dealt += [Arrivals(ArrivalClass(group.class_), rate) for rate in rates]
    if workload.calls_per_minute is None:
        return tuple(dealt)
    scale = workload.calls_per_minute / sum(each.calls_per_minute for each in dealt)
    return tuple(Arrivals(each.kind, each.calls_per_minute * scale) for each in dealt)


@lru_cache(maxsize=_KEPT)
def _source(described: Described, seed: int, folder: Path) -> Source:
    match described:
        case Generated():
            workload = _made(described, seed)
        case Drawn():
            workload = _drawn(described, seed)
        case TraceFile():
            wanted = _selection(described, seed, described.first_minute, described.minutes)
            workload = select(_read(folder / described.file), wanted)
    kinds = Counter(classify(each.cov) for each in gaps(workload, seed))
    facts = {
        "calls": workload.calls,
        "functions": len(workload.functions),
        "duration_s": workload.duration_s,
        "classes": {kind.value: kinds[kind] for kind in ArrivalClass if kinds[kind]},
    }
    return Source(workload, facts)


def _made(described: Generated, seed: int) -> Workload:
    like = mix(described, seed)
    return Counts(generate(described.minutes, len(like), seed, like))


def _drawn(described: Drawn, seed: int) -> Workload:
    everybody = population(
        described.of,
        described.minutes * 60.0,
        seed,
        min_per_day=described.min_per_day,
        max_per_day=math.inf if described.max_per_day is None else described.max_per_day,
        max_per_minute=described.max_per_minute,
        start_hour=described.start_hour,
    )
    taken = {row.name for row in select(everybody, _selection(described, seed)).functions}
    members = [member for member in everybody.members if member.name in taken]
    if described.calls_per_minute is not None:
        rates = [min(member.calls_per_day, described.max_per_minute * _DAY_MINUTES) for member in members]
        scale = described.calls_per_minute * _DAY_MINUTES / math.fsum(rates)
        members = [replace(member, calls_per_day=rate * scale) for member, rate in zip(members, rates, strict=True)]
        most = math.inf
    else:
        most = described.max_per_minute
    return Population(members, described.minutes * 60.0, seed, max_per_minute=most, start_hour=described.start_hour)


def _selection(described: TraceFile | Drawn, seed: int, first_minute: int = 0, minutes: int | None = None) -> Selection:
    return Selection(
        first_minute,
        minutes,
        described.min_calls,
        described.max_calls,
        ArrivalClass(described.class_) if described.class_ is not None else None,
        described.functions,
        seed,
    )


@lru_cache(maxsize=1)
def _read(path: Path) -> Workload:
    return traces.read(path)


@lru_cache(maxsize=16)
def _digest(path: Path, _changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
