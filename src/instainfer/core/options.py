"""Finds the containers that could take a request. It reads the pool and changes nothing; `placement` makes the choice.

The choices, best first (start kinds in brackets):

1. An idle container in which the function is loaded (*warm*, *preloaded*) or is being loaded (*joined*).
2. An idle container that holds a template: the function's own, which has everything loaded (*forked*), or else the
   library template of its environment, so that only the function's own part has to be loaded (*templated*). A container
   of another function is taken only if its residents lose less than the template saves. If the function does not fit
   beside the other templates of a container, these count as lost too (ADR 17).
3. The function's own idle container, or one that is being created for it (*prewarmed*).
4. An idle container that is kept for no function (*prewarmed*).
5. A new container (*cold*).
6. The idle container of another function that loses least (*prewarmed*).
7. Idle containers are stopped to make room for a new one. If that is not enough, the request waits.

Unless the function's own container is idle and warm, its request may wait for a busy container instead, if that is
expected to be sooner: for one that has the function, or for one that has a template of it. A second copy of a model
costs seconds and memory, while waiting for a running call often costs milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from .lifecycle import IDLE, LOADED, LOADING, UNLOADING
from .model import (
    BY_CALL,
    FORKED,
    FROM_FUNCTION,
    JOINED,
    PRELOADED,
    PREWARMED,
    TEMPLATED,
    WARM,
    Function,
    FunctionKey,
    Origin,
    ResidentKey,
    Source,
    StartKind,
)
from .pool import Container, Pool
from .ports import KeptContainer
from .values import value

#: Gives the worth in seconds of a resident, by its key.
Worth: TypeAlias = Callable[[ResidentKey], float]

#: Number of containers that are compared, the longest idle first, so that a call does not cost more on a node with
#: thousands of containers.
COMPARED = 64
#: The same for containers with a template. Comparing more of them was worse: a miss is cheap with a template, and of
#: a hundred containers the one that seems to lose least was often used a moment ago.
COMPARED_TEMPLATES = 16


@value(frozen=True, slots=True)
class Take:
    """Run the request in this idle container."""

    container: Container
    start_kind: StartKind


@value(frozen=True, slots=True)
class Await:
    """Give the request this container, which is being created for its function ahead of any call."""

    container: Container


@value(frozen=True, slots=True)
class Create:
    """Create a container for the request."""


@value(frozen=True, slots=True)
class MakeRoom:
    """Stop these idle containers. There is room for a new container when they are gone."""

    containers: tuple[Container, ...]


@value(frozen=True, slots=True)
class Wait:
    """Leave the request in the queue."""


Choice: TypeAlias = Take | Await | Create | MakeRoom | Wait


def holding(pool: Pool, function: Function, worth: Worth) -> Take | None:
    """An idle container in which the function is loaded, or else one in which it is being loaded.

    Of several, it is the one whose other residents are worth least.
    """
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
        # The worth of the other residents matters only if there is a choice.
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


def own(pool: Pool, function: Function, care: Care) -> Take | None:
    """An idle container that is kept for this function, in which it is not resident. The one used last."""
    for container in reversed(pool.owned.get(function.key, {}).values()):
        if usable(container, function) and not care.breaks(container):
            return Take(container, PREWARMED)
    return None


@value(frozen=True, slots=True)
class Fork:
    """What a function may be loaded from, and what that saves."""

    template: ResidentKey | None
    """None: it is loaded from nothing."""
    source: Source
    """Which kind of template it is."""
    saves_s: float
    """Seconds of loading that forking saves."""
    needs_bytes: int
    """Expected size of the function beside this template."""

    @property
    def start_kind(self) -> StartKind:
        if self.template is None:
            return PREWARMED
        return FORKED if self.source is FROM_FUNCTION else TEMPLATED


#: What a function may be loaded from, the fastest first. The last one is nothing.
Forks: TypeAlias = Sequence[Fork]


@value(frozen=True, slots=True)
class Care:
    """Tells which idle containers are spared, as long as others will do, because of places that functions want."""

    breaks: Callable[[Container], bool]
    """Whether the call that needs a container would end such a place there."""
    holds: Callable[[Container], bool]
    """Whether stopping the container would end such a place."""


#: Gives the seconds that are lost when a call of a function that is not there takes a container and loads it from this.
Loss: TypeAlias = Callable[[Container, Fork], float]


def with_template(pool: Pool, function: Function, loss: Loss, fork: Fork, forks: Forks, *, care: Care) -> Take | None:
    """An idle container with the template of `fork`: one of the function's own, or else the one that loses least.

    A container of another function is taken only if its residents lose less than the template saves.
    """
    places = pool.forkable.get(fork.template) if fork.template is not None else None
    if places is None:
        return None
    mine = [c for c in pool.owned.get(function.key, {}).values() if c.id in places and usable(c, function)]
    mine = [container for container in mine if not care.breaks(container)]
    if mine:
        return _take(min(mine, key=lambda container: loss(container, fork)), forks)
    best: Container | None = None
    least_s = fork.saves_s
    for container in islice(places.values(), COMPARED_TEMPLATES):
        if not usable(container, function):
            continue
        lost_s = loss(container, fork)
        if lost_s < least_s:
            best, least_s = container, lost_s
            if lost_s <= 0.0:
                break
    return None if best is None else _take(best, forks)


def elsewhere(
    pool: Pool,
    function: Function,
    loss: Loss,
    order: Callable[[Sequence[KeptContainer]], Sequence[KeptContainer]],
    forks: Forks,
    *,
    care: Care,
) -> Choice:
    """The last choices: a container kept for no function, a new one, another function's, or room for a new one.

    `order` sorts idle containers by the keep-alive policy's eviction order, those last that hold a place.
    """
    if _is_leaving(pool, function):
        return Wait()
    if (free := kept_for_nobody(pool, function)) and not care.breaks(free):
        return _take(free, forks)
    if pool.ledger.free_bytes >= function.memory_bytes:
        return Create()
    kept = order([container.as_kept() for container in pool.idle.values()])
    takeable = list(islice((c for c in _idle(pool, kept) if usable(c, function)), COMPARED))
    if takeable:
        # Of equal containers, min() takes the first. So the policy's order decides between them.
        best = min(takeable, key=lambda container: _cost_s(container, loss, forks))
        if care.breaks(best):
            room = make_room(pool, function, (c for c in _idle(pool, kept) if not care.holds(c)))
            if isinstance(room, MakeRoom):
                return room
        return _take(best, forks)
    return make_room(pool, function, _idle(pool, kept))


def _idle(pool: Pool, kept: Iterable[KeptContainer]) -> Iterator[Container]:
    return (pool.idle[each.id] for each in kept)


def prewarming(pool: Pool, function: Function) -> Container | None:
    """A large enough container that is being created for the function ahead of any call."""
    return next(
        (c for c in pool.prewarming.get(function.key, {}).values() if c.limit_bytes >= function.memory_bytes), None
    )


def kept_for_nobody(pool: Pool, function: Function) -> Container | None:
    """An idle container that is kept for no function, and in which this one is not resident."""
    unowned = pool.unowned.get(function.namespace, {})
    return next((c for c in unowned.values() if usable(c, function)), None)


def _fork_in(container: Container, forks: Forks) -> Fork:
    """What a function would be loaded from in a container."""
    for fork in forks[:-1]:
        template = container.residents.get(fork.template) if fork.template is not None else None
        if template is not None and template.state is LOADED:
            return fork
    return forks[-1]


def _cost_s(container: Container, loss: Loss, forks: Forks) -> float:
    """Seconds that a container's residents lose when it is taken, minus the seconds that its template saves."""
    fork = _fork_in(container, forks)
    return loss(container, fork) - fork.saves_s


