"""Claims: how a request that has waited too long for memory gets that of busy containers."""

from __future__ import annotations

from collections.abc import Iterator

from .books import Books
from .lifecycle import BUSY
from .model import ContainerId, EndCause
from .options import done_in_s, without_surplus
from .pool import Container
from .requests import Request
from .state import Claim


def renew_claims(books: Books) -> Request | None:
    """Who may claim containers now, with all other claims dropped. None if nobody has waited for too long yet."""
    request = books.starved
    if request is None or books.at < books.claims_at(request):
        books.claims.clear()
        if request is not None:
            books.timers.arm(books.claims_at(request), "claim")
        return None
    if any(claim.request != request.activation for claim in books.claims.values()):
        books.claims.clear()
    return request


def claim(books: Books, request: Request) -> None:
    """Let a request claim the busy containers whose calls end soonest.

    Running calls go on. As long as one of the calls that ran when the containers were claimed still runs, the memory of
    the others would be of no use, so they go on serving. From then on each of them is stopped as soon as it is idle. So
    the request waits for at most one further call of each.
    """
    function, pool = books.functions[request.function].function, books.pool
    if all(pool.containers[id_].running != claim.after for id_, claim in books.claims.items()):
        for id_ in [id_ for id_ in books.claims if id_ in pool.idle]:
            waited_s = books.at - request.arrived_at
            reason = f"room for {function.key}, which has waited for {waited_s:.0f} s"
            books.stop(pool.idle[id_], reason, EndCause.ROOM)
    idle_bytes = sum(container.limit_bytes for container in pool.idle.values())
    missing = function.memory_bytes - pool.ledger.free_bytes - pool.stopping_bytes - idle_bytes
    missing -= sum(pool.containers[id_].limit_bytes for id_ in books.claims if id_ not in pool.idle)
    if missing <= 0:
        return
    busy = [(done_in_s(books, running), c.id, c, running) for c, running in _serving(books) if c.id not in books.claims]
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
    for container in without_surplus(claimed, -missing):
        books.claims[container.id] = claims[container.id]


def _serving(books: Books) -> Iterator[tuple[Container, Request]]:
    """The containers that run a call, each with that call's request."""
    for container in books.pool.containers.values():
        if container.state is BUSY and container.running is not None:
            yield container, books.requests[container.running]
