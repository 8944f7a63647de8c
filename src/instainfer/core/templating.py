"""Decides which function templates are made, and in which containers.

This is a plain rule that does not depend on the pre-loading policy. A function template is made in an idle container

1. where a call has loaded the function, and then
2. ahead of calls, for the functions that were called at least `CALLS_AHEAD` times and have no template on the node.

The functions are taken in the order of the calls per second that a template serves, times the seconds that it saves
each of them, per byte. If there is no room, a template may displace others, and pre-loaded functions that no call has
used, if it is worth at least `DISPLACES` times as much as all of them together.

A look costs the same whatever the number of functions and containers: it is at a few containers that have changed and
at the functions called last.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from .books import Books, Promise
from .lifecycle import LOADED
from .model import BY_CALL, BY_PRELOAD, FunctionKey, function_template_key, templated_function
from .pool import Container, Resident
from .preloading import begin_load, keep_promises
from .registry import FunctionRecord

CHANGED: Final = 3
"""Changed containers at one look, the earliest changed first. The others wait for the next look."""
OTHERS: Final = 4
"""Other idle containers, the longest idle first, in which templates may be made ahead of calls where room is free."""
AHEAD: Final = 8
"""Functions for which a template may be made ahead of calls, those called last."""
DISPLACES: Final = 2.0
"""How many times as much as its victims a template is worth at least. The rates are estimates from few calls, and what
is displaced costs a load when it is made again."""


def make_templates(books: Books) -> None:
    """Begin to make function templates where it is worthwhile.

    While as many loads as are allowed are under way, nothing is looked at, and the changed containers stay noted.
    """
    if books.promises:
        keep_promises(books)
    changed: list[Container] = []
    for id_ in list(books.pool.unlooked):
        if len(changed) == CHANGED or _slots(books) <= 0:
            break
        del books.pool.unlooked[id_]
        container = books.pool.idle.get(id_)
        if container is not None:
            changed.append(container)
            _where_called(books, container)
    if changed:
        books.put_off_until = None  # the next load may be put off for the full time again
        if books.functions.without_template and _slots(books) > 0:
            _ahead_of_calls(books, changed)


def _slots(books: Books) -> int:
    return books.settings.max_loads - books.pool.loading - len(books.promises)


def _where_called(books: Books, container: Container) -> None:
    """Make templates of the functions that calls have loaded in this container."""
    keys = [
        resident.function
        for resident in container.residents.values()
        if resident.origin is BY_CALL and resident.state is LOADED and not resident.is_template
    ]
    for key in _most_wanted_first(books, [key for key in keys if _wants_template(books, key)]):
        if _slots(books) > 0 and function_template_key(key) not in container.residents:
            _make(books, container, key, "a call has loaded its function here", displaces=True)


def _ahead_of_calls(books: Books, changed: list[Container]) -> None:
    """Make templates of functions that have none, wherever that is possible."""
    functions, pool = books.functions, books.pool
    absent = []
    for key in list(islice(reversed(functions.without_template), AHEAD)):
        if function_template_key(key) in pool.copies or not _wants_template(books, key):
            del functions.without_template[key]  # its next call enters it again
        else:
            absent.append(key)
    if not absent:
        return
    others = [container for container in islice(pool.idle.values(), OTHERS) if container not in changed]
    for key in _most_wanted_first(books, absent):
        if _slots(books) <= 0:
            return
        reason = f"{len(functions[key].arrivals)} calls are remembered, and the node has no template of it"
        _ = any(_make(books, each, key, reason, displaces=True) for each in changed) or any(
            _make(books, each, key, reason, displaces=False) for each in others
        )


def _wants_template(books: Books, key: FunctionKey) -> bool:
    """Whether a function can have a template, and was called since that was begun last."""
    record = books.functions[key]
    if record.own_template is None or record.removed or record.load_failure is not None:
        return False
    template = books.functions.templates[record.own_template]
    if template.load_failure is not None or not record.arrivals:
        return False
    return record.arrivals[-1] > template.begun_at and books.functions.saves_s(key, books.pool) > 0.0


def _most_wanted_first(books: Books, keys: list[FunctionKey]) -> Iterable[FunctionKey]:
    if len(keys) < 2:
        return keys

    def rank(key: FunctionKey) -> tuple[float, FunctionKey]:
        template = function_template_key(key)
        size_bytes = books.functions.estimate_bytes(template) or 1
        return -_gain(books, key, books.pool.copies.get(template, 0) + 1) / size_bytes, key

    return sorted(keys, key=rank)


def _gain(books: Books, key: FunctionKey, copies: int) -> float:
    """Seconds that one of several copies of a function template saves in a second, if each call needed one."""
    functions = books.functions
    return functions.calls_per_s(key, books.at) * functions.saves_s(key, books.pool) / copies


def _make(books: Books, container: Container, key: FunctionKey, reason: str, *, displaces: bool) -> bool:
    """Begin to make the template of a function in an idle container, or make room for it. Returns whether it was
    possible."""
    record = books.functions[key]
    if not _may_be_in(record, container) or container.id in books.promises:
        return False
    template = function_template_key(key)
    lacks_bytes = books.estimate_in(container, template) - books.pool.ledger.free_in(container.id)
    if lacks_bytes <= 0:
        begin_load(books, container, template, reason)
        return True
    if not displaces:
        return False
    lacks_bytes -= books.pool.freeing_in(container)
    victims = _victims(books, container, key, lacks_bytes)
    if victims is None:
        return False
    for victim in victims:
        books.offload(victim, f"displaced by {template}: {reason}")
    books.promises[container.id] = Promise(template, reason)
    return True


def _may_be_in(record: FunctionRecord, container: Container) -> bool:
    function = record.function
    return (
        container.namespace == function.namespace
        and container.limit_bytes >= function.memory_bytes
        and record.own_template not in container.residents
    )


def _victims(books: Books, container: Container, key: FunctionKey, lacks_bytes: int) -> list[Resident] | None:
    """What may be displaced in a container so that `lacks_bytes` more become free. None if that is not worthwhile."""
    if lacks_bytes <= 0:
        return []
    ranked: list[tuple[float, str, float, int, Resident]] = []
    for resident in container.residents.values():
        if resident.state is LOADED and (
            resident.is_function_template
            or (resident.origin is BY_PRELOAD and not resident.served and not resident.is_template)
        ):
            size_bytes = books.pool.ledger.charged(container.id, resident.function)
            gain = _gain_of(books, container, resident)
            ranked.append((gain / (size_bytes or 1), resident.function, gain, size_bytes, resident))
    ranked.sort(key=lambda each: each[:2])
    budget = _gain(books, key, books.pool.copies.get(function_template_key(key), 0) + 1) / DISPLACES
    victims: list[Resident] = []
    for _, _, gain, size_bytes, resident in ranked:
        budget -= gain
        if budget < 0.0:
            return None
        victims.append(resident)
        lacks_bytes -= size_bytes
        if lacks_bytes <= 0:
            return victims
    return None


def _gain_of(books: Books, container: Container, resident: Resident) -> float:
    """Seconds that a function template or a pre-loaded function saves in a second."""
    copies = books.pool.copies[resident.function]
    if resident.is_function_template:
        return _gain(books, templated_function(resident.function), copies)
    key, functions = resident.function, books.functions
    return functions.calls_per_s(key, books.at) * functions.load_s(key, books.source_in(container, key)) / copies
