"""Who gets which container: new requests and queued ones."""

from __future__ import annotations

from . import choose
from .books import Books
from .known import Known
from .model import JOINED, FunctionKey
from .requests import Request


def place(books: Books, request: Request, *, may_take_memory: bool) -> bool:
    """Give the request a container, or begin to make one; False if it has to wait."""
    function = books.functions[request.function].function
    choice = _choice(books, request, may_take_memory=may_take_memory)
    if isinstance(choice, choose.Take):
        books.run(request, choice.container, choice.start_kind)
        return True
    if isinstance(choice, choose.Create):
        books.create(function, request, f"no container can take {function.key}")
        return True
    if isinstance(choice, choose.MakeRoom):
        for container in choice.containers:
            books.policies.keepalive.evicted(container)
            books.stop(container, f"room for {function.key}")
    return False


def _choice(books: Books, request: Request, *, may_take_memory: bool) -> choose.Choice:
    known = books.functions[request.function]
    function, pool = known.function, books.pool
    take = choose.holding(pool, function, books.worth)
    if take is not None and take.start_kind is not JOINED and take.container.owner == function.key:
        return take
    if books.at < request.patient_until:
        if function.key in pool.by_function:
            return choose.Wait()
        request.patient_until = books.at  # what it waited for is no longer there
    fork = None
    if take is not None:
        costs_s = _costs_s(books, take, function.key)
    else:
        fork = _fork(books, known)
        take = choose.templated(pool, function, books.loss, fork, books.at) if fork is not None else None
        costs_s = _start_s(books, known, forked=take is not None)
    if request.patient_until == 0.0 and _is_patient(books, request, known, costs_s):
        return choose.Wait()
    if take is None:
        take = choose.own(pool, function)
    if take is not None:
        return take
    if not may_take_memory:
        return choose.Wait()
    return choose.elsewhere(pool, function, books.loss, books.policies.keepalive.eviction_order, fork)


def _fork(books: Books, known: Known) -> choose.Fork | None:
    if known.template is None:
        return None
    return choose.Fork(known.template, books.functions.templates[known.template].profile.library_s)


def drain_queue(books: Books) -> None:
    """Place what can be placed, in the order of arrival; the first that waits for memory keeps others off it."""
    waiting: list[Request] = []
    hopeless: set[FunctionKey] = set()
    starved: Request | None = None
    while books.queue:
        request = books.queue.popleft()
        if request.function not in hopeless and place(books, request, may_take_memory=starved is None):
            continue
        waiting.append(request)
        hopeless.add(request.function)
        if starved is None and books.at >= request.patient_until:
            starved = request
        if starved is not None and (books.overdue(starved) or not books.pool.idle):
            break
    books.queue.extendleft(reversed(waiting))


def _start_s(books: Books, known: Known, *, forked: bool) -> float:
    """Expected seconds of a new start."""
    start_s = books.functions.load_s(known.function.key, forked=forked)
    if not forked and books.pool.ledger.free_bytes >= known.function.memory_bytes:
        start_s += books.container_start_s
    return start_s


def _costs_s(books: Books, take: choose.Take, key: FunctionKey) -> float:
    """Expected seconds that it costs to take a container in which a function is: those whom the call ends there, and
    the call itself if the load is still under way."""
    container = take.container
    costs_s = choose.others_s(container, key, books.worth)
    if take.start_kind is JOINED:
        forked = books.pool.template_in(container, books.functions[key].template)
        took_s = books.at - container.residents[key].since
        costs_s += max(0.0, books.functions.load_s(key, forked=forked) - took_s)
    return costs_s


def _is_patient(books: Books, request: Request, known: Known, start_s: float) -> bool:
    """Whether a busy container that has the function is expected to be free before `start_s`, which a start costs."""
    if not books.settings.retain or request.function not in books.pool.by_function:
        return False
    if _turn_in(books, request, known.profile.compute_s) >= start_s:
        return False
    # The expectation may be wrong, and of a function that never ended there is none. Waiting no longer than the
    # alternative takes costs at most twice the better of the two.
    request.patient_until = books.at + start_s
    books.wakes.arm(request.patient_until, f"request {request.activation}")
    return True


def _turn_in(books: Books, request: Request, compute_s: float) -> float:
    """Expected seconds until a container that has the function, or is getting it, is free for this request."""
    soonest = float("inf")
    for container, _ in books.pool.residents_of(request.function):
        other = books.requests.get(container.running) if container.running is not None else None
        if other is not None and other.function == request.function:
            load_s = 0.0 if other.loaded else books.functions.load_s(request.function, forked=other.forks)
            expected_s = load_s + compute_s
            soonest = min(soonest, max(0.0, other.run_at + expected_s - books.at))
    ahead = sum(other.function == request.function and other is not request for other in books.queue)
    return soonest + ahead * compute_s
