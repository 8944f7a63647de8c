"""Turns a trace into the calls of a replay: each row is given a function and its request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..traces.workload import Workload
from .replay import PlannedCall


def plan(trace: Workload, seed: int, functions: Sequence[str], requests: Mapping[str, bytes]) -> list[PlannedCall]:
    """Return the calls of a trace; its rows take the functions in turn, both in their given order."""
    names = [functions[row % len(functions)] for row in range(len(trace.functions))]
    return [
        PlannedCall(arrival.at_s, names[arrival.function], requests[names[arrival.function]])
        for arrival in trace.arrivals(seed)
    ]


def without_idle_beginning(
    calls: Sequence[PlannedCall], duration_s: float, lead_s: float = 0.5
) -> tuple[list[PlannedCall], float]:
    """Let the calls begin `lead_s` before the first one; return them and the duration of the rest of the trace.

    Until the first call every platform is empty, so waiting for it would measure nothing.
    """
    skipped_s = max(0.0, min((call.at_s for call in calls), default=0.0) - lead_s)
    return [replace(call, at_s=call.at_s - skipped_s) for call in calls], duration_s - skipped_s
