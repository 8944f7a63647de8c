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

from collections.abc import Sequence
from itertools import islice
from operator import attrgetter
from typing import Final

from .books import Books
from .lifecycle import LOADED
from .model import BY_CALL, BY_PRELOAD, Function, FunctionKey, ResidentKey, function_template_key, templated_function
from .pool import Container, Resident
from .preloading import begin_load, keep_promises
from .state import Promise
from .values import value

CHANGED: Final = 3
"""Changed containers at one look, the earliest changed first. The others wait for the next look."""
OTHERS: Final = 4
"""Other idle containers, the longest idle first, in which templates may be made ahead of calls where room is free."""
AHEAD: Final = 8
"""Functions for which a template may be made ahead of calls, those called last."""
DISPLACES: Final = 2.0
"""How many times as much as its victims a template is worth at least. The rates are estimates from few calls, and what
is displaced costs a load when it is made again."""


@value(frozen=True, slots=True)
class _Wanted:
    """A function template that may be made."""

    function: Function
    template: ResidentKey
    size_bytes: int
    gain: float
    """Seconds that one more copy of it is expected to save in a second."""
    density: float
    """`gain` per byte."""


@value(frozen=True, slots=True)
class _Victim:
    """A resident that a function template may displace."""

    resident: Resident
    size_bytes: int
    gain: float
    """Seconds that it is expected to save in a second."""
    density: float


_MOST_FIRST: Final = attrgetter("density", "template")
_LEAST_FIRST: Final = attrgetter("density", "resident.function")


def make_templates(books: Books) -> None:
    """Begin to make function templates where it is worthwhile.

    While as many loads as are allowed are under way, nothing is looked at, and the changed containers stay noted.
    """
    if books.promises:
        keep_promises(books)
    unlooked, changed = books.pool.unlooked, list[Container]()
    while unlooked and len(changed) < CHANGED and _slots(books) > 0:
        id_ = next(iter(unlooked))
        del unlooked[id_]
        # A container that is busy is entered again when it falls idle.
        if (container := books.pool.idle.get(id_)) is not None:
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
    loaded = [
        resident.function
        for resident in container.residents.values()
        if resident.origin is BY_CALL and resident.state is LOADED and not resident.is_template
    ]
    last = books.functions.get(container.owner) if container.owner is not None else None
    if last is not None and last.function.fresh and last.function.key not in loaded:
        loaded.append(last.function.key)  # its process has ended with its call
    wanted = [
        _wanted(books, key)
        for key in loaded
        if function_template_key(key) not in container.residents and _wants_template(books, key)
    ]
    if not wanted or container.id in books.promises:
        return
    victims = _victims(books, container)
    for each in sorted(wanted, key=_MOST_FIRST, reverse=True):
        if _slots(books) > 0:
            _make(books, container, each, "a call has loaded its function here", victims)


def _ahead_of_calls(books: Books, changed: list[Container]) -> None:
    """Make templates of functions that have none, wherever that is possible."""
    functions, pool = books.functions, books.pool
    absent = []
    for key in list(islice(reversed(functions.without_template), AHEAD)):
        if function_template_key(key) in pool.copies or not _wants_template(books, key):
            del functions.without_template[key]  # its next call enters it again
        else:
            absent.append(_wanted(books, key))
    if not absent:
        return
    places = [(container, _victims(books, container)) for container in changed]
    places += [(container, []) for container in islice(pool.idle.values(), OTHERS) if container not in changed]
    for each in sorted(absent, key=_MOST_FIRST, reverse=True):
        if _slots(books) <= 0:
            return
        reason = (
            f"{len(functions[each.function.key].arrivals)} calls are remembered, and the node has no template of it"
        )
        for container, victims in places:
            if _make(books, container, each, reason, victims):
                break


def _wants_template(books: Books, key: FunctionKey) -> bool:
    """Whether a function can have a template, and was called since that was begun last."""
    record = books.functions[key]
    if record.own_template is None or record.removed or record.load_failure is not None:
        return False
    template = books.functions.templates[record.own_template]
    if template.load_failure is not None or not record.arrivals:
        return False
    if record.verdict is None and record.own_template in books.pool.copies:
        return False  # the first one also proves that the function can be forked, which may have effects
    return record.arrivals[-1] > template.begun_at and books.functions.saves_s(key, books.pool) > 0.0


def _wanted(books: Books, key: FunctionKey) -> _Wanted:
    template = function_template_key(key)
    size_bytes = books.functions.estimate_bytes(template)
    gain = _gain(books, key, books.pool.copies.get(template, 0) + 1)
    return _Wanted(books.functions[key].function, template, size_bytes, gain, gain / (size_bytes or 1))


def _gain(books: Books, key: FunctionKey, copies: int) -> float:
    """Seconds that one of several copies of a function template saves in a second, if each call needed one."""
    functions = books.functions
    return functions.calls_per_s(key, books.at) * functions.saves_s(key, books.pool) / copies


def _make(books: Books, container: Container, wanted: _Wanted, reason: str, victims: Sequence[_Victim]) -> bool:
    """Begin to make a template in an idle container, or make room for it there. Returns whether that was possible."""
    function = wanted.function
    if container.limit_bytes < function.memory_bytes or container.namespace != function.namespace:
        return False
    lacks_bytes = wanted.size_bytes - books.pool.ledger.free_in(container.id)
    if lacks_bytes > 0 and not victims:
        return False
    if container.id in books.promises or wanted.template in container.residents:
        return False
    if lacks_bytes <= 0:
        begin_load(books, container, wanted.template, reason)
        return True
    lacks_bytes -= books.pool.freeing_in(container)
    if lacks_bytes <= 0:
        return False  # the room is free in a moment, and this container is looked at again then
    ending = _displaced(victims, lacks_bytes, wanted.gain)
    for each in ending:
        books.offload(each.resident, f"displaced by {wanted.template}: {reason}")
    if ending:
        books.promises[container.id] = Promise(wanted.template, reason)
    return bool(ending)


def _victims(books: Books, container: Container) -> list[_Victim]:
    """The residents of a container that a function template may displace, those of the least gain per byte first."""
    victims: list[_Victim] = []
    for resident in container.residents.values():
        if resident.state is not LOADED:
            continue
        unused = resident.origin is BY_PRELOAD and not resident.served
        if resident.is_function_template or (unused and not resident.is_template):
            size_bytes = books.pool.ledger.charged(container.id, resident.function)
            gain = _gain_of(books, container, resident)
            victims.append(_Victim(resident, size_bytes, gain, gain / (size_bytes or 1)))
    return sorted(victims, key=_LEAST_FIRST)


def _gain_of(books: Books, container: Container, resident: Resident) -> float:
    """Seconds that a function template or a pre-loaded function saves in a second."""
    copies = books.pool.copies[resident.function]
    if resident.is_function_template:
        return _gain(books, templated_function(resident.function), copies)
    key, functions = resident.function, books.functions
    return functions.calls_per_s(key, books.at) * functions.load_s(key, books.source_in(container, key)) / copies


def _displaced(victims: Sequence[_Victim], lacks_bytes: int, gain: float) -> list[_Victim]:
    """The victims to end so that `lacks_bytes` more become free. Empty if that is not possible or not worthwhile."""
    ending: list[_Victim] = []
    for victim in victims:
        gain -= DISPLACES * victim.gain
        if gain <= 0.0:
            return []
        ending.append(victim)
        lacks_bytes -= victim.size_bytes
        if lacks_bytes <= 0:
            return ending
    return []
