"""Gives containers to requests, new and queued ones. `options` finds the containers; this module makes the choice."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

from . import options
from .books import Books
from .lifecycle import BUSY
from .model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    JOINED,
    ContainerId,
    Function,
    FunctionKey,
    ResidentKey,
    Source,
)
from .pool import Container
from .registry import FunctionRecord
from .requests import Request
from .state import Claim


def place(books: Books, request: Request, *, ahead: int, starved: Request | None, may_wait: bool = True) -> bool:
    """Give the request a container, or begin to create one. Returns False if the request has to wait.

    `ahead` is the number of requests of the same function that wait before it. `starved` is another request that waits
    for memory. `may_wait` is False when the queue is full: then no containers are stopped to make room for the request,
    and the caller refuses it when the result is False.
    """
    function = books.functions[request.function].function
    choice = _choice(books, request, ahead, starved, may_wait=may_wait)
    if isinstance(choice, options.Take):
        books.run(request, choice.container, choice.start_kind)
        return True
    if isinstance(choice, options.Await):
        books.wait_for(choice.container, request)
        return True
    if isinstance(choice, options.Create):
        books.create(function, request, f"no container can take {function.key}")
        return True
    if isinstance(choice, options.MakeRoom):
        for container in choice.containers:
            books.guard.evicted(container.as_kept())
            books.stop(container, f"room for {function.key}")
    return False


def _choice(books: Books, request: Request, ahead: int, starved: Request | None, *, may_wait: bool) -> options.Choice:
    record = books.functions[request.function]
    function, pool = record.function, books.pool
    take = options.holding(pool, function, books.worth_s)
    if take is not None and take.start_kind is not JOINED and take.container.owner == function.key:
        return take
    waits = books.at < request.patient_until
    if waits and not request.waits_for_template and function.key in pool.by_function:
        # The function may have become ready in another container. That container is taken if its other residents lose
        # less than waiting costs.
        if take is None or take.start_kind is JOINED:
            return options.Wait()
        if _take_cost_s(books, take, function.key) >= _turn_in_s(books, request, 0):
            return options.Wait()
    forks: options.Forks = ()
    if take is None or take.start_kind is JOINED:
        forks = _forks(books, record)
    take, costs_s = _soonest(books, record, take, forks)
    if waits:
        if (
            take is None
            and request.waits_for_template
            and any(_template_free_in_s(books, record, fork) < math.inf for fork in forks)
        ):
            return options.Wait()
        request.patient_until = books.at  # the wait is over: its container is free, or waiting no longer pays
    if (
        may_wait
        and request.patient_until == 0.0
        and (
            _waits_for_resident(books, request, ahead, costs_s)
            or (take is None and _waits_for_template(books, request, record, costs_s, forks))
        )
    ):
        return options.Wait()
    if take is None:
        take = options.own(pool, function, _care(books, record))
    if take is not None:
        return take
    if (container := options.prewarming(pool, function)) is not None:
        return options.Await(container)
    if starved is not None:
        return options.Create() if _starved_can_spare(books, function, starved) else options.Wait()
    choice = options.elsewhere(
        pool, function, _loss(books, record), books.eviction_order, forks, care=_care(books, record)
    )
    return options.Wait() if isinstance(choice, options.MakeRoom) and not may_wait else choice


def _starved_can_spare(books: Books, function: Function, starved: Request) -> bool:
    """Whether a function may use free memory although the request `starved` waits for more memory than is free.

    It may if the starved request does not need this memory: it gets enough as soon as one of the running calls ends.
    """
    free_bytes = books.pool.ledger.free_bytes
    if free_bytes < function.memory_bytes:
        return False
    needs_bytes = books.functions[starved.function].function.memory_bytes
    needs_bytes -= free_bytes - function.memory_bytes + books.pool.stopping_bytes
    return any(c.state is BUSY and c.limit_bytes >= needs_bytes for c in books.pool.containers.values())


def _soonest(
    books: Books, record: FunctionRecord, take: options.Take | None, forks: options.Forks
) -> tuple[options.Take | None, float]:
    """Choose between an idle container that has the function (`take`) and one that has a template of it.

    Returns the better one and the seconds that it is expected to cost. If there is neither, it returns None and the
    seconds of a start without a template.
    """
    costs_s = math.inf if take is None else _take_cost_s(books, take, record.function.key)
    loss, care = _loss(books, record), _care(books, record)
    for fork in forks:
        there = options.with_template(books.pool, record.function, loss, fork, forks, care=care)
        if there is None:
            continue
        # The load of a joined call may be one without a template. Forking elsewhere is often done sooner than that.
        start_s = _start_s(books, record, fork.source)
        if take is None or start_s + loss(there.container, fork) < costs_s:
            return there, start_s
    return take, _start_s(books, record, FROM_NOTHING) if take is None else costs_s


def _forks(books: Books, record: FunctionRecord) -> options.Forks:
    """The templates that a function may be forked from, its own first."""
    forks: list[options.Fork] = []
    key, functions = record.function.key, books.functions
    own, library = record.own_template, record.template
    if own is not None and own in books.pool.copies:
        # Where a library template is at hand, that is the next best choice.
        otherwise = FROM_NOTHING if library is None or library not in books.pool.forkable else FROM_LIBRARIES
        saves_s = functions.load_s(key, otherwise) - functions.load_s(key, FROM_FUNCTION)
        forks.append(_fork(books, key, own, FROM_FUNCTION, max(0.0, saves_s)))
    if library is not None:
        saves_s = functions.templates[library].profile.library_s
        forks.append(_fork(books, key, library, FROM_LIBRARIES, saves_s))
    forks.append(_fork(books, key, None, FROM_NOTHING, 0.0))
    return forks


def _fork(books: Books, key: FunctionKey, template: ResidentKey | None, source: Source, saves_s: float) -> options.Fork:
    return options.Fork(template, source, saves_s, books.functions.estimate_bytes(key, source))


def _loss(books: Books, record: FunctionRecord) -> options.Loss:
    forked_from = record.forked_from

    def loss(container: Container, fork: options.Fork) -> float:
        return books.takeover_loss_s(container, fork.needs_bytes, forked_from)

    return loss


def _care(books: Books, record: FunctionRecord) -> options.Care:
    return options.Care(lambda container: books.breaks_place(container, record), books.holds_place)


def drain_queue(books: Books) -> None:
    """Place the queued requests that can be placed, in the order of arrival.

    The first request that waits for memory keeps the later ones from taking that memory.
    """
    _claim_memory(books)
    starved: Request | None = None

    def take(request: Request) -> bool:
        nonlocal starved
        if place(books, request, ahead=0, starved=starved):
            return True
        if starved is None and books.at >= request.patient_until:
            starved = request
        return False

    books.queue.offer(take)


def _claim_memory(books: Books) -> None:
    """Let a request that has waited too long for memory claim the busy containers whose calls end soonest.

    Such a request is also served before all others. Running calls go on. As long as one of the calls that ran when the
    containers were claimed still runs, the memory of the others would be of no use, so they go on serving. From then on
    each of them is stopped as soon as it is idle. So the request waits for at most one further call of each.
    """
    request = books.starved
    if request is None or books.at < books.claims_at(request):
        books.claims.clear()
        if request is not None:
            books.timers.arm(books.claims_at(request), "claim")
        return
    if any(claim.request != request.activation for claim in books.claims.values()):
        books.claims.clear()
    if place(books, request, ahead=0, starved=None):
        books.queue.remove(request)
        books.claims.clear()
        return
    function, pool = books.functions[request.function].function, books.pool
    if all(pool.containers[id_].running != claim.after for id_, claim in books.claims.items()):
        for id_ in [id_ for id_ in books.claims if id_ in pool.idle]:
            waited_s = books.at - request.arrived_at
            books.stop(pool.idle[id_], f"room for {function.key}, which has waited for {waited_s:.0f} s")
    idle_bytes = sum(container.limit_bytes for container in pool.idle.values())
    missing = function.memory_bytes - pool.ledger.free_bytes - pool.stopping_bytes - idle_bytes
    missing -= sum(pool.containers[id_].limit_bytes for id_ in books.claims if id_ not in pool.idle)
    if missing <= 0:
        return
    busy = [
        (_done_in_s(books, running), c.id, c, running) for c, running in _serving(books) if c.id not in books.claims
    ]
    claims: dict[ContainerId, Claim] = {}
    claimed: list[Container] = []
    for _, id_, container, running in sorted(busy, key=lambda each: each[:2]):
        claims[id_] = Claim(request.activation, after=running.activation)
        claimed.append(container)
        missing -= container.limit_bytes
        if missing <= 0:
            break
    if missing > 0:
        return  # a container that is still being created is needed, too; it can be claimed once it runs its call
    for container in options.without_surplus(claimed, -missing):
        books.claims[container.id] = claims[container.id]


def _serving(books: Books) -> Iterator[tuple[Container, Request]]:
    """The containers that run a call, each with that call's request."""
    for container in books.pool.containers.values():
        if container.state is BUSY and container.running is not None:
            yield container, books.requests[container.running]


