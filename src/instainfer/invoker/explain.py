"""Why a function is loaded on a node or not, as plain JSON values, for ``instainfer why FUNCTION``.

``{node, function, calls_per_s, misses_per_s, load_failure, load_s: {nothing, libraries, function}, compute_s, stands:
[{container, what, state, bytes, age_s, reason, gain}], could_be_made: [{what, calls_per_s, saves_s, saves_in_all_s,
price_s, due_in_s, stands}], lately: [{ago_s, text}]}``. `calls_per_s` is null for a function that was never called.
`gain` is in seconds of waiting that are saved per second, null where a container is not idle. `due_in_s` is null if it
is due already, or if its time is not known. `lately` is taken from the story, the newest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from ..core.decisions import Decision, Load, Offload, Run, StartContainer
from ..core.lifecycle import IDLE
from ..core.model import FROM_FUNCTION, FROM_LIBRARIES, FROM_NOTHING, FunctionKey, ResidentKey
from ..core.node import NodeState
from ..core.rates import mean_rate
from ..core.records import FunctionRecord
from .snapshot import REASON_CHARS

LATELY: Final = 10
"""Decisions that are told."""


def explain(state: NodeState, key: FunctionKey, at: float) -> dict[str, Any] | None:
    """What the node knows of a function now, and decided on it lately. None if it does not know the function."""
    books = state.books
    record = books.functions.get(key)
    if record is None:
        return None
    view = books.functions.view(key, books.pool)
    keys = [key, *([record.own_template] if record.own_template is not None else [])]
    return {
        "node": state.name,
        "function": key,
        "calls_per_s": books.rate_of(record),
        "misses_per_s": mean_rate(view.misses, view.missed_since, at),
        "load_failure": record.load_failure.message[:REASON_CHARS] if record.load_failure is not None else None,
        "load_s": {
            "nothing": books.functions.load_s(key, FROM_NOTHING),
            "libraries": books.functions.load_s(key, FROM_LIBRARIES) if record.template is not None else None,
            "function": books.functions.load_s(key, FROM_FUNCTION) if record.own_template is not None else None,
        },
        "compute_s": record.profile.compute_s,
        "stands": [each for resident in keys for each in _stands(state, resident, at)],
        "could_be_made": [
            {
                "what": _kind(each.key, record),
                "calls_per_s": each.calls_per_s,
                "saves_s": each.saves_s,
                "saves_in_all_s": each.saves_in_all_s,
                "price_s": each.price_s,
                "due_in_s": each.due_at - at if at < each.due_at < math.inf else None,
                "stands": books.pool.copies.get(each.key, 0),
            }
            for each in books.guard.weigh(view, at)
        ],
        "lately": [{"ago_s": at - when, "text": text} for when, text in _lately(state, keys, record)],
    }


def _stands(state: NodeState, key: ResidentKey, at: float) -> Iterator[dict[str, Any]]:
    books = state.books
    for container, resident in books.pool.residents_of(key):
        yield {
            "container": container.id,
            "what": "function template" if resident.is_template else "resident",
            "state": resident.state.value,
            "bytes": books.pool.ledger.charged(container.id, key),
            "age_s": at - resident.since,
            "reason": resident.reason[:REASON_CHARS],
            "gain": books.gain_of(container, key) if container.state is IDLE else None,
        }


def _kind(key: ResidentKey, record: FunctionRecord) -> str:
    return "function template" if key == record.own_template else "resident"


def _lately(state: NodeState, keys: list[ResidentKey], record: FunctionRecord) -> list[tuple[float, str]]:
    told: list[tuple[float, str]] = []
    for entry in state.story:
        told += [
            (entry.event.at, text) for each in entry.decisions if (text := _decided(each, keys, record)) is not None
        ]
        # A note begins with what it is about.
        told += [(entry.event.at, note) for note in entry.notes if note.split(" ", 1)[0].rstrip(":") in keys]
    return told[: -LATELY - 1 : -1]


def _decided(decision: Decision, keys: list[ResidentKey], record: FunctionRecord) -> str | None:
    """A decision about the function in words. None if it is about something else."""
    if isinstance(decision, StartContainer):
        about = any(key in decision.reason for key in keys)
        return f"{decision.container} is created: {decision.reason}"[:REASON_CHARS] if about else None
    if not isinstance(decision, Load | Offload | Run) or decision.function not in keys:
        return None
    if isinstance(decision, Run):
        return f"a call begins in {decision.container}, {decision.start_kind}"
    verb = "is loaded" if isinstance(decision, Load) else "is ended"
    what = _kind(decision.function, record)
    return f"the {what} {verb} in {decision.container}: {decision.reason}"[:REASON_CHARS]
