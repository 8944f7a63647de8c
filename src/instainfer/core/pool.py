"""The containers and residents of one node, with indexes so that a call finds its container fast.

Every change of state goes through `Pool.set_container_state` or `Pool.set_resident_state`. They allow only the
transitions of the tables in `lifecycle`, and they update the ledger and the indexes. This module decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from .errors import InternalError
from .ledger import Ledger
from .lifecycle import (
    BUSY,
    CONTAINER_GONE,
    CONTAINER_TRANSITIONS,
    IDLE,
    IN_USE,
    LOADED,
    LOADING,
    RESIDENT_GONE,
    RESIDENT_TRANSITIONS,
    STARTING,
    STOPPING,
    UNLOADING,
    ContainerState,
    ResidentState,
)
from .model import (
    BY_PRELOAD,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    MIB,
    ActivationId,
    ContainerId,
    FunctionKey,
    Origin,
    ResidentKey,
    Source,
    housing,
    is_function_template,
    is_template,
    templated_function,
)
from .ports import ContainerView, Contents, KeptContainer

#: A smaller change of a resident's size is no reason for a new pre-load plan.
NOTABLE_BYTES = 4 * MIB


@dataclass(slots=True, eq=False)
class Resident:
    """One function, or one template, in one container."""

    function: ResidentKey
    container: ContainerId
    state: ResidentState
    origin: Origin
    since: float
    """When its load was asked for."""
    reason: str
    """Why it was loaded, in words for people."""
    served: bool = False
    """Whether a call has used it."""
    source: Source | None = None
    """What its process was made from. Known only once it is loaded."""
    due_at: float = math.inf
    """The moment by which its container must have reported the end of its load or, when it is being ended, its end."""
    is_template: bool = field(init=False)
    is_function_template: bool = field(init=False)

    def __post_init__(self) -> None:
        self.is_template = is_template(self.function)
        self.is_function_template = self.is_template and is_function_template(self.function)


@dataclass(slots=True, eq=False)
class Container:
    """One container."""

    id: ContainerId
    namespace: str
    limit_bytes: int
    state: ContainerState
    since: float
    """When it was asked for."""
    owner: FunctionKey | None = None
    """The function that it served last or was created for. Keep-alive keeps the container for this function."""
    running: ActivationId | None = None
    """The activation that it runs or is being started for. If it is None while the container is BUSY, the call has been
    answered, and the container still waits for the end of the call's process."""
    idle_since: float = 0.0
    expires_at: float = 0.0
    """When keep-alive stops it, if it is still idle then."""
    shared_at: float = math.inf
    """When keep-alive stops keeping it for its owner, if it is still idle then."""
    stays: bool = False
    """Whether its owner's author has said how long it is kept, and this time has not passed yet."""
    residents: dict[ResidentKey, Resident] = field(default_factory=dict)
    answer_timer: str = field(init=False)
    """Name of the timer that watches for an overdue report of this container."""
    kept: KeptContainer | None = None
    """The latest result of `as_kept`."""
    view: ContainerView | None = None
    """Its latest view for pre-loading policies. None when its contents have changed since."""
    contents: Contents | None = None
    """Latest result of `Books.contents`. None when its contents have changed since."""
    contents_until: float = 0.0
    """Until when that is valid, if nothing changes."""
    looked_at: int = 0
    """Number of the pre-load plan that looked at it last. 0 when its contents have changed since."""
    image: str = ""
    housing: str = field(init=False)
    """Only functions and templates of the same housing can be in it."""

    def __post_init__(self) -> None:
        self.housing = housing(self.namespace, self.image)
        self.answer_timer = f"answer {self.id}"

    def as_kept(self) -> KeptContainer:
        """The container as keep-alive policies see it. It stays the same object as long as owner and limit do."""
        kept = self.kept
        if kept is None or kept.owner != self.owner:
            kept = self.kept = KeptContainer(self.id, self.namespace, self.owner, self.limit_bytes)
        return kept


