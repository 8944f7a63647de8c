"""Checks that the parts of a node's books agree. Tests call this after every event."""

from __future__ import annotations

from collections import Counter

from .books import Books
from .errors import InternalError
from .lifecycle import BUSY, IDLE, IN_USE, LOADED, LOADING, STARTING, STOPPING, UNLOADING
from .model import BY_CALL, BY_PRELOAD, Origin, ResidentKey, is_function_template, is_template, templated_function
from .pool import Container, Pool, Resident


def check(books: Books) -> None:
    """Raise `InternalError` unless all books agree and each accepted request is in exactly one place."""
    _check_pool(books.pool)
    if any(books.pool.containers[id_].state not in (BUSY, IDLE) for id_ in books.claims):
        raise InternalError(f"claimed containers {sorted(books.claims)} are not all busy or idle")
    for key, template in books.functions.templates.items():
        users = [user for user in template.users if books.functions.get(user) is None]
        if users or (not template.users and key not in books.pool.by_function):
            raise InternalError(f"{key} is there for {users}, which are not")
        if is_function_template(key) and template.users not in ((), (templated_function(key),)):
            raise InternalError(f"{key} is there for {template.users}")
    for key, record in books.functions.items():
        unfit = record.verdict is not None and not record.verdict.fit
        if unfit and record.own_template and books.functions.templates[record.own_template].load_failure is None:
            raise InternalError(f"{key} cannot be forked, and may get a function template")
    if sum(record.function.memory_bytes for record in books.functions.values()) != books.functions.needs_bytes:
        raise InternalError(f"the functions do not need {books.functions.needs_bytes} bytes")
    stale = books.guard.stale_memory(set(books.functions), set(books.pool.containers))
    if stale is not None:
        raise InternalError(stale)
    for container in books.pool.containers.values():
        if books.answer_due_at(container) < books.at and container.state in (IDLE, BUSY):
            raise InternalError(f"container {container.id} owes an answer and nobody looks")
    asked = {k for k, r in books.functions.items() if r.wanted or r.function.keep_alive_s is not None}
    if asked != set(books.functions.asked):
        raise InternalError(f"places are wanted of {asked}, kept {set(books.functions.asked)}")
    queued = [r.activation for r in books.queue]
    placed = [c.running for c in books.pool.containers.values() if c.running is not None]
    if sorted(queued + placed) != sorted(books.requests):
        raise InternalError(f"requests {sorted(books.requests)} are not those queued {queued} or placed {placed}")
    for container in books.pool.containers.values():
        running = container.running
        if running is not None and books.requests[running].container != container.id:
            raise InternalError(f"{running} is in {container.id} and believes to be elsewhere")
        making = [r for r in container.residents.values() if r.is_function_template and r.state is LOADING]
        if running is not None and container.state is BUSY:
            calls = books.requests[running].function
            if any(templated_function(resident.function) != calls for resident in making):
                raise InternalError(f"{calls} runs in {container.id} beside {making}, which run code there")
        functions = [key for key in container.residents if not is_template(key)]
        if any(books.functions.get(key) is None for key in functions):
            raise InternalError(f"container {container.id} holds a function that nobody knows")
        housings = {books.functions[key].function.housing for key in functions}
        housings |= {books.functions.templates[k].housing for k in container.residents if is_template(k)}
        if housings - {container.housing}:
            raise InternalError(f"container {container.id} of {container.housing} holds functions of {housings}")


def _check_pool(pool: Pool) -> None:
    """Raise `InternalError` unless the ledger, the indexes and the counts agree with the containers."""
    pool.ledger.check()
    entries = pool.ledger.entries()
    if entries.keys() != pool.containers.keys():
        raise InternalError("ledger and pool know different containers")
    for container in pool.containers.values():
        _check_container(container, *entries[container.id])
    for what, counted, kept in (
        (
            "idle containers",
            {c.id for c in pool.containers.values() if c.state is IDLE},
            set(pool.idle),
        ),
        ("busy containers", sum(c.state is BUSY for c in pool.containers.values()), pool.busy),
        ("pre-loads", _loads(pool, BY_PRELOAD), pool.loading),
        ("loads for calls", _loads(pool, BY_CALL), pool.call_loads),
        (
            "stopping bytes",
            sum(c.limit_bytes for c in pool.containers.values() if c.state is STOPPING),
            pool.stopping_bytes,
        ),
        (
            "residents",
            {(c.id, f) for c in pool.containers.values() for f in c.residents},
            {(c, f) for f, places in pool.by_function.items() for c in places},
        ),
        ("copies", _copies(pool), pool.copies),
        (
            "owned containers",
            {(c.owner, c.id) for c in pool.idle.values() if c.owner is not None},
            {(f, c) for f, places in pool.owned.items() for c in places},
        ),
        (
            "containers being created",
            {(c.owner, c.id) for c in pool.containers.values() if c.state is STARTING and c.owner is not None},
            {(f, c) for f, places in pool.starting.items() for c in places},
        ),
        (
            "unowned containers",
            {(c.housing, c.id) for c in pool.idle.values() if c.owner is None},
            {(n, c) for n, places in pool.unowned.items() for c in places},
        ),
        (
            "templates to fork from",
            {(r.function, c.id) for c in pool.idle.values() for r in c.residents.values() if _forkable(r)},
            {(t, c) for t, places in pool.forkable.items() for c in places},
        ),
    ):
        if counted != kept:
            raise InternalError(f"{what}: counted {counted}, kept {kept}")


def _check_container(container: Container, limit_bytes: int, charges: dict[ResidentKey, int]) -> None:
    if limit_bytes != container.limit_bytes or charges.keys() != container.residents.keys():
        raise InternalError(f"ledger and container {container.id} differ")
    states = [r.state for r in container.residents.values()]
    in_use = states.count(IN_USE)
    if in_use > 1 or (in_use and container.state not in (BUSY, STOPPING)):
        raise InternalError(f"container {container.id} is {container.state} with {in_use} residents in use")
    if container.state is STARTING and states:
        raise InternalError(f"container {container.id} has residents before it has started")
    if container.running is not None and container.state not in (STARTING, BUSY):
        raise InternalError(f"container {container.id} is {container.state} and runs {container.running}")
    kept = [charges[r.function] for r in container.residents.values() if r.state is not UNLOADING]
    if sum(kept) > limit_bytes and len(kept) > 1 and container.state is IDLE:
        raise InternalError(f"container {container.id} keeps {sum(kept)} bytes above its limit of {limit_bytes}")


def _copies(pool: Pool) -> dict[ResidentKey, int]:
    staying = (r for c in pool.containers.values() for r in c.residents.values())
    return dict(Counter(r.function for r in staying if r.state is not UNLOADING))


def _loads(pool: Pool, origin: Origin) -> int:
    residents = (r for c in pool.containers.values() for r in c.residents.values())
    return sum(r.state is LOADING and r.origin is origin for r in residents)


def _forkable(resident: Resident) -> bool:
    return resident.is_template and resident.state is LOADED