def _start_s(books: Books, record: FunctionRecord, source: Source) -> float:
    """Expected seconds of a start that loads the function, including the creation of a container if one is needed."""
    start_s = books.functions.load_s(record.function.key, source)
    if source is FROM_NOTHING and _would_create(books, record.function):
        start_s += books.container_start_s
    return start_s


def _would_create(books: Books, function: Function) -> bool:
    """Whether a call that finds neither its function nor its template would lead to a new container."""
    if function.key in books.pool.owned or options.kept_for_nobody(books.pool, function) is not None:
        return False
    return books.pool.ledger.free_bytes >= function.memory_bytes


def _take_cost_s(books: Books, take: options.Take, key: FunctionKey) -> float:
    """Expected seconds that it costs to take a container that has the function.

    These are the worth of the other residents, which the call ends, and the rest of the load if it is under way.
    """
    container = take.container
    costs_s = options.neighbours_worth_s(container, key, books.worth_s)
    if take.start_kind is JOINED:
        took_s = books.at - container.residents[key].since
        costs_s += max(0.0, books.functions.load_s(key, books.source_in(container, key)) - took_s)
    return costs_s


def _waits_for_resident(books: Books, request: Request, ahead: int, start_s: float) -> bool:
    """Let the request wait if a busy container with its function is expected to be free before a start is done.

    `start_s` is what a start costs. Returns whether the request waits.
    """
    if not books.settings.retain or request.function not in books.pool.by_function:
        return False
    if _turn_in_s(books, request, ahead) >= start_s:
        return False
    _wait_at_most(books, request, start_s)
    return True


