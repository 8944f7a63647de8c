"""Asks the pre-loading policy for a plan, and follows the plan as far as the books allow."""

from __future__ import annotations

from typing import Final

from .books import Books
from .decisions import Load
from .lifecycle import LOADED, UNLOADING
from .model import (
    BY_PRELOAD,
    EndCause,
    Function,
    FunctionKey,
    ResidentKey,
    is_function_template,
    is_template,
    templated_function,
)
from .options import to_stop
from .plan_scope import Scope
from .pool import Container
from .ports import NodeView, SuggestCreate, SuggestLoad, SuggestOffload
from .state import Promise
from .views import container_view

RETRY_S: Final = 10.0
"""Seconds until the policy is asked again at the latest, after it gave no plan."""


def preload(books: Books) -> None:
    """Ask the policy which residents should be where, and follow its suggestions if the books allow it.

    While the allowed number of loads is under way, `Books.opportunity` stays set, so that this function is called again
    after the next event. The same holds while `loads_may_begin` forbids loads.
    """
    if books.promises:
        keep_promises(books)
    slots = books.settings.max_loads - books.pool.loading - len(books.promises)
    if slots <= 0:
        return
    books.opportunity = False
    books.put_off_until = None  # the next load may be put off for the full time again
    spare_bytes = _spare_bytes(books)
    if not books.pool.idle and not spare_bytes:
        return
    for key in books.functions.lacking(books.pool):
        books.pool.new_candidates[key] = None  # each plan tries them anew
    scope = books.plan_scope.next(books.functions, books.pool, books.at, may_create=spare_bytes > 0)
    if not scope.containers and not scope.candidates:
        return
    plan = books.guard.plan(_view(books, scope, slots, spare_bytes))
    if plan is None:
        for record in books.functions.values():
            books.mend_forecast(record)
        books.timers.plan_at = books.at + RETRY_S
        return
    put_off: list[FunctionKey] = []
    for suggestion in plan.suggestions:
        if isinstance(suggestion, SuggestCreate):
            rejection = _follow_create(books, suggestion)
        elif isinstance(suggestion, SuggestOffload):
            rejection = _follow_offload(books, suggestion)
        else:
            rejection = _follow_load(books, suggestion)
            if rejection is not None and (function := _function_of(suggestion.function)) is not None:
                put_off.append(function)
        if rejection is not None:
            where = "" if isinstance(suggestion, SuggestCreate) else f" in {suggestion.container}"
            books.notes.append(f"{suggestion.function}{where}: {rejection}")
    books.plan_scope.note_plan(scope, plan, put_off)
    books.timers.plan_at = books.plan_scope.thorough_at
    for when, key in plan.later:
        books.timers.arm(when, f"due {key}")


def _view(books: Books, scope: Scope, slots: int, spare_bytes: int) -> NodeView:
    pool = books.pool
    return NodeView(
        books.at,
        tuple([container_view(container, pool) for container in scope.containers]),
        scope.candidates,
        books.known,
        slots,
        lambda container: books.contents(pool.containers[container.id]),
        books.functions.first_calls.rate(books.at),
        scope.thorough,
        tuple([container_view(container, pool) for container in scope.others]),
        spare_bytes,
        books.guard.spends,
        scope.waiting,
    )


def _spare_bytes(books: Books) -> int:
    """Memory in which a container may be created ahead of calls: one at a time, and none while calls wait."""
    return max(0, books.pool.ledger.free_bytes) if _may_create(books) else 0


def _may_create(books: Books) -> bool:
    return not books.queue and not books.pool.prewarming and books.at >= books.create_again_at


def _function_of(key: ResidentKey) -> FunctionKey | None:
    """The function that a load is for. None for a library template."""
    if is_function_template(key):
        return templated_function(key)
    return None if is_template(key) else key


def loads_may_begin(books: Books) -> bool:
    """Whether loads that no call asks for may begin now.

    They must not slow down calls. So none begins while a request waits for memory, and while many calls run, they are
    put off for a short time.
    """
    if books.draining or (books.queue and books.starved is not None):
        return False
    return books.settings.calls_beside is None or not _put_off(books, books.settings.calls_beside)


def _put_off(books: Books, calls_beside: int) -> bool:
    """Whether pre-loads are put off now, because more than `calls_beside` calls are running.

    They are put off for a limited time only, because on a busy node there are always calls running.
    """
    if books.pool.busy <= calls_beside:
        books.put_off_until = None
        return False
    if books.put_off_until is None:
        books.put_off_until = books.at + books.settings.put_off_s
    if books.at >= books.put_off_until:
        return False
    # Arm the timer each time: an older, earlier deadline of the same name may fire first and use the name up.
    books.timers.arm(books.put_off_until, "loads")
    return True


