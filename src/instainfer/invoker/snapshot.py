"""What is on a node now, as plain JSON values, for ``status`` and the dashboard.

``{name, backend, isolation, memory: {budget_bytes, committed_bytes, used_bytes, committed_gb_s, used_gb_s}, queue,
requests, draining, containers: [{id, namespace, state, limit_bytes, used_bytes, owner, running, idle_s, expires_in_s,
residents: [{function, state, origin, bytes, reason, value, age_s}]}], preloads: {started, finished, failed, hits,
wasted, templates}, functions: [{function, profile, memory_bytes, auto, need_bytes, out_of_memory, calls_per_s,
load_failure, fit, unfit, places: {wanted, ready, unmet}}], policy_failures: [{role, policy, count, last}]}``.
`expires_in_s` is null for a container that is kept until its memory is wanted. `memory_bytes` is a function's limit, or
the size that was learned if `auto`; `need_bytes` is what its runs show that it needs, and `out_of_memory` how it died,
if no run has ended well since. `fit` tells whether a function can be forked from a function template; null: that is not
known. `unfit` says why making one has failed, and `unmet` why there cannot be as many places as are wanted. `value` is
null for a resident that stays because somebody asked for its function. `policy_failures` are the policies that failed,
so that a default answered in their place (`core.guard`).
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

from ..core.books import Books
from ..core.lifecycle import IN_USE, LOADED, ContainerState
from ..core.model import GIB, MIB, FunctionKey
from ..core.node import NodeState
from ..core.pool import Container, Resident
from ..core.records import FunctionRecord
from ..core.sizes import size_for

REASON_CHARS = 1000
"""What is shown of a reason at most. The text is a function's own, and may be long."""


def snapshot(state: NodeState, at: float) -> dict[str, Any]:
    """The part that the core knows. The link adds `backend`, `isolation` and the measured memory."""
    books = state.books
    ledger = books.pool.ledger
    return {
        "name": state.name,
        "memory": {
            "budget_bytes": ledger.budget_bytes,
            "committed_bytes": ledger.committed_bytes,
            "committed_gb_s": ledger.committed_byte_s(at) / GIB,
        },
        "queue": len(books.queue),
        "requests": len(books.requests),
        "draining": books.draining,
        "containers": [_container(books, container, at) for container in books.pool.containers.values()],
        "preloads": asdict(books.preloads),
        "functions": [
            {
                "function": key,
                "profile": asdict(record.profile),
                "memory_bytes": record.function.memory_bytes,
                "auto": record.function.is_auto,
                "need_bytes": size_for(record.profile.peak_bytes) if record.profile.peak_bytes else None,
                "out_of_memory": record.out_of_memory.message if record.out_of_memory is not None else None,
                "calls_per_s": books.rate_of(record),
                "load_failure": record.load_failure.message if record.load_failure is not None else None,
                "fit": _fit(record),
                "unfit": _unfit(books, record),
                "places": places(state, key),
            }
            for key, record in books.functions.items()
        ],
        "policy_failures": [
            {"role": role, "policy": failure.policy, "count": failure.count, "last": failure.last}
            for role, failure in books.guard.failures.items()
        ],
    }


def places(state: NodeState, function: FunctionKey) -> dict[str, Any]:
    """``{wanted, ready, unmet}``: how many places of a function shall be ready on this node and how many are, and why
    there can be no more, or null."""
    books = state.books
    record = books.functions.get(function)
    if record is None:
        return {"wanted": 0, "ready": 0, "unmet": None}
    there = [books.pool.containers[id_] for id_ in books.pool.places(function, record.own_template)]
    ready = sum(_is_ready(container, function, record) for container in there)
    unmet = _unmet(books, record) if ready < record.wanted else None
    return {"wanted": record.wanted, "ready": ready, "unmet": unmet}


def _is_ready(container: Container, function: FunctionKey, record: FunctionRecord) -> bool:
    residents = [container.residents.get(key) for key in (function, record.own_template) if key is not None]
    return any(resident is not None and resident.state in (LOADED, IN_USE) for resident in residents)


def _unmet(books: Books, record: FunctionRecord) -> str | None:
    """Why a function cannot have as many places as are wanted, whatever else happens. None if it may still get them."""
    if record.load_failure is not None:
        return f"it could not be loaded: {record.load_failure.message[:REASON_CHARS]}"
    if record.put_away:
        return "it was off-loaded because somebody asked for it; its next call, or asking for places, ends that"
    if not books.guard.preloading_active:
        return 'preload.policy is "none" in the configuration, so nothing is loaded ahead'
    needs_mb, has_mb = record.function.memory_bytes // MIB, books.settings.budget_bytes // MIB
    if record.wanted * record.function.memory_bytes > books.settings.budget_bytes:
        return f"it needs {record.wanted} x {needs_mb} MB, the node has {has_mb} MB"
    return None


def _fit(record: FunctionRecord) -> bool | None:
    """Whether a function can be forked from a function template. None while that is not known."""
    if not record.function.forkable:
        return False
    return None if record.verdict is None else record.verdict.fit


def _unfit(books: Books, record: FunctionRecord) -> str | None:
    """Why a function cannot have a function template. None if it has one, may get one, or never uses one."""
    template = books.functions.templates.get(record.own_template) if record.own_template is not None else None
    return None if template is None or template.load_failure is None else template.load_failure.message[:REASON_CHARS]


def _value(books: Books, resident: Resident) -> float | None:
    """What a resident is worth in seconds. None if it stays because somebody asked for its function."""
    is_held = resident.function in books.functions and books.functions.view(resident.function, books.pool).is_held
    return None if is_held else books.worth_s(resident.function)


def _container(books: Books, container: Container, at: float) -> dict[str, Any]:
    request = books.requests.get(container.running) if container.running is not None else None
    idle = container.state is ContainerState.IDLE
    return {
        "id": container.id,
        "namespace": container.namespace,
        "state": container.state.value,
        "limit_bytes": container.limit_bytes,
        "used_bytes": books.pool.ledger.used_in(container.id),
        "owner": container.owner,
        "running": {"activation": request.activation, "function": request.function} if request is not None else None,
        "idle_s": at - container.idle_since if idle else None,
        "expires_in_s": container.expires_at - at if idle and container.expires_at < math.inf else None,
        "residents": [
            {
                "function": resident.function,
                "state": resident.state.value,
                "origin": resident.origin.value,
                "bytes": books.pool.ledger.charged(container.id, resident.function),
                "reason": resident.reason,
                "value": _value(books, resident),
                "age_s": at - resident.since,
            }
            for resident in container.residents.values()
        ],
    }
