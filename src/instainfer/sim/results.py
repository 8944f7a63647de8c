"""A simulation in the form of ``results.json``, with what only a simulation has: `wall_s`, `events`, `costs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ..report.records import Summary
from ..report.results import to_json as document
from ..report.results import write
from .run import Outcome
from .settings import Settings

__all__ = ["figures", "keepalive", "to_json", "write"]


def to_json(outcome: Outcome) -> dict[str, Any]:
    """The document that a live comparison writes, with one run."""
    settings = outcome.settings
    run = {
        "label": settings.label,
        "keepalive": keepalive(settings),
        "preload": settings.preload.policy,
        "templates": settings.templates and settings.retain,
        "memory_gb_s": outcome.memory_gb_s,
        "used_gb_s": outcome.used_gb_s,
        "preloads": dict(outcome.preloads),
        **figures(outcome.overall),
        "functions": {
            name: {**figures(summary), "costs": outcome.kinds_of_functions[name]}
            for name, summary in outcome.functions.items()
        },
        "baseline": "fair" if settings.retain else "stateless",
        "predictor": settings.preload.predictor,
        "nodes": settings.nodes,
        "memory_gb": settings.memory_bytes / 1024**3,
        "trace": outcome.source,
        "costs": outcome.costs,
        "simulated_s": outcome.duration_s,
        "wall_s": outcome.wall_s,
        "events": outcome.events,
    }
    return {**document([], settings.seed), "runs": [run]}


def keepalive(settings: Settings) -> str:
    """Policy and the parameters that differ from their defaults, ``fixed:600``."""
    given = settings.keepalive
    fields = type(given).model_fields
    parameters = {name: getattr(given, name) for name in fields if name != "policy"}
    changed = [
        f"{name}={value}" for name, value in parameters.items() if name != "ttl_s" and value != fields[name].default
    ]
    return f"{given.policy}:{','.join([f'{given.ttl_s:g}', *changed])}"


def figures(summary: Summary) -> Mapping[str, Any]:
    return {
        "calls": summary.calls,
        "lost": summary.lost,
        "failed": summary.failed,
        "preload_rate": summary.preload_rate,
        "start_kinds": dict(summary.start_kinds),
        "e2e_ms": asdict(summary.e2e) if summary.e2e else None,
        "startup_ms": asdict(summary.startup) if summary.startup else None,
        "phases_ms": {name: 1000.0 * value for name, value in asdict(summary.phases_s).items()},
    }