def keep_promises(books: Books) -> None:
    """Begin the loads whose room is free now. A call that takes the container meanwhile cancels the load (`Books.run`).

    The policy is not asked again. With the room free, it might prefer the function that has just been ended there, and
    after that load change its mind again.
    """
    for id_, promise in list(books.promises.items()):
        container = books.pool.idle.get(id_)
        # The container is None here if it is not idle any longer; this includes one that is being stopped.
        if container is None or _housing_of(books, promise.function) is None:
            del books.promises[id_]
        elif books.pool.ledger.free_in(id_) >= books.estimate_in(container, promise.function):
            del books.promises[id_]
            if promise.function not in container.residents:
                begin_load(books, container, promise.function, promise.reason)
        elif books.pool.freeing_in(container) == 0:
            del books.promises[id_]  # the victims have ended and freed less memory than needed


def begin_load(books: Books, container: Container, key: ResidentKey, reason: str) -> None:
    books.add_resident(container, key, BY_PRELOAD, reason)
    proves = False
    if is_function_template(key):
        books.functions.template_begun(key, books.at)
        books.preloads.templates += 1
        proves = books.functions[templated_function(key)].verdict is None
    else:
        books.preloads.started += 1
    books.out.append(Load(container.id, key, reason, proves))


def _follow_create(books: Books, suggestion: SuggestCreate) -> str | None:
    """Create a container. Returns why that was not possible, or None."""
    record = books.functions.get(suggestion.function)
    if record is None or record.removed:
        return "no container is created: the function is gone"
    wanted = books.functions.is_lacking(suggestion.function, books.pool)
    if not wanted and not books.guard.spends(record.function.namespace):
        return "no container is created: the keep-alive policy does not spend memory"
    if record.function.memory_bytes > _spare_bytes(books):
        if wanted and _may_create(books):
            return _make_room(books, record.function)
        return "no container is created: there is not enough free memory"
    books.create(record.function, None, suggestion.reason)
    return None


def _make_room(books: Books, function: Function) -> str:
    """Stop idle containers that hold no place which is wanted, so that a place of a function can be made."""
    kept = books.eviction_order([container.as_kept() for container in books.pool.idle.values()])
    idle = [books.pool.idle[each.id] for each in kept]
    stopped = to_stop(books.pool, function, [each for each in idle if not books.holds_place(each)])
    if not stopped:
        return "no container is created: the memory is in use, or there will be enough in a moment"
    for container in stopped:
        books.guard.evicted(container.as_kept())
        books.stop(container, f"room for a place of {function.key}", EndCause.ROOM)
    return "a container is created when there is room for it"


def _follow_offload(books: Books, suggestion: SuggestOffload) -> str | None:
    """End the resident. Returns why that was not possible, or None."""
    container = books.pool.idle.get(suggestion.container)
    resident = container.residents.get(suggestion.function) if container is not None else None
    if resident is None or resident.state is UNLOADING:
        return "not off-loaded: it is not there"
    books.offload(resident, suggestion.reason, EndCause.POLICY)
    return None


def _follow_load(books: Books, suggestion: SuggestLoad) -> str | None:
    """Load now if there is room now. Otherwise end the victims and note a `Promise`.

    Returns why the load did not begin, or None if it did.
    """
    container = books.pool.idle.get(suggestion.container)
    housing = _housing_of(books, suggestion.function)
    if container is None or housing is None:
        return "not loaded: the container is not idle or the function is gone"
    if container.housing != housing or suggestion.function in container.residents:
        return "not loaded: it must not be there, or is there already"
    function = _function_of(suggestion.function)
    if function is not None and container.limit_bytes < books.functions[function].function.memory_bytes:
        return "not loaded: its calls need a larger container"
    if books.pool.loading + len(books.promises) >= books.settings.max_loads:
        return "not loaded: enough is being loaded"
    if container.id in books.promises:
        return f"not loaded: the room is made for {books.promises[container.id].function}"
    need_bytes = books.estimate_in(container, suggestion.function)
    if books.pool.ledger.free_in(container.id) >= need_bytes:
        begin_load(books, container, suggestion.function, suggestion.reason)
        return None
    victims = [container.residents.get(key) for key in suggestion.victims]
    going = [v for v in victims if v is not None and v.state is LOADED]
    if len(going) < len(victims):
        return "not loaded: somebody it would displace is not there any longer"
    freed = books.pool.freeing_in(container) + sum(
        books.pool.ledger.charged(container.id, victim.function) for victim in going
    )
    if books.pool.ledger.free_in(container.id) + freed < need_bytes:
        return f"not loaded: {need_bytes} bytes would not fit even without those it would displace"
    for victim in going:
        reason = f"displaced by {suggestion.function}: {suggestion.reason}"
        books.offload(victim, reason, EndCause.ROOM)
    books.promises[container.id] = Promise(suggestion.function, suggestion.reason)
    return "waits until the memory of others is free"


def _housing_of(books: Books, key: ResidentKey) -> str | None:
    """The housing of a function or a template. None if it can no longer be loaded."""
    if is_template(key):
        template = books.functions.templates.get(key)
        if template is None or not template.users:
            return None
        if is_function_template(key) and (
            template.load_failure is not None or books.functions[template.users[0]].removed
        ):
            return None
        return template.housing
    record = books.functions.get(key)
    return None if record is None or record.removed else record.function.housing
