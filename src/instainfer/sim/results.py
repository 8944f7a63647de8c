"""A simulation's result in the form of ``results.json``, plus what only a simulation can tell."""

from __future__ import annotations

from typing import Any

from ..report import results
from ..report.results import figures
from .run import Outcome


def to_json(outcome: Outcome) -> dict[str, Any]:
    """Return the document that a live comparison writes, with a single run in it."""
    settings = outcome.settings
    run = {
        "label": settings.label,
        "keepalive": settings.keepalive.in_short(),
        "preload": settings.preload.policy,
        "templates": settings.templates and settings.retain,
        "function_templates": settings.function_templates and settings.retain,
        "replace": settings.replace,
        "memory_gb_s": outcome.memory_gb_s,
        "used_gb_s": outcome.used_gb_s,
        "preloads": dict(outcome.preloads),
        "ahead_processor_s": outcome.ahead_processor_s,
        **figures(outcome.overall),
        "functions": {
            name: {**figures(summary), "costs": outcome.kinds_of_functions[name]}
            for name, summary in outcome.functions.items()
        },
        "baseline": "fair" if settings.retain else "stateless",
        "predictor": settings.preload.predictor,
        "nodes": settings.nodes,
        "auto_memory": settings.auto_memory,
        "memory_gb": settings.memory_bytes / 1024**3,
        "trace": outcome.source,
        "costs": outcome.costs,
        "simulated_s": outcome.duration_s,
        "wall_s": outcome.wall_s,
        "events": outcome.events,
    }
    return {**results.to_json([], settings.seed), "runs": [run]}
