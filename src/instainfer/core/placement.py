"""Gives containers to requests, new and queued ones: it carries out the cheapest of their `options`."""

from __future__ import annotations

import math
from typing import Final

from .books import Books
from .claims import claim, renew_claims
from .lifecycle import STARTING
from .model import (
    AWAIT,
    BY_CALL,
    CREATE,
    MAKE_ROOM,
    PRELOADED,
    PREWARMED,
    TAKE,
    WAIT,
    WARM,
    EndCause,
    Option,
)
from .options import options, ready
from .requests import Request

TOLD: Final = 7
"""Options besides the choice that are kept to explain it, the cheapest ones."""


def place(books: Books, request: Request, *, ahead: int, starved: Request | None, may_wait: bool = True) -> bool:
    """Give the request a container, or begin to create one. Returns False if the request has to wait.

    The arguments are those of `options`. If `may_wait` is False, the caller refuses the request when the result is
    False.
    """
    # This is the way of most calls, so it does without options.
    if (container := ready(books, request.function)) is not None:
        request.options = ()
        resident = container.residents[request.function]
        books.run(request, container, WARM if resident.origin is BY_CALL else PRELOADED)
        return True
    found = options(books, request, ahead=ahead, starved=starved, may_wait=may_wait)
    if not found:
        request.options = ()
        request.patient_until = min(request.patient_until, books.at)
        return False
    choice = books.guard.choose(found)
    others = sorted([option for option in found if option is not choice], key=lambda option: option.cost_s)
    request.options = (choice, *others[:TOLD])
    if choice.action is WAIT:
        _wait(books, request, choice, found)
        return False
    # The wait is over: its container is idle, or waiting no longer pays.
    request.patient_until = min(request.patient_until, books.at)
    return _follow(books, request, choice)


def _follow(books: Books, request: Request, choice: Option) -> bool:
    function, pool = books.functions[request.function].function, books.pool
    if choice.action is TAKE and choice.container is not None:
        books.run(request, pool.containers[choice.container], choice.start_kind or PREWARMED)
    elif choice.action is AWAIT and choice.container is not None:
        books.wait_for(pool.containers[choice.container], request)
    elif choice.action is CREATE:
        books.create(function, request, f"no container can take {function.key}")
    elif choice.action is MAKE_ROOM:
        for id_ in choice.stops:
            books.guard.evicted(pool.idle[id_].as_kept())
            books.stop(pool.idle[id_], f"room for {function.key}", EndCause.ROOM)
        return False
    return True


def _wait(books: Books, request: Request, choice: Option, found: list[Option]) -> None:
    """Let the request wait for a busy container, for no longer than the best alternative takes.

    The expected end of the running call may be wrong, or unknown for a function that never ended. With this limit, the
    request waits at most twice as long as with the better of the two choices. There is no limit while the container is
    being created or loads the function, since another load that began now would hardly end sooner.
    """
    container = books.pool.containers[choice.container or ""]
    running = books.requests.get(container.running) if container.running is not None else None
    if container.state is STARTING or (running is not None and not running.loaded):
        request.patient_until = math.inf
        return
    if 0.0 < request.patient_until < math.inf:
        return
    otherwise_s = books.container_start_s + books.functions.load_s(request.function)
    costs_s = [option.cost_s for option in found if option.action is not WAIT]
    request.patient_until = books.at + min(costs_s, default=otherwise_s)
    books.timers.arm(request.patient_until, f"request {request.activation}")


def drain_queue(books: Books) -> None:
    """Place the queued requests that can be placed, in the order of arrival.

    The first request that waits for memory keeps the later ones from taking that memory.
    """
    overdue = renew_claims(books)
    if overdue is not None:  # it is served before all others
        if place(books, overdue, ahead=0, starved=None):
            books.queue.remove(overdue)
            books.claims.clear()
        else:
            claim(books, overdue)
    starved: Request | None = None

    def take(request: Request) -> bool:
        nonlocal starved
        if place(books, request, ahead=0, starved=starved):
            return True
        if starved is None and books.at >= request.patient_until:
            starved = request
        return False

    books.queue.offer(take)
