"""Writes ``results.json``, which has the results of a comparison's runs for other programs."""

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
    """One replay of the trace on a platform with one configuration."""

    label: str
    keepalive: str
    """Policy and parameters, for example ``fixed:600``."""
    preload: str
    """Name of the policy, or ``none``."""
    templates: bool | None
    """Whether functions are forked from templates and models use ``fast_init``; None: not known."""
    records: Sequence[CallRecord]
    memory_gb_s: float
    """Memory limits of the containers, integrated over time."""
    used_gb_s: float
    """Measured memory, integrated over time."""
    loads: Mapping[str, int]
    """Number of pre-loads by outcome: started, finished, failed, hits."""
    function_templates: bool | None = None
    """Whether functions are forked from function templates; None: not known."""


def to_json(runs: Sequence[Run], seed: int, machine: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the whole document; `machine` defaults to a description of this machine."""
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
        "function_templates": run.function_templates,
        "memory_gb_s": run.memory_gb_s,
        "used_gb_s": run.used_gb_s,
        "preloads": dict(run.loads),
        **figures(summarise(run.records)),
        "functions": {name: figures(summarise(records)) for name, records in by_function(run.records).items()},
    }


def figures(summary: Summary) -> dict[str, Any]:
    """Return the figures of a set of calls, as the document has them."""
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
    """Return pairs [end of a bucket in ms, count]."""
    return [list(pair) for pair in latency.histogram] if latency else []


def this_machine() -> dict[str, Any]:
    """Describe the machine that this process runs on."""
    return {
        "cpu": _proc("cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(int((_proc("meminfo", "MemTotal") or "0 kB").split()[0]) / 1024**2, 1),
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def _proc(name: str, key: str) -> str | None:
    """Return the first value of a key in a file of /proc with lines ``key: value``."""
    for line in Path("/proc", name).read_text(encoding="utf-8").splitlines():
        found, _, value = line.partition(":")
        if found.strip() == key:
            return value.strip()
    return None
