"""Which container takes a request: reads the pool, changes nothing.

In the order of the words for start kinds: a container whose function is *warm* or *preloaded*, one in which it is
still loading (*joined*), the function's own idle container, or one that is being created for it (*prewarmed*), a new
container (*cold*), the idle container
that another function would miss least (*prewarmed* too); else room is made by stopping idle containers, or the request
waits. Before any of these but its function's own warm container, it waits for a busy container that has the function,
if that is expected to be sooner: a second copy of a model costs seconds and memory, a place in its queue often
milliseconds, and so do those who would have to end for a copy in their container.

Where a container holds a *template* of the function's environment, only the function's own part has to be loaded
(*templated*): its own container is taken then, or another's if that loses less than the template saves. If those are
busy, it waits for one where that is expected to be sooner than a start in a new container. Where a function is too
large to fit beside the other templates of a container, these count among what is lost (ADR 17).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from .lifecycle import IDLE, LOADED, LOADING, UNLOADING
from .model import (
    BY_CALL,
    JOINED,
    PRELOADED,
    PREWARMED,
    TEMPLATED,
    WARM,
    Function,
    FunctionKey,
    Origin,
    ResidentKey,
    StartKind,
)
from .pool import Container, Pool
from .ports import KeptContainer
from .values import value

#: Seconds that a resident is worth, by its key.
Worth: TypeAlias = Callable[[ResidentKey], float]

#: Seconds that a call of a function which is not there would cost a container's residents.
Loss: TypeAlias = Callable[[Container], float]

#: How many containers are compared, the longest idle first, so that a call costs the same on a node with thousands.
COMPARED = 64
#: How many of those with a template. More are worse: there a miss is cheap, and of a hundred containers the one that
#: looks cheapest was often used a moment ago.
COMPARED_TEMPLATES = 16


@value(frozen=True, slots=True)
class Take:
    """Run it in this idle container."""

    container: Container
    start_kind: StartKind


@value(frozen=True, slots=True)
class Await:
    """Take this container, which is being created for its function and for no call."""

    container: Container


@value(frozen=True, slots=True)
class Create:
    """Create a container for it."""


@value(frozen=True, slots=True)
class MakeRoom:
    """Stop these idle containers; there is room for a new one when they are gone."""

    containers: tuple[Container, ...]


@value(frozen=True, slots=True)
class Wait:
    """Nothing can take it now."""


Choice: TypeAlias = Take | Await | Create | MakeRoom | Wait


def holding(pool: Pool, function: Function, worth: Worth) -> Take | None:
    """An idle container in which the function is loaded, or else loading; of several, the one with least to lose."""
    places = pool.by_function.get(function.key)
    if places is None:
        return None
    best: tuple[bool, float, Container, Origin] | None = None
    for id_, resident in places.items():
        container = pool.containers[id_]
        if container.state is not IDLE or container.limit_bytes < function.memory_bytes:
            continue
        if resident.state not in (LOADED, LOADING):
            continue
        # What the others are worth matters only where there is a choice.
        loses_s = neighbours_worth_s(container, function.key, worth) if len(places) > 1 else 0.0
        key = (resident.state is LOADING, loses_s)
        if best is None or key < best[:2]:
            best = (*key, container, resident.origin)
    if best is None:
        return None
    loading, _, container, origin = best
    if loading:
        return Take(container, JOINED)
    return Take(container, WARM if origin is BY_CALL else PRELOADED)


def own(pool: Pool, function: Function) -> Take | None:
    """An idle container kept for this function, the one used last, in which it is not resident."""
    for container in reversed(pool.owned.get(function.key, {}).values()):
        if usable(container, function):
            return Take(container, PREWARMED)
    return None


@value(frozen=True, slots=True)
class Fork:
    """A function may be forked from a template."""

    template: ResidentKey
    saves_s: float
    """Seconds of importing that this saves."""
    fork_bytes: int
    """What the function is expected to take beside it."""
    template_worth_s: float
    """What this template is worth in one container, as in `Container.templates_worth_s`."""


def templated(pool: Pool, function: Function, loss: Loss, fork: Fork, at: float) -> Take | None:
    """An idle container with the function's template: its own, or the one with least to lose.

    Another's container is taken only if it loses less than the template saves.
    """
    places = pool.forkable.get(fork.template)
    if places is None:
        return None
    mine = [c for c in pool.owned.get(function.key, {}).values() if c.id in places and usable(c, function)]
    if mine:
        return Take(min(mine, key=lambda container: _cost_s(container, loss, fork)), TEMPLATED)
    best: Container | None = None
    least_s = fork.saves_s
    key, needs_bytes = function.key, function.memory_bytes
    for container in islice(places.values(), COMPARED_TEMPLATES):
        # `usable` and `_cost_s`, and most losses are known: spelt out, since every miss looks at many. A template's key
        # names its namespace.
        if container.limit_bytes < needs_bytes or key in container.residents:
            continue
        lost_s = container.takeover_loss_s if at < container.loss_valid_until else loss(container)
        if container.templates_bytes + fork.fork_bytes > container.limit_bytes:
            lost_s += container.templates_worth_s - fork.template_worth_s
        if lost_s < least_s:
            best, least_s = container, lost_s
            if lost_s <= 0.0:
                break
    return None if best is None else Take(best, TEMPLATED)


def elsewhere(
    pool: Pool,
    function: Function,
    loss: Loss,
    order: Callable[[Sequence[KeptContainer]], Sequence[KeptContainer]],
    fork: Fork | None,
) -> Choice:
    """A new container, another's, or room for a new one."""
    if _is_leaving(pool, function):
        return Wait()
    if free := kept_for_nobody(pool, function):
        return _take(pool, free, fork)
    if pool.ledger.free_bytes >= function.memory_bytes:
        return Create()
    kept = order([container.as_kept() for container in pool.idle.values()])
    takeable = list(islice((c for c in _idle(pool, kept) if usable(c, function)), COMPARED))
    if takeable:
        # min() keeps the first of equals, hence the policy's order where nothing tells containers apart.
        return _take(pool, min(takeable, key=lambda container: _cost_s(container, loss, fork)), fork)
    return make_room(pool, function, _idle(pool, kept))