class Pool:
    """All containers of a node. Its attributes are for reading; only its methods change them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.containers: dict[ContainerId, Container] = {}
        self.idle: dict[ContainerId, Container] = {}
        """Idle containers, the longest idle first."""
        self.unowned: dict[str, dict[ContainerId, Container]] = {}
        """Idle containers that are kept for no function, by housing."""
        self.forkable: dict[ResidentKey, dict[ContainerId, Container]] = {}
        """Idle containers in which a template is loaded, by the key of the template."""
        self.by_function: dict[ResidentKey, dict[ContainerId, Resident]] = {}
        """The residents of each function and template, by container. They are in any state but GONE."""
        self.copies: dict[ResidentKey, int] = {}
        """Number of residents of each function and template that are not being ended. It holds no zeros."""
        self.owned: dict[FunctionKey, dict[ContainerId, Container]] = {}
        """Idle containers by owner."""
        self.starting: dict[FunctionKey, dict[ContainerId, Container]] = {}
        """Containers that are being created, by the function that they are created for."""
        self.changed: dict[ContainerId, None] = {}
        """Containers whose contents have changed since a pre-load plan looked at them."""
        self.new_candidates: dict[FunctionKey, None] = {}
        """Functions that were called, that lost a resident or a function template, or whose forecast fell due, since a
        pre-load plan looked at them."""
        self.busy = 0
        """Number of containers that serve calls."""
        self.loading = 0
        """Number of pre-loads under way, with the function templates that are being made. Loads that a call waits for
        from their beginning are not counted."""
        self.call_loads = 0
        """Number of loads under way that a call has waited for from their beginning."""
        self.stopping_bytes = 0
        """Sum of the limits of containers that are being stopped."""

    def open(self, container: Container, at: float) -> None:
        """Add a new container."""
        self.ledger.open(container.id, container.limit_bytes, at)
        self.containers[container.id] = container
        if container.owner is not None:
            self.starting.setdefault(container.owner, {})[container.id] = container

    @property
    def prewarming(self) -> bool:
        """Whether a container is being created ahead of any call."""
        return any(container.running is None for places in self.starting.values() for container in places.values())

    def resize(self, container: Container, limit_bytes: int, at: float) -> None:
        """Give a container that is not being stopped another limit."""
        if container.state is STOPPING:
            raise InternalError(f"container {container.id} cannot be resized: it is {container.state}")
        self.ledger.resize(container.id, limit_bytes, at)
        container.limit_bytes = limit_bytes
        container.kept = None
        self._note_change(container)

    def set_container_state(self, container: Container, state: ContainerState, at: float) -> None:
        """Change the state of a container. GONE also removes the container and its residents and frees their memory.

        Raises `InternalError` for a transition that `lifecycle` does not allow.
        """
        if state not in CONTAINER_TRANSITIONS[container.state]:
            raise InternalError(f"container {container.id} cannot go from {container.state} to {state}")
        if container.state is IDLE:
            self._leave_idle(container)
        elif container.state is BUSY:
            self.busy -= 1
        elif container.state is STOPPING:
            self.stopping_bytes -= container.limit_bytes
        elif container.state is STARTING and container.owner is not None:
            _remove(self.starting, container.owner, container)
        container.state = state
        if state is IDLE:
            container.idle_since = at
            self._enter_idle(container)
        elif state is BUSY:
            self.busy += 1
        elif state is STOPPING:
            self.stopping_bytes += container.limit_bytes
        elif state is CONTAINER_GONE:
            for resident in list(container.residents.values()):
                self.set_resident_state(resident, RESIDENT_GONE)
            self.ledger.close(container.id, at)
            del self.containers[container.id]
            self.changed.pop(container.id, None)

    def _enter_idle(self, container: Container) -> None:
        self.idle[container.id] = container
        # This is needed for an empty container, where no resident changes its state.
        self.changed[container.id] = None
        if container.owner is not None:
            self.owned.setdefault(container.owner, {})[container.id] = container
        else:
            self.unowned.setdefault(container.housing, {})[container.id] = container
        for resident in container.residents.values():
            if resident.is_template and resident.state is LOADED:
                self.forkable.setdefault(resident.function, {})[container.id] = container

    def _leave_idle(self, container: Container) -> None:
        del self.idle[container.id]
        if container.owner is not None:
            _remove(self.owned, container.owner, container)
        else:
            _remove(self.unowned, container.housing, container)
        for resident in container.residents.values():
            if resident.is_template and resident.state is LOADED:
                _remove(self.forkable, resident.function, container)

    def disown(self, container: Container) -> None:
        """Stop keeping an idle container for its owner."""
        if container.owner is not None:
            _remove(self.owned, container.owner, container)
            container.owner = None
            self.unowned.setdefault(container.housing, {})[container.id] = container
            self._note_change(container)  # the worth of its residents depends on the owner

    def add(self, resident: Resident, estimate_bytes: int) -> None:
        """Add a resident to its container, and charge its estimated size."""
        container = self.containers[resident.container]
        if resident.function in container.residents:
            raise InternalError(f"{resident.function} is in container {container.id} already")
        container.residents[resident.function] = resident
        self.by_function.setdefault(resident.function, {})[container.id] = resident
        self.copies[resident.function] = self.copies.get(resident.function, 0) + 1
        self.ledger.charge(container.id, resident.function, estimate_bytes)
        self._note_change(container)
        if resident.state is LOADING:
            self._count_load(resident, 1)

    def set_resident_state(self, resident: Resident, state: ResidentState) -> None:
        """Change the state of a resident. GONE also removes the resident and frees its memory.

        Raises `InternalError` for a transition that `lifecycle` does not allow.
        """
        if state not in RESIDENT_TRANSITIONS[resident.state]:
            raise InternalError(
                f"{resident.function} in container {resident.container} cannot go from {resident.state} to {state}"
            )
        container = self.containers[resident.container]
        if resident.state is LOADING:
            self._count_load(resident, -1)
        if resident.is_template and container.state is IDLE:
            if state is LOADED:
                self.forkable.setdefault(resident.function, {})[container.id] = container
            elif resident.state is LOADED:
                _remove(self.forkable, resident.function, container)
        if (state is UNLOADING or state is RESIDENT_GONE) and resident.state is not UNLOADING:
            self._uncount(resident.function)
            if not resident.is_template:
                self.new_candidates[resident.function] = None
            elif resident.is_function_template:
                self.new_candidates[templated_function(resident.function)] = None
        used_or_left = state is IN_USE or resident.state is IN_USE
        resident.state = state
        if used_or_left and state is not UNLOADING and state is not RESIDENT_GONE:
            container.view = container.contents = None  # nothing that is there has come or gone
        else:
            self._note_change(container)
        if state is RESIDENT_GONE:
            del container.residents[resident.function]
            places = self.by_function[resident.function]
            del places[resident.container]
            if not places:
                del self.by_function[resident.function]
            self.ledger.release(resident.container, resident.function)

    def _count_load(self, resident: Resident, change: int) -> None:
        if resident.origin is BY_PRELOAD:
            self.loading += change
        else:
            self.call_loads += change

    def _uncount(self, key: ResidentKey) -> None:
        if self.copies[key] == 1:
            del self.copies[key]
        else:
            self.copies[key] -= 1

    def charge(self, container: Container, resident: ResidentKey, size_bytes: int) -> None:
        """Correct the charge of a resident by its measured size."""
        if abs(self.ledger.charge(container.id, resident, size_bytes)) >= NOTABLE_BYTES:
            self._note_change(container)

    def _note_change(self, container: Container) -> None:
        container.view = container.contents = None
        container.looked_at = 0
        self.changed[container.id] = None

    def residents_of(self, function: ResidentKey) -> Iterator[tuple[Container, Resident]]:
        for container, resident in self.by_function.get(function, {}).items():
            yield self.containers[container], resident

    def places(self, function: FunctionKey, own_template: ResidentKey | None) -> set[ContainerId]:
        """The containers in which a call of a function finds it ready, or soon will: its own template is there or is
        being made, or it is resident there, and no other function, whose next call would end it."""
        found = {id_ for id_ in self.by_function.get(function, ()) if self._is_alone(function, self.containers[id_])}
        for id_, template in self.by_function.get(own_template, {}).items() if own_template is not None else ():
            if template.state is not UNLOADING:
                found.add(id_)
        return {id_ for id_ in found if self.containers[id_].state is not STOPPING}

    def _is_alone(self, function: FunctionKey, container: Container) -> bool:
        staying = [r.function for r in container.residents.values() if not r.is_template and r.state is not UNLOADING]
        return staying == [function]

    def kept(self, function: FunctionKey) -> list[ContainerId]:
        """Idle containers that are kept for a time that the author of a function has named."""
        return [container.id for container in self.owned.get(function, {}).values() if container.stays]

    def template_in(self, container: Container, template: ResidentKey | None) -> bool:
        """Whether a container holds this template, loaded. False for None."""
        resident = container.residents.get(template) if template is not None else None
        return resident is not None and resident.state is LOADED

    def source_in(self, container: Container, own_template: ResidentKey | None, library: ResidentKey | None) -> Source:
        """What a load is made from in a container, given the keys of the templates that it may use."""
        if self.template_in(container, own_template):
            return FROM_FUNCTION
        return FROM_LIBRARIES if self.template_in(container, library) else FROM_NOTHING

    def freeing_in(self, container: Container) -> int:
        """Bytes of the residents that are being ended."""
        freeing_bytes = 0
        for resident in container.residents.values():
            if resident.state is UNLOADING:
                freeing_bytes += self.ledger.charged(container.id, resident.function)
        return freeing_bytes


def _remove(index: dict[str, dict[ContainerId, Container]], key: str, container: Container) -> None:
    places = index[key]
    del places[container.id]
    if not places:
        del index[key]
