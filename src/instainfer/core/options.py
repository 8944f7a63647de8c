"""Finds what may be done with a call, and what each of these options is expected to cost. It changes nothing.

The options, in the order in which equal ones are preferred (start kinds in brackets):

1. Take an idle container in which the function is loaded (*warm*, *preloaded*) or is being loaded (*joined*).
2. Wait for a busy container that runs another call of the function. A second copy of a model costs seconds and memory,
   while waiting for a running call often costs milliseconds.
3. Take an idle container that is kept for the function, and load it there.
4. Take an idle container that holds a template: the function's own, which has everything loaded (*forked*), or else the
   library template of its environment, so that only the function's own part has to be loaded (*templated*).
5. Wait for a busy container with such a template, if none with it is idle and no other call waits.
6. Await a container that is being created for the function ahead of any call (*prewarmed*).
7. Create a container (*cold*).
8. Wait for a container that is being created for another call of the function.
9. Take an idle container that is kept for no function (*prewarmed*).
10. If there is no memory for a new one, take an idle container of another function (*prewarmed*).
11. If that costs more than a new one, stop idle containers to make room for it.

An option costs the seconds until the function can run, and the seconds that calls of other functions are expected to
lose: their residents there end, and so do templates for which there is no room beside the function (ADR 17). Loads that
are under way at a time share the processors, so one more of them takes longer than one alone.

Containers in which nothing can cost less than an option that was found already are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Final

from .books import Books
from .lifecycle import BUSY, IDLE, LOADED, LOADING, UNLOADING
from .model import (
    AWAIT,
    BY_CALL,
    CREATE,
    FORKED,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    JOINED,
    MAKE_ROOM,
    PRELOADED,
    PREWARMED,
    TAKE,
    TEMPLATED,
    WAIT,
    WARM,
    ContainerId,
    Function,
    FunctionKey,
    Option,
    ResidentKey,
    Source,
)
from .pool import Container, Pool
from .requests import Request

COMPARED: Final = 64
"""Number of other functions' containers that are compared, so that a call does not cost more on a node with thousands
of containers: those that would be given up first."""
COMPARED_TEMPLATES: Final = 16
"""The same for containers with a template, the longest idle first. Comparing more of them was worse: a miss is cheap
with a template, and of a hundred containers the one that seems to lose least was often used a moment ago."""

_START_KINDS: Final = {FROM_NOTHING: PREWARMED, FROM_LIBRARIES: TEMPLATED, FROM_FUNCTION: FORKED}


def ready(books: Books, key: FunctionKey) -> Container | None:
    """The idle container that is kept for the function and in which it is loaded, if there is exactly one.

    Nothing is better than that.
    """
    found: Container | None = None
    for id_ in books.pool.owned.get(key, ()):
        container = books.pool.containers[id_]
        resident = container.residents.get(key)
        if resident is not None and resident.state is LOADED and _is_large_enough(books, container, key):
            if found is not None:
                return None
            found = container
    return found


def options(books: Books, request: Request, *, ahead: int, starved: Request | None, may_wait: bool) -> list[Option]:
    """What may be done with a request; empty if it has to wait in the queue.

    `ahead` is the number of requests of the same function that wait before it. `starved` is another request that waits
    for memory: nothing is taken that this one needs. If `may_wait` is False, the request is refused rather than queued,
    so it neither waits nor stops containers.
    """
    return _Search(books, request, ahead, starved, may_wait=may_wait).found


class _Search:
    def __init__(self, books: Books, request: Request, ahead: int, starved: Request | None, *, may_wait: bool) -> None:
        self.books = books
        self.pool = books.pool
        self.request = request
        record = books.functions[request.function]
        self.function = record.function
        self.own_template, self.library = record.own_template, record.template
        self.forked_from = record.forked_from
        self.found: list[Option] = []
        self.best_s = math.inf
        self._ahead = ahead
        self._tried: set[ContainerId] = set()
        self._slowdown = _slowdown(books)
        may_wait_for = may_wait and (request.patient_until == 0.0 or books.at < request.patient_until)
        self._where_it_is()
        if may_wait_for:
            self._where_it_runs()
        self._take_each(reversed(self.pool.owned.get(self.function.key, {}).values()))
        for template, source in ((self.own_template, FROM_FUNCTION), (self.library, FROM_LIBRARIES)):
            if template is not None and self._load_s(source) < self.best_s:
                self._where_a_template_is(template, source, may_wait=may_wait_for)
        self._in_a_new_container(starved)
        if may_wait_for:
            self._where_it_will_run()
        if starved is None and self._load_s(FROM_NOTHING) < self.best_s:
            self._from_nothing(may_wait=may_wait)

    def _add(self, option: Option) -> None:
        self.found.append(option)
        self.best_s = min(self.best_s, option.cost_s)

    def _load_s(self, source: Source) -> float:
        """Expected seconds of a load that begins now."""
        load_s = self.books.functions.load_s(self.function.key, source)
        return load_s if source is FROM_FUNCTION else load_s * self._slowdown

    def _where_it_is(self) -> None:
        """Idle containers in which the function is loaded, is being loaded, or is being ended."""
        key, books = self.function.key, self.books
        for container, resident in self.pool.residents_of(key):
            if container.state is not IDLE or not _is_large_enough(books, container, key):
                continue
            if resident.state is UNLOADING:
                # The container can take the call in a moment.
                start_s = self._load_s(books.source_in(container, key))
                self._add(Option(WAIT, start_s, self._loss_s(container), container.id))
                continue
            lost_s = self._neighbours_worth_s(container)
            if resident.state is LOADING:
                took_s = books.at - resident.since
                left_s = max(0.0, books.functions.load_s(key, books.source_in(container, key)) - took_s)
                self._add(Option(TAKE, left_s, lost_s, container.id, JOINED))
            else:
                kind = WARM if resident.origin is BY_CALL else PRELOADED
                self._add(Option(TAKE, 0.0, lost_s, container.id, kind))

    def _where_it_runs(self) -> None:
        """The container with a call of the function that is expected to be idle soonest."""
        books, key = self.books, self.function.key
        free: list[tuple[float, ContainerId]] = []
        for container, _ in self.pool.residents_of(key):
            running = books.requests.get(container.running) if container.running is not None else None
            if running is not None and running.function == key and container.id not in books.claims:
                free.append((done_in_s(books, running), container.id))
        self._wait_for_the_soonest(free)

    def _where_it_will_run(self) -> None:
        """The container that is being created for another call of the function and is expected to be idle soonest."""
        key, functions = self.function.key, self.books.functions
        call_s = functions.load_s(key) + functions[key].profile.compute_s
        self._wait_for_the_soonest(
            [
                (self._created_in_s(container) + call_s, id_)
                for id_, container in self.pool.starting.get(key, {}).items()
                if container.running is not None and _is_large_enough(self.books, container, key)
            ]
        )

    def _wait_for_the_soonest(self, free: Sequence[tuple[float, ContainerId]]) -> None:
        """Wait for one of these containers, each with the expected seconds until it is idle."""
        if free and self.books.settings.retain:
            wait_s, soonest = min(free)
            # The requests ahead are spread over all of these containers.
            compute_s = self.books.functions[self.function.key].profile.compute_s
            self._add(Option(WAIT, wait_s + self._ahead * compute_s / len(free), 0.0, soonest))

    def _where_a_template_is(self, template: ResidentKey, source: Source, *, may_wait: bool) -> None:
        if (there := self.pool.forkable.get(template)) is not None:
            self._take_each(islice(there.values(), COMPARED_TEMPLATES))
        elif may_wait and (self.request.patient_until > 0.0 or not self.books.queue):
            # When several requests wait, the node needs more containers.
            self._wait_for_template(template, source)

    def _wait_for_template(self, template: ResidentKey, source: Source) -> None:
        books, key = self.books, self.function.key
        best: Option | None = None
        for id_ in islice(self.pool.by_function.get(template, ()), COMPARED):
            container = self.pool.containers[id_]
            if container.state is not BUSY or not container.running or not _is_large_enough(books, container, key):
                continue
            if source is FROM_FUNCTION and not self.pool.template_in(container, template):
                continue
            running = books.requests[container.running]
            start_s = done_in_s(books, running) + self._load_s(source)
            option = Option(WAIT, start_s, books.worth_s(running.function), id_)
            if best is None or option.cost_s < best.cost_s:
                best = option
        if best is not None:
            self._add(best)

    def _in_a_new_container(self, starved: Request | None) -> None:
        load_s, memory_bytes = self._load_s(FROM_NOTHING), self.function.memory_bytes
        for id_, container in self.pool.starting.get(self.function.key, {}).items():
            if container.running is None and container.limit_bytes >= memory_bytes:
                self._add(Option(AWAIT, self._created_in_s(container) + load_s, 0.0, id_))
        if self._has_memory and (starved is None or self._starved_can_spare(starved)):
            self._add(Option(CREATE, self.books.container_start_s + load_s))

    def _from_nothing(self, *, may_wait: bool) -> None:
        """Idle containers in which the function has to be loaded from nothing, or that are stopped for a new one."""
        books, pool = self.books, self.pool
        self._take_each(islice(pool.unowned.get(self.function.housing, {}).values(), COMPARED))
        if self._has_memory:
            return
        order = [pool.idle[kept.id] for kept in books.eviction_order([each.as_kept() for each in pool.idle.values()])]
        self._take_each(islice(filter(self._is_usable, order), COMPARED))
        create_s = books.container_start_s + self._load_s(FROM_NOTHING)
        if may_wait and create_s < self.best_s and (stopped := to_stop(pool, self.function, order)):
            lost_s = sum(books.stop_loss_s(container) for container in stopped)
            self._add(Option(MAKE_ROOM, create_s, lost_s, stops=tuple([container.id for container in stopped])))

    @property
    def _has_memory(self) -> bool:
        """Whether there is memory for a new container."""
        return self.pool.ledger.free_bytes >= self.function.memory_bytes

    def _created_in_s(self, container: Container) -> float:
        """Expected seconds until a container that is being created is there."""
        return max(0.0, self.books.container_start_s - (self.books.at - container.since))

    def _take_each(self, containers: Iterable[Container]) -> None:
        """Idle containers in which the function has to be loaded, from what is there."""
        books, key = self.books, self.function.key
        for container in containers:
            if container.id not in self._tried and self._is_usable(container):
                self._tried.add(container.id)
                source = books.source_in(container, key)
                self._add(
                    Option(TAKE, self._load_s(source), self._loss_s(container), container.id, _START_KINDS[source])
                )

    def _is_usable(self, container: Container) -> bool:
        """Whether the function fits in this idle container and is not in it: same housing, enough memory."""
        return (
            container.housing == self.function.housing
            and container.limit_bytes >= self.function.memory_bytes
            and self.function.key not in container.residents
        )

    def _loss_s(self, container: Container) -> float:
        """Seconds that others are expected to lose when the call takes this idle container."""
        books, key = self.books, self.function.key
        needs_bytes = books.functions.estimate_bytes(key, books.source_in(container, key))
        return books.takeover_loss_s(container, needs_bytes, self.forked_from)

    def _neighbours_worth_s(self, container: Container) -> float:
        """Seconds that the other functions in a container are worth, which the call would end."""
        return sum(
            self.books.worth_s(r.function)
            for r in container.residents.values()
            if r.function != self.function.key and not r.is_template and r.state is not UNLOADING
        )

    def _starved_can_spare(self, starved: Request) -> bool:
        """Whether the function may use free memory although `starved` waits for more memory than is free.

        It may if that request does not need this memory: it gets enough as soon as one of the running calls ends.
        """
        pool = self.pool
        needs_bytes = self.books.functions[starved.function].function.memory_bytes
        needs_bytes -= pool.ledger.free_bytes - self.function.memory_bytes + pool.stopping_bytes
        return any(c.state is BUSY and c.limit_bytes >= needs_bytes for c in pool.containers.values())


def _slowdown(books: Books) -> float:
    """By how much a load takes longer because it shares the processors with the loads that calls wait for."""
    if books.settings.processors is None:
        return 1.0
    starting = (container for places in books.pool.starting.values() for container in places.values())
    loads = 1 + books.pool.call_loads + sum(container.running is not None for container in starting)
    return max(1.0, loads / books.settings.processors)


def _is_large_enough(books: Books, container: Container, key: FunctionKey) -> bool:
    return container.limit_bytes >= books.functions[key].function.memory_bytes


def to_stop(pool: Pool, function: Function, victims: Iterable[Container]) -> list[Container]:
    """The idle containers to stop so that a container of a function fits, taken in the given order.

    Containers that turn out not to be needed are left out. If all of them are not enough, none is stopped.
    """
    missing = function.memory_bytes - pool.ledger.free_bytes - pool.stopping_bytes
    stopped: list[Container] = []
    for container in victims:
        if missing <= 0:
            break
        stopped.append(container)
        missing -= container.limit_bytes
    return without_surplus(stopped, -missing) if missing <= 0 else []


def without_surplus(containers: Iterable[Container], surplus_bytes: int) -> list[Container]:
    """Leave out containers that are not needed, where together they have `surplus_bytes` more than needed."""
    needed: list[Container] = []
    for container in containers:
        if container.limit_bytes <= surplus_bytes:
            surplus_bytes -= container.limit_bytes
        else:
            needed.append(container)
    return needed


def done_in_s(books: Books, running: Request) -> float:
    """Expected seconds until the call of a container is answered."""
    load_s = 0.0 if running.loaded else books.functions.load_s(running.function, running.source)
    expected_s = load_s + books.functions[running.function].profile.compute_s
    return max(0.0, running.run_at + expected_s - books.at)
