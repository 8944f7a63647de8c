"""Everything a node knows, and the elementary changes to it.

`Books` holds pool, functions, requests and queue together; each method makes one change that keeps them in step and
writes down the decision that goes with it. *When* to make which change is for `placing`, `preloading` and `node`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Set
from dataclasses import dataclass

from .decisions import Decision, Offload, Refuse, Reply, Run, StartContainer, StopContainer
from .errors import InternalError
from .ledger import Ledger
from .lifecycle import (
    BUSY,
    CONTAINER_GONE,
    IDLE,
    IN_USE,
    LOADED,
    LOADING,
    RESIDENT_GONE,
    STARTING,
    STOPPING,
    UNLOADING,
)
from .lookout import Lookout
from .model import (
    PRELOADED,
    TEMPLATED,
    ActivationId,
    ContainerId,
    Failure,
    Function,
    FunctionKey,
    ResidentKey,
    StartKind,
    is_template,
)
from .pool import BY_CALL, BY_PRELOAD, Container, Origin, Pool, Resident
from .ports import Policies, Use
from .registry import Registry
from .requests import CREATING, QUEUED, RUNNING, Request
from .timers import Timers
from .values import value

#: Worths change with the silence, slowly; calls must not pay for reckoning them all anew.
LOSS_BELIEVED_S = 5.0


@value(frozen=True, slots=True)
class NodeSettings:
    budget_bytes: int
    """Sum of the limits of all containers."""
    max_queue: int = 10_000
    max_loads: int = 1
    """Pre-loads at a time."""
    calls_beside: int | None = None
    """Pre-loads are begun while at most so many calls are running: whatever its priority, a load slows down calls that
    use all processors. None: while any number are."""
    put_off_s: float = 2.0
    """For no longer than this are they put off, since on a busy node some call is always running."""
    retain: bool = True
    """Keep a function resident after its call; False ends its process with the call (the paper's baseline)."""
    overtake_s: float = 5.0
    """A request may be overtaken by ones that need no new memory, until it has waited this long."""
    templates: bool = True
    """Fork residents from templates of their environments."""
    replace: bool = False
    """When a call has taken another function's container, create one for that function again, ahead of its next call.
    Off: functions share what containers there are (least memory). On: each has its own, as under keep-alive alone, and
    the call that came too early for it does not wait for it (least latency)."""
    guess_load_s: float = 1.0
    """Seconds of loading assumed of a function that has never been loaded."""
    history: int = 64
    """Arrivals remembered for each function."""


@dataclass(slots=True)
class PreloadCounts:
    started: int = 0
    finished: int = 0
    failed: int = 0
    hits: int = 0
    """Pre-loaded residents that a call has used, or waited for."""
    wasted: int = 0
    """Pre-loaded residents that ended without having been used."""


@value(frozen=True, slots=True)
class Promise:
    """Room is being made in a container for this function or template."""

    function: ResidentKey
    reason: str


class Books:
    def __init__(self, settings: NodeSettings, policies: Policies, name: str, at: float) -> None:
        self.settings = settings
        self.policies = policies
        self.name = name
        self.at = at
        """Time of the event that is being handled, or was last."""
        self.pool = Pool(Ledger(settings.budget_bytes, at))
        self.functions = Registry(
            policies.predictor,
            guess_load_s=settings.guess_load_s,
            history=settings.history,
            templates=settings.templates,
        )
        self.queue: deque[Request] = deque()
        self.requests: dict[ActivationId, Request] = {}
        """Every accepted request that has not been answered."""
        self.draining = False
        self.preloads = PreloadCounts()
        self.timers = Timers()
        self.lookout = Lookout()
        self.promises: dict[ContainerId, Promise] = {}
        """For whom residents are being ended, in idle containers."""
        self.prewarms: dict[FunctionKey, float] = {}
        """When functions are to have a container again."""
        self.container_start_s = 0.5
        """Mean seconds that creating a container takes; a guess until the first has started."""
        self.out: list[Decision] = []
        """Decisions made on the event that is being handled."""
        self.notes: list[str] = []
        """Why suggestions were not followed."""
        self.room = False
        """Something was freed: queued requests may be placed."""
        self.opportunity = False
        """Something changed that a pre-load plan depends on."""
        self.put_off_until: float | None = None
        """When pre-loads that calls have kept from beginning are begun in any case."""
        self._created = 0

    def create(self, function: Function, request: Request | None, reason: str) -> None:
        """Begin to make a container: for a request, or ahead of any."""
        self._created += 1
        container = Container(
            id=f"{self.name}-c{self._created}",
            namespace=function.namespace,
            limit_bytes=function.memory_bytes,
            state=STARTING,
            since=self.at,
            owner=function.key,
            running=request.activation if request is not None else None,
        )
        self.pool.open(container, self.at)
        if request is not None:
            request.state, request.container, request.placed_at = CREATING, container.id, self.at
            request.start_kind = StartKind.COLD
        self.out.append(StartContainer(container.id, container.namespace, container.limit_bytes, reason))

    @property
    def starved(self) -> Request | None:
        """The first request that waits for room; one that waits for its own function's busy process does not."""
        for request in self.queue:
            if request.patient_until <= self.at:
                return request
        return None

    def overdue(self, request: Request | None) -> bool:
        """Whether it has been overtaken for so long that nobody may overtake it any longer."""
        return request is not None and self.at - request.arrived_at > self.settings.overtake_s

    def run(self, request: Request, container: Container, start_kind: StartKind) -> None:
        """Hand the request over; every other function of the container ends before user code sees it."""
        others = self._make_way(container, request.function)
        if container.state is IDLE and container.owner not in (None, request.function):
            self.policies.keepalive.evicted(container)
            if self.settings.replace and container.owner is not None and start_kind is not PRELOADED:
                self.prewarms[container.owner] = self.at
                self.timers.arm(self.at, f"prewarm {container.owner}")
        self.pool.move(container, BUSY, self.at)
        self.promises.pop(container.id, None)
        container.owner, container.running = request.function, request.activation
        if request.state is QUEUED:
            request.placed_at = self.at
        request.state, request.container, request.run_at = RUNNING, container.id, self.at
        request.start_kind = start_kind
        request.forks = start_kind is TEMPLATED
        resident = container.residents.get(request.function)
        if resident is None:
            resident = self.add_resident(container, request.function, BY_CALL, "called")
        if resident.state is LOADING:
            request.loaded = False
            self._note_miss(request.function)
        else:
            self.pool.shift(resident, IN_USE)
        if resident.origin is BY_PRELOAD and not resident.served:
            self.preloads.hits += 1
        resident.served = True
        self.out.append(Run(container.id, request.activation, request.function, start_kind, others))

    def _note_miss(self, key: FunctionKey) -> None:
        """A call has to load: its template would have been missed."""
        template = self.functions[key].template
        if template is not None:
            self.functions.templates[template].missed(self.at)

    def _make_way(self, container: Container, key: FunctionKey) -> tuple[FunctionKey, ...]:
        """End all but one function; returns the others, those that are being ended already among them."""
        others = [r for r in container.residents.values() if not r.is_template and r.function != key]
        if not others:
            return ()
        staying = [other for other in others if other.state is not UNLOADING]
        for other in staying:
            self.pool.shift(other, UNLOADING)
            other.left_at, other.left_with = self.at, len(staying)
        return tuple([other.function for other in others])

    def reply(self, request: Request, compute_s: float, failure: Failure | None) -> None:
        self._answered(request)
        if request.container is None or request.start_kind is None:
            raise InternalError(f"{request.activation} has an answer and never had a container")
        phases = request.phases(self.at, compute_s)
        self.out.append(
            Reply(request.activation, request.function, request.container, request.start_kind, phases, failure)
        )

    def refuse(self, request: Request, failure: Failure) -> None:
        self._answered(request)
        self.out.append(Refuse(request.activation, failure, request.phases(self.at)))

    def _answered(self, request: Request) -> None:
        del self.requests[request.activation]
        self.functions[request.function].concurrency.answered()

    def fall_idle(self, container: Container, *, after_call: bool = True) -> None:
        container.running = None
        if self.draining:
            self.stop(container, "the node is being shut down")
            return
        self.pool.move(container, IDLE, self.at)
        self._keep(container, after_call)
        self.shrink(container)
        self.room = True
        self.opportunity = True

    def _keep(self, container: Container, after_call: bool) -> None:
        """Ask the keep-alive policy how long."""
        owner = self.functions.get(container.owner) if container.owner is not None else None
        cost_s = self.container_start_s
        if owner is not None:
            cost_s += self.functions.load_s(owner.function.key, forked=False)
        use = Use(self.at, container.id, container.owner, after_call, container.limit_bytes, cost_s)
        idle = self.policies.keepalive.idle(use)
        container.expires_at, container.shared_at = idle.expires_at, idle.shared_at
        if (due := min(idle.expires_at, idle.shared_at)) < math.inf:
            self.timers.arm(due, f"container {container.id}")
        if idle.prewarm_at is not None and container.owner is not None:
            self.prewarms[container.owner] = idle.prewarm_at
            self.timers.arm(idle.prewarm_at, f"prewarm {container.owner}")

    def share(self, container: Container) -> None:
        """Keep an idle container for its owner no longer; what calls have left in it is ended."""
        self.pool.disown(container)
        for resident in list(container.residents.values()):
            if resident.origin is BY_CALL and resident.state is LOADED and not resident.is_template:
                self.offload(resident, "its container is for others now")
        self.room = True

    def stop(self, container: Container, reason: str) -> None:
        self.pool.move(container, STOPPING, self.at)
        self.out.append(StopContainer(container.id, reason))

    def lose(self, container: Container, failure: Failure) -> None:
        """Strike a container off; whatever it was doing ends with `failure`."""
        request = self.requests[container.running] if container.running is not None else None
        functions = list(container.residents)
        for resident in container.residents.values():
            self._count_end(resident)
        self.pool.move(container, CONTAINER_GONE, self.at)
        self.promises.pop(container.id, None)
        self.policies.keepalive.ended(container)
        self.room = self.opportunity = True
        if request is not None and request.state is RUNNING:
            self.reply(request, 0.0, failure)
        elif request is not None:
            self.refuse(request, failure)
        for key in functions:
            self.forget_if_unused(key)

    def add_resident(self, container: Container, key: ResidentKey, origin: Origin, reason: str) -> Resident:
        resident = Resident(key, container.id, LOADING, origin, self.at, reason)
        self.pool.add(resident, self.estimate_in(container, key))
        return resident

    def estimate_in(self, container: Container, key: ResidentKey) -> int:
        """Bytes that a load is expected to add to a container."""
        template = None if is_template(key) else self.functions[key].template
        return self.functions.estimate_bytes(key, forked=self.pool.template_in(container, template))

    def offload(self, resident: Resident, reason: str) -> None:
        self.pool.shift(resident, UNLOADING)
        self.out.append(Offload(resident.container, resident.function, reason))

    def shrink(self, container: Container) -> None:
        """Measurements can show more than was estimated: end what is worth least until the limit holds."""
        excess = -self.pool.ledger.free_in(container.id)
        if excess > 0:
            excess -= self.pool.freeing_in(container)
        if excess <= 0:
            return
        kept = [r for r in container.residents.values() if r.state is not UNLOADING]
        used = {self.functions[r.function].template for r in kept if r.forked and not r.is_template}
        kept.sort(key=lambda r: (_shrinks(r, used), self.worth(r.function), r.function))
        for resident in kept[:-1]:
            if excess > 0:
                excess -= self.pool.ledger.charged(container.id, resident.function)
                self.offload(resident, "measured memory is above the container's limit")

    def end(self, container: Container, resident: Resident) -> None:
        """A resident's memory is free."""
        self._count_end(resident)
        self.pool.shift(resident, RESIDENT_GONE)
        self.room = self.opportunity = True
        # It was waiting for the end of its last run's process, and of no other.
        waited = container.state is BUSY and container.running is None
        if waited and resident.function == container.owner:
            self.fall_idle(container)
        if not resident.is_template:
            self.forget_if_unused(resident.function)

    def _count_end(self, resident: Resident) -> None:
        if resident.origin is BY_PRELOAD and not resident.served and not resident.is_template:
            self.preloads.wasted += 1

    def forget_if_unused(self, key: FunctionKey) -> None:
        record = self.functions.get(key)
        if record is None or not record.removed or key in self.pool.by_function:
            return
        if not any(request.function == key for request in self.requests.values()):
            self.functions.forget(key, self.at)

    def worth(self, key: ResidentKey) -> float:
        """Expected seconds saved by having a function resident, as the pre-loading policy sees it; 0 for templates."""
        if is_template(key) or not self.policies.preloader.active:
            return 0.0
        return self.policies.preloader.worth(self.functions.view(key, self.pool), self.at)

    def loss(self, container: Container) -> float:
        """Expected seconds that a call of another function would cost an idle container's residents.

        What was found last is believed for `LOSS_BELIEVED_S` while nothing in the container changes.
        """
        if self.at >= container.loss_until:
            lost_s = templates_s = 0.0
            templates_bytes = 0
            for resident in container.residents.values():
                if resident.state is UNLOADING:
                    continue
                if resident.is_template:
                    templates_s += self.template_s(resident.function)
                    templates_bytes += self.pool.ledger.charged(container.id, resident.function)
                else:
                    lost_s += self.worth(resident.function)
            container.loss_s = lost_s
            container.templates_s, container.templates_bytes = templates_s, templates_bytes
            container.loss_until = self.at + LOSS_BELIEVED_S
        return container.loss_s

    def template_s(self, key: ResidentKey) -> float:
        """Seconds of importing that misses are expected to pay if one template of the kind is lost; a part of them only
        where there are others."""
        template = self.functions.templates[key]
        return template.profile.library_s * template.chance(self.at) / max(1, self.pool.copies.get(key, 0))


def _shrinks(resident: Resident, used: Set[ResidentKey | None]) -> int:
    """Who goes first where memory is short: guesses, then templates that nobody there was forked from, then what calls
    have left, and the templates of those last."""
    if resident.is_template:
        return 3 if resident.function in used else 1
    return 0 if resident.origin is BY_PRELOAD else 2