def _wait_at_most(books: Books, request: Request, seconds: float) -> None:
    """Let the request wait for a busy container, for no longer than the alternative takes.

    The expected end of the running call may be wrong, or unknown for a function that never ended. With this limit, the
    request waits at most twice as long as with the better of the two choices.
    """
    request.patient_until = books.at + seconds
    books.timers.arm(request.patient_until, f"request {request.activation}")


def _done_in_s(books: Books, running: Request) -> float:
    """Expected seconds until the call of a container is answered."""
    load_s = 0.0 if running.loaded else books.functions.load_s(running.function, running.source)
    expected_s = load_s + books.functions[running.function].profile.compute_s
    return max(0.0, running.run_at + expected_s - books.at)


def _waits_for_template(
    books: Books, request: Request, record: FunctionRecord, start_s: float, forks: options.Forks
) -> bool:
    """Let the request wait for a busy container with a template of its function, if forking there is expected to be
    sooner than a start in a new container (`start_s`). Returns whether the request waits.

    It waits only if otherwise a container would be created, all containers with the template are busy, and no other
    request waits. When several requests wait, the node needs more containers.
    """
    if books.queue or not _would_create(books, record.function):
        return False
    for fork in forks:
        if fork.template is None or fork.template in books.pool.forkable:
            continue
        free_s = _template_free_in_s(books, record, fork)
        if free_s + books.functions.load_s(record.function.key, fork.source) < start_s:
            request.waits_for_template = True
            _wait_at_most(books, request, start_s)
            return True
    return False


def _template_free_in_s(books: Books, record: FunctionRecord, fork: options.Fork) -> float:
    """Expected seconds until a busy container with this template is free; ``inf`` if there is none.

    It counts only containers whose own function is worth less than the template saves.
    """
    soonest_s = math.inf
    if fork.template is None:
        return soonest_s
    for id_ in islice(books.pool.by_function.get(fork.template, ()), options.COMPARED):
        container = books.pool.containers[id_]
        if container.state is not BUSY or not container.running:
            continue
        if fork.source is FROM_FUNCTION and not books.pool.template_in(container, fork.template):
            continue
        running = books.requests[container.running]
        if container.limit_bytes >= record.function.memory_bytes and books.worth_s(running.function) < fork.saves_s:
            soonest_s = min(soonest_s, _done_in_s(books, running))
    return soonest_s


def _turn_in_s(books: Books, request: Request, ahead: int) -> float:
    """Expected seconds until a busy container that runs the function is free for this request; ``inf`` if none does."""
    soonest_s = math.inf
    for container, _ in books.pool.residents_of(request.function):
        other = books.requests.get(container.running) if container.running is not None else None
        if other is not None and other.function == request.function and container.id not in books.claims:
            soonest_s = min(soonest_s, _done_in_s(books, other))
    return soonest_s + ahead * books.functions[request.function].profile.compute_s
