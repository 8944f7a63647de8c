"""``results.json``: what the runs of a comparison came to, for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .. import __version__
from .records import CallRecord, Latency, Summary, by_function, summarise


@dataclass(frozen=True, slots=True)
class Run:
    """One replay of the trace on one configuration of the platform."""

    label: str
    keepalive: str
    """Policy and parameters, ``fixed:600``."""
    preload: str
    """Policy, or ``none``."""
    templates: bool | None
    """Whether functions are forked from templates and models built by ``fast_init``; None: not known."""
    records: Sequence[CallRecord]
    memory_gb_s: float
    """Container limits over time."""
    used_gb_s: float
    """Measured memory over time."""
    loads: Mapping[str, int]
    """Pre-loads: started, finished, failed, hits."""


def to_json(runs: Sequence[Run], seed: int, machine: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The whole document; `machine` is this one unless it is given."""
    return {
        "runs": [_run(run) for run in runs],
        "machine": dict(machine if machine is not None else this_machine()),
        "version": __version__,
        "seed": seed,
    }


def write(document: Mapping[str, Any], path: Path) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _run(run: Run) -> dict[str, Any]:
    return {
        "label": run.label,
        "keepalive": run.keepalive,
        "preload": run.preload,
        "templates": run.templates,
        "memory_gb_s": run.memory_gb_s,
        "used_gb_s": run.used_gb_s,
        "preloads": dict(run.loads),
        **figures(summarise(run.records)),
        "functions": {name: figures(summarise(records)) for name, records in by_function(run.records).items()},
    }


def figures(summary: Summary) -> dict[str, Any]:
    """What there is to say of a set of calls."""
    return {
        "calls": summary.calls,
        "lost": summary.lost,
        "failed": summary.failed,
        "preload_rate": summary.preload_rate,
        "start_kinds": dict(summary.start_kinds),
        "e2e_ms": _latency(summary.e2e),
        "startup_ms": _latency(summary.startup),
        "e2e_histogram_ms": _histogram(summary.e2e),
        "startup_histogram_ms": _histogram(summary.startup),
        "phases_ms": {name: 1000.0 * value for name, value in asdict(summary.phases_s).items()},
    }


def _latency(latency: Latency | None) -> dict[str, float] | None:
    return {name: getattr(latency, name) for name in ("mean", "p50", "p95", "p99")} if latency else None


def _histogram(latency: Latency | None) -> list[list[float]]:
    """Pairs of the end of a bucket and its count."""
    return [list(pair) for pair in latency.histogram] if latency else []


def this_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpu": _proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int((_proc("meminfo", "MemTotal") or "0 kB").split()[0]) / 1024**2, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _proc(name: str, key: str) -> str | None:
    """The first value of a key in a ``key: value`` file of /proc."""
    for line in Path("/proc", name).read_text(encoding="utf-8").splitlines():
        found, _, value = line.partition(":")
        if found.strip() == key:
            return value.strip()
    return None
