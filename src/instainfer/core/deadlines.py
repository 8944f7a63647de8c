"""What happens when a deadline of a node has come: containers end, are shared, created or given up."""

from __future__ import annotations

import math

from .books import Books
from .lifecycle import BUSY, IDLE, STOPPING
from .model import EndCause, Failure, FailureKind, FunctionKey
from .pool import Container


def deadlines_passed(books: Books, at: float) -> None:
    """Look at everything whose deadline has come."""
    for name in books.timers.fired(at):
        what, _, key = name.partition(" ")
        if what == "request":
            books.retry_queue = books.retry_queue or key in books.requests
        elif what == "claim":
            books.retry_queue = True
        elif what == "answer":
            if key in books.pool.containers:
                _check_answer_overdue(books, books.pool.containers[key])
        elif what == "due":
            if key in books.functions:
                books.pool.new_candidates[key] = None
                books.opportunity = True
        elif what == "prewarm":
            _prewarm(books, key, at)
        elif what == "loads":
            books.opportunity = True
        elif (container := books.pool.idle.get(key)) is not None:
            _look_at_idle(books, container, at)
    if books.timers.plan_at is not None and books.timers.plan_at <= at:
        books.timers.plan_at = None
        books.opportunity = True


def look_at_overdue(books: Books) -> None:
    """Look again at the containers whose time is over, and that stayed because of places that were wanted."""
    for id_ in list(books.overdue):
        container = books.pool.idle.get(id_)
        if container is None or not books.holds_place(container):
            del books.overdue[id_]
            if container is not None:
                _look_at_idle(books, container, books.at)


def _look_at_idle(books: Books, container: Container, at: float) -> None:
    """Stop or share an idle container if the time that keep-alive set for that has come."""
    is_over = container.expires_at <= at
    if is_over:
        container.stays = False
    if (is_over or (container.owner is not None and container.shared_at <= at)) and books.holds_place(container):
        books.overdue[container.id] = None
        return
    if is_over:
        books.stop(container, "it was idle for as long as keep-alive allows", EndCause.EXPIRED)
        return
    if container.owner is not None and container.shared_at <= at:
        books.share(container)
    due = container.expires_at if container.owner is None else min(container.expires_at, container.shared_at)
    if due < math.inf:
        books.timers.arm(due, f"container {container.id}")


def _prewarm(books: Books, key: FunctionKey, at: float) -> None:
    """Create a container for a function ahead of its next call, unless it has one or there is no free memory."""
    due = books.prewarm_at.get(key)
    if due is not None and due > at:
        books.timers.arm(due, f"prewarm {key}")
        return
    books.prewarm_at.pop(key, None)
    record = books.functions.get(key)
    if record is None or record.removed or books.draining or books.queue:
        return
    has_one = any(c.owner == key and c.state is not STOPPING for c in books.pool.containers.values())
    if not has_one and record.function.memory_bytes <= books.pool.ledger.free_bytes:
        books.create(record.function, None, f"pre-warmed for {key}")


def _check_answer_overdue(books: Books, container: Container) -> None:
    """Give up a container whose report is overdue, since its manager is stuck.

    Its call is answered now. Its memory becomes free only when its end is reported, as always.
    """
    if container.state not in (IDLE, BUSY):
        return
    due_at = books.answer_due_at(container)
    if due_at > books.at:
        if due_at < math.inf:
            books.timers.arm(due_at, container.answer_timer)
        return
    text = f"its container gave no sign for {books.settings.answer_grace_s:g} s beyond the time limit and was ended"
    if container.running is not None:
        request = books.requests[container.running]
        container.running = None
        books.reply(request, 0.0, Failure(FailureKind.CONTAINER_LOST, f"the activation was given up: {text}"))
    books.stop(container, text, EndCause.SILENT)