def _is_leaving(pool: Pool, function: Function) -> bool:
    """Whether the function is being ended in an idle container. That container can take its call in a moment, which is
    sooner than any of the last choices."""
    return any(
        resident.state is UNLOADING
        and pool.containers[id_].state is IDLE
        and pool.containers[id_].limit_bytes >= function.memory_bytes
        for id_, resident in pool.by_function.get(function.key, {}).items()
    )


def _take(container: Container, forks: Forks) -> Take:
    return Take(container, _fork_in(container, forks).start_kind)


def make_room(pool: Pool, function: Function, victims: Iterable[Container]) -> Choice:
    """The idle containers to stop so that the function fits, taken in the given order.

    Containers that turn out not to be needed are left out. If all of them are not enough, none is stopped.
    """
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
    """Leave out containers that are not needed, where together they have `surplus_bytes` more than needed."""
    needed: list[Container] = []
    for container in containers:
        if container.limit_bytes <= surplus_bytes:
            surplus_bytes -= container.limit_bytes
        else:
            needed.append(container)
    return needed


def usable(container: Container, function: Function) -> bool:
    """Whether the function fits in this idle container and is not in it: same namespace, enough memory."""
    return (
        container.namespace == function.namespace
        and container.limit_bytes >= function.memory_bytes
        and function.key not in container.residents
    )


def neighbours_worth_s(container: Container, function: FunctionKey, worth: Worth) -> float:
    """Seconds that the other functions in a container are worth, which a call of `function` would end."""
    return sum(
        worth(r.function)
        for r in container.residents.values()
        if r.function != function and not r.is_template and r.state is not UNLOADING
    )