def _idle(pool: Pool, kept: Iterable[KeptContainer]) -> Iterator[Container]:
    return (pool.idle[each.id] for each in kept)


def prewarming(pool: Pool, function: Function) -> Container | None:
    """A container that is being created for the function ahead of any call."""
    return next(
        (c for c in pool.prewarming.get(function.key, {}).values() if c.limit_bytes >= function.memory_bytes), None
    )


def kept_for_nobody(pool: Pool, function: Function) -> Container | None:
    """An idle container that is kept for no function, in which it is not resident."""
    unowned = pool.unowned.get(function.namespace, {})
    return next((c for c in unowned.values() if usable(c, function)), None)


def _cost_s(container: Container, loss: Loss, fork: Fork | None) -> float:
    """Seconds that a container's residents lose when it is taken, less what its template saves."""
    cost_s = loss(container)
    if fork is None:
        return cost_s
    template = container.residents.get(fork.template)
    if template is None or template.state is not LOADED:
        return cost_s
    if container.templates_bytes + fork.fork_bytes > container.limit_bytes:
        cost_s += container.templates_worth_s - fork.template_worth_s  # the other templates would have to go
    return cost_s - fork.saves_s


def _is_leaving(pool: Pool, function: Function) -> bool:
    """Whether it is just being ended in an idle container, which can take it in a moment: sooner than any other."""
    return any(
        resident.state is UNLOADING
        and pool.containers[id_].state is IDLE
        and pool.containers[id_].limit_bytes >= function.memory_bytes
        for id_, resident in pool.by_function.get(function.key, {}).items()
    )


def _take(pool: Pool, container: Container, fork: Fork | None) -> Take:
    forks = fork is not None and pool.template_in(container, fork.template)
    return Take(container, TEMPLATED if forks else PREWARMED)


def make_room(pool: Pool, function: Function, victims: Iterable[Container]) -> Choice:
    """Stop idle containers, in the policy's order, until the function fits; nothing if that is not enough, and none
    without which it would fit as well."""
    missing = function.memory_bytes - pool.ledger.free_bytes - pool.stopping_bytes
    stopped: list[Container] = []
    for container in victims:
        if missing <= 0:
            break
        stopped.append(container)
        missing -= container.limit_bytes
    if not stopped or missing > 0:
        return Wait()
    return MakeRoom(tuple(without_surplus(stopped, -missing)))


def without_surplus(containers: Iterable[Container], surplus_bytes: int) -> list[Container]:
    """Those of them that are enough when together they are so much more than what is needed."""
    needed: list[Container] = []
    for container in containers:
        if container.limit_bytes <= surplus_bytes:
            surplus_bytes -= container.limit_bytes
        else:
            needed.append(container)
    return needed


def usable(container: Container, function: Function) -> bool:
    """Whether an idle container may run a function of which it holds nothing."""
    return (
        container.namespace == function.namespace
        and container.limit_bytes >= function.memory_bytes
        and function.key not in container.residents
    )


def neighbours_worth_s(container: Container, function: FunctionKey, worth: Worth) -> float:
    """Seconds that running `function` here is expected to cost the container's other residents."""
    return sum(
        worth(r.function)
        for r in container.residents.values()
        if r.function != function and not r.is_template and r.state is not UNLOADING
    )
