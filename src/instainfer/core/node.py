"""One machine's pool, residents and queue: events in, decisions out.

`NodeState.handle` is the only door. It checks the event against what is known (one that cannot have happened raises
`IllegalEvent` and changes nothing), changes the books, and returns what should be done now. Drivers turn the decisions
into effects and feed the outcomes back; they never decide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import choose, events
from .decisions import Decision, Load, Offload, Refuse, Remember, Reply, Run, StartContainer, StopContainer, WakeAt
from .errors import IllegalEvent, InternalError
from .known import Known, Registry, node_view
from .ledger import Ledger
from .lifecycle import ContainerState, ResidentState
from .model import ActivationId, ContainerId, Failure, FailureKind, Function, FunctionKey, Profile, StartKind
from .pool import Container, Origin, Pool, Resident
from .ports import Policies, SuggestLoad, SuggestOffload
from .requests import Request, RequestState
from .story import Story
from .wakes import Wakes


@dataclass(frozen=True, slots=True)
class NodeSettings:
    budget_bytes: int
    """Sum of the limits of all containers."""
    max_queue: int = 10_000
    max_loads: int = 1
    """Pre-loads at a time."""
    retain: bool = True
    """Keep a function resident after its call; False ends its process with the call (the paper's baseline)."""
    overtake_s: float = 5.0
    """A request may be overtaken by ones that need no new memory, until it has waited this long."""
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


class NodeState:
    def __init__(self, settings: NodeSettings, policies: Policies, name: str = "node", at: float = 0.0) -> None:
        self.settings = settings
        self.policies = policies
        self.name = name
        self.at = at
        self.pool = Pool(Ledger(settings.budget_bytes, at))
        self.functions = Registry(policies.predictor, settings.guess_load_s, settings.history)
        self.queue: deque[Request] = deque()
        self.requests: dict[ActivationId, Request] = {}
        """Every accepted request that has not been answered."""
        self.draining = False
        self.preloads = PreloadCounts()
        self.story = Story()
        self.container_start_s = 0.5
        """Mean seconds that creating a container takes; a guess until the first has started."""
        self._created = 0
        self._wakes = Wakes()
        self._out: list[Decision] = []
        self._notes: list[str] = []
        self._room = False
        """Something was freed: queued requests may be placed."""
        self._opportunity = False
        """Something changed that a pre-load plan depends on."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.FunctionRegistered: self._on_function_registered,
            events.FunctionRemoved: self._on_function_removed,
            events.RequestArrived: self._on_request_arrived,
            events.ContainerStarted: self._on_container_started,
            events.ContainerStartFailed: self._on_container_start_failed,
            events.ContainerGone: self._on_container_gone,
            events.LoadFinished: self._on_load_finished,
            events.LoadFailed: self._on_load_failed,
            events.ResidentGone: self._on_resident_gone,
            events.RunFinished: self._on_run_finished,
            events.MemoryMeasured: self._on_memory_measured,
            events.TimerFired: self._on_timer_fired,
            events.DrainAsked: self._on_drain_asked,
        }

    @property
    def drained(self) -> bool:
        """After `DrainAsked`: nothing is left."""
        return self.draining and not self.pool.containers and not self.requests

    def handle(self, event: events.Event) -> list[Decision]:
        """Take note of what happened and say what should be done now.

        Raises `IllegalEvent`, and changes nothing, when the event contradicts what is known.
        """
        if event.at < self.at:
            raise self._illegal(event, f"it is earlier than the last one, at {self.at}")
        self._out, self._notes = [], []
        before, self.at = self.at, event.at
        try:
            self._handlers[type(event)](event)
        except IllegalEvent:
            self.at = before
            raise
        if self._room:
            self._room = False
            self._drain_queue(event.at)
        if self._opportunity:
            self._opportunity = False
            self._plan(event.at)
        if (when := self._wakes.ask()) is not None:
            self._out.append(WakeAt(when))
        self.story.append(event, self._out, self._notes)
        return self._out

    # -- functions -------------------------------------------------------------------------------------------------

    def _on_function_registered(self, event: events.FunctionRegistered) -> None:
        self.functions.register(event.function, event.profile)
        self._opportunity = True

    def _on_function_removed(self, event: events.FunctionRemoved) -> None:
        known = self.functions.get(event.function)
        if known is None:
            return
        known.removed = True
        for container, resident in list(self.pool.residents_of(event.function)):
            if container.state is ContainerState.IDLE and resident.state is not ResidentState.UNLOADING:
                self._offload(resident, "the function was removed")
        self._forget_if_unused(event.function)

    def _forget_if_unused(self, key: FunctionKey) -> None:
        known = self.functions.get(key)
        if known is None or not known.removed or key in self.pool.by_function:
            return
        if not any(request.function == key for request in self.requests.values()):
            del self.functions.functions[key]

    # -- requests --------------------------------------------------------------------------------------------------

    def _on_request_arrived(self, event: events.RequestArrived) -> None:
        if event.activation in self.requests:
            raise self._illegal(event, "this activation is being served already")
        known = self.functions.get(event.function)
        failure = self._refusal(event.function, known)
        if failure is not None:
            self._out.append(Refuse(event.activation, failure))
            return
        self.functions.called(event.function, event.at)
        request = Request(event.activation, event.function, event.at)
        self.requests[event.activation] = request
        # An arrival moves the forecast of its function, hence the plan.
        self._opportunity = True
        if self.queue and event.at - self.queue[0].arrived_at > self.settings.overtake_s:
            placed = False
        else:
            placed = self._place(request, event.at, may_take_memory=not self.queue)
        if placed:
            return
        if len(self.queue) >= self.settings.max_queue:
            text = f"{self.settings.max_queue} activations are waiting already; try again later"
            self._refuse(request, Failure(FailureKind.QUEUE_FULL, text), event.at)
        else:
            self.queue.append(request)

    def _refusal(self, key: FunctionKey, known: Known | None) -> Failure | None:
        if self.draining:
            return Failure(FailureKind.DRAINING, "the node is being shut down")
        if known is None or known.removed:
            return Failure(FailureKind.UNKNOWN_FUNCTION, f"there is no function {key} on this node")
        if known.function.memory_bytes > self.settings.budget_bytes:
            text = f"{key} needs {known.function.memory_bytes} bytes; the node has {self.settings.budget_bytes} in all"
            return Failure(FailureKind.TOO_LARGE, text)
        return None

    def _place(self, request: Request, at: float, *, may_take_memory: bool) -> bool:
        """Give the request a container, or begin to make one; False if it has to wait."""
        function = self.functions[request.function].function
        choice: choose.Choice | None = choose.holding(self.pool, function, self._worth)
        if choice is None and self._is_patient(request, at):
            return False
        choice = choice or choose.own(self.pool, function)
        if choice is None and may_take_memory:
            choice = choose.elsewhere(self.pool, function, self._worth, self.policies.keepalive.eviction_order)
        match choice:
            case choose.Take(container, start_kind):
                self._run(request, container, start_kind, at)
                return True
            case choose.Create():
                self._create(request, function, at)
                return True
            case choose.MakeRoom(containers):
                for container in containers:
                    self._stop(container, at, f"room for {function.key}")
        return False

    def _is_patient(self, request: Request, at: float) -> bool:
        """Whether a busy container that has the function is expected to be free before a new start would be ready."""
        if request.patient_until > 0:
            return at < request.patient_until
        known = self.functions[request.function]
        if not self.settings.retain or known.profile.runs == 0:
            return False
        start_s = known.profile.load_s
        if self.pool.ledger.free_bytes >= known.function.memory_bytes:
            start_s += self.container_start_s
        if self._turn_in(request, known.profile, at) >= start_s:
            return False
        # The expectation may be wrong: after the time that the alternative takes, it is not relied on any longer.
        request.patient_until = at + start_s
        self._wakes.arm(request.patient_until, f"request {request.activation}")
        return True

    def _turn_in(self, request: Request, profile: Profile, at: float) -> float:
        """Expected seconds until a container that has the function, or is getting it, is free for this request."""
        soonest = float("inf")
        for container, _ in self.pool.residents_of(request.function):
            other = self.requests.get(container.running) if container.running is not None else None
            if other is not None and other.function == request.function:
                expected_s = profile.compute_s + (0.0 if other.loaded else profile.load_s)
                soonest = min(soonest, max(0.0, other.run_at + expected_s - at))
        ahead = sum(other.function == request.function and other is not request for other in self.queue)
        return soonest + ahead * profile.compute_s

    def _create(self, request: Request, function: Function, at: float) -> None:
        self._created += 1
        container = Container(
            id=f"{self.name}-c{self._created}",
            namespace=function.namespace,
            limit_bytes=function.memory_bytes,
            state=ContainerState.STARTING,
            since=at,
            owner=function.key,
            running=request.activation,
        )
        self.pool.open(container, at)
        request.state, request.container, request.placed_at = RequestState.STARTING, container.id, at
        request.start_kind = StartKind.COLD
        reason = f"no container can take {function.key}"
        self._out.append(StartContainer(container.id, container.namespace, container.limit_bytes, reason))

    def _run(self, request: Request, container: Container, start_kind: StartKind, at: float) -> None:
        """Hand the request over; every other resident of the container ends before user code sees it."""
        others = [r for r in container.residents.values() if r.function != request.function]
        for other in others:
            if other.state is not ResidentState.UNLOADING:
                self.pool.shift(other, ResidentState.UNLOADING)
        self.pool.move(container, ContainerState.BUSY, at)
        container.owner, container.running = request.function, request.activation
        if request.state is RequestState.QUEUED:
            request.placed_at = at
        request.state, request.container, request.run_at = RequestState.RUNNING, container.id, at
        request.start_kind = start_kind
        resident = container.residents.get(request.function)
        if resident is None:
            resident = self._add_resident(container, request.function, Origin.CALL, at, "called")
        if resident.state is ResidentState.LOADING:
            request.loaded = False
        else:
            self.pool.shift(resident, ResidentState.IN_USE)
        if resident.origin is Origin.PRELOAD and not resident.served:
            self.preloads.hits += 1
        resident.served = True
        ends = tuple(other.function for other in others)
        self._out.append(Run(container.id, request.activation, request.function, start_kind, ends))

    def _drain_queue(self, at: float) -> None:
        """Place what can be placed, in the order of arrival; the first that waits for memory keeps others off it."""
        waiting: list[Request] = []
        hopeless: set[FunctionKey] = set()
        may_take_memory = True
        while self.queue:
            request = self.queue.popleft()
            if request.function not in hopeless and self._place(request, at, may_take_memory=may_take_memory):
                continue
            waiting.append(request)
            hopeless.add(request.function)
            if at >= request.patient_until:
                may_take_memory = False
            overdue = at - waiting[0].arrived_at > self.settings.overtake_s
            if not may_take_memory and (overdue or not self.pool.idle):
                break
        self.queue.extendleft(reversed(waiting))

    def _refuse(self, request: Request, failure: Failure, at: float) -> None:
        del self.requests[request.activation]
        self._out.append(Refuse(request.activation, failure, request.phases(at)))

    def _reply(self, request: Request, at: float, compute_s: float, failure: Failure | None) -> None:
        del self.requests[request.activation]
        if request.container is None or request.start_kind is None:
            raise InternalError(f"{request.activation} has an answer and never had a container")
        phases = request.phases(at, compute_s)
        self._out.append(
            Reply(request.activation, request.function, request.container, request.start_kind, phases, failure)
        )

    # -- containers ------------------------------------------------------------------------------------------------

    def _on_container_started(self, event: events.ContainerStarted) -> None:
        container = self._container(event)
        if container.state is ContainerState.STOPPING:
            return
        if container.state is not ContainerState.STARTING:
            raise self._illegal(event, f"the container is {container.state}")
        self.container_start_s += Profile.WEIGHT * (event.at - container.since - self.container_start_s)
        if container.running is None:
            self._fall_idle(container, event.at)
        else:
            self._run(self.requests[container.running], container, StartKind.COLD, event.at)

    def _on_container_start_failed(self, event: events.ContainerStartFailed) -> None:
        container = self._container(event)
        if container.state not in (ContainerState.STARTING, ContainerState.STOPPING):
            raise self._illegal(event, f"the container is {container.state}")
        self._lose(container, event.at, event.failure)

    def _on_container_gone(self, event: events.ContainerGone) -> None:
        container = self._container(event)
        self._lose(container, event.at, event.failure or Failure(FailureKind.CONTAINER_LOST, "it was stopped"))

    def _lose(self, container: Container, at: float, failure: Failure) -> None:
        """Strike a container off; whatever it was doing ends with `failure`."""
        request = self.requests[container.running] if container.running is not None else None
        functions = list(container.residents)
        for resident in container.residents.values():
            self._count_end(resident)
        self.pool.move(container, ContainerState.GONE, at)
        self._room = self._opportunity = True
        if request is not None and request.state is RequestState.RUNNING:
            self._reply(request, at, 0.0, failure)
        elif request is not None:
            self._refuse(request, failure, at)
        for key in functions:
            self._forget_if_unused(key)

    def _fall_idle(self, container: Container, at: float) -> None:
        container.running = None
        if self.draining:
            self._stop(container, at, "the node is being shut down")
            return
        self.pool.move(container, ContainerState.IDLE, at)
        container.expires_at = self.policies.keepalive.expires_at(container.owner, at)
        self._wakes.arm(container.expires_at, f"container {container.id}")
        self._shrink(container)
        self._room = self._opportunity = True

    def _stop(self, container: Container, at: float, reason: str) -> None:
        self.pool.move(container, ContainerState.STOPPING, at)
        self._out.append(StopContainer(container.id, reason))

    # -- residents -------------------------------------------------------------------------------------------------

    def _add_resident(self, container: Container, key: FunctionKey, origin: Origin, at: float, reason: str) -> Resident:
        resident = Resident(key, container.id, ResidentState.LOADING, origin, at, reason)
        self.pool.add(resident, self.functions[key].estimate_bytes)
        return resident

    def _on_load_finished(self, event: events.LoadFinished) -> None:
        container, resident = self._resident(event, ResidentState.LOADING, ResidentState.UNLOADING)
        known = self.functions[event.function]
        known.profile = known.profile.with_load(event.library_s, event.model_s, event.resident_bytes)
        known.load_failure = None
        self._out.append(Remember(event.function, known.profile))
        self.pool.ledger.charge(container.id, event.function, event.resident_bytes)
        self._opportunity = True
        if resident.state is ResidentState.UNLOADING:
            return
        if container.running is not None:
            self.pool.shift(resident, ResidentState.IN_USE)
            self.requests[container.running].waited_for_load(event.at, event.library_s, event.model_s)
        else:
            self.pool.shift(resident, ResidentState.LOADED)
            self.preloads.finished += 1
            self._shrink(container)

    def _on_load_failed(self, event: events.LoadFailed) -> None:
        container, resident = self._resident(event, ResidentState.LOADING, ResidentState.UNLOADING)
        self.functions[event.function].load_failure = event.failure
        if resident.origin is Origin.PRELOAD:
            self.preloads.failed += 1
        self._opportunity = True
        # A call that waits for this load ends it itself: either by its own failure, or by loading once more when
        # the failed load was a pre-load's.
        if container.running is None or resident.state is ResidentState.UNLOADING:
            self._end(container, resident, event.at)

    def _on_resident_gone(self, event: events.ResidentGone) -> None:
        container, resident = self._resident(event, *ResidentState)
        asked = resident.state is ResidentState.UNLOADING or container.state is ContainerState.STOPPING
        if not asked and event.failure is None:
            raise self._illegal(event, f"nobody asked for its end; it is {resident.state}")
        if not asked and container.running is not None:
            # It died while a call for it was on its way: that call loads it anew.
            request = self.requests[container.running]
            request.loaded, request.start_kind = False, StartKind.PREWARMED
            self.pool.shift(resident, ResidentState.GONE)
            self._add_resident(container, event.function, Origin.CALL, event.at, "called, after its process had died")
            return
        self._end(container, resident, event.at)

    def _end(self, container: Container, resident: Resident, at: float) -> None:
        """A resident's memory is free."""
        self._count_end(resident)
        self.pool.shift(resident, ResidentState.GONE)
        self._room = self._opportunity = True
        if container.state is ContainerState.BUSY and container.running is None:
            self._fall_idle(container, at)
        self._forget_if_unused(resident.function)

    def _count_end(self, resident: Resident) -> None:
        if resident.origin is Origin.PRELOAD and not resident.served:
            self.preloads.wasted += 1

    def _on_run_finished(self, event: events.RunFinished) -> None:
        container = self._container(event)
        if container.state is not ContainerState.BUSY or container.running != event.activation:
            raise self._illegal(event, f"the container is {container.state} and runs {container.running}")
        request = self.requests[event.activation]
        resident = container.residents[request.function]
        if resident.state is ResidentState.LOADING and event.alive:
            raise self._illegal(event, "its function has not been loaded")
        known = self.functions[request.function]
        if event.failure is None:
            known.profile = known.profile.with_run(event.compute_s)
            if known.profile.runs % 100 == 1:
                self._out.append(Remember(request.function, known.profile))
        self._reply(request, event.at, event.compute_s, event.failure)
        container.running = None
        if resident.state is ResidentState.LOADING:
            self._end(container, resident, event.at)
        elif not event.alive:
            self.pool.shift(resident, ResidentState.UNLOADING)
        elif known.removed or not self.settings.retain:
            self._offload(resident, "the function was removed" if known.removed else "its process ends with its call")
        else:
            self.pool.shift(resident, ResidentState.LOADED)
            resident.origin = Origin.CALL
            self.pool.ledger.charge(container.id, request.function, event.resident_bytes)
            known.profile = known.profile.with_bytes(event.resident_bytes)
            self._fall_idle(container, event.at)

    def _on_memory_measured(self, event: events.MemoryMeasured) -> None:
        container = self._container(event)
        for key, measured_bytes in event.resident_bytes:
            if key in container.residents:
                self.pool.ledger.charge(container.id, key, measured_bytes)
                self.functions[key].profile = self.functions[key].profile.with_bytes(measured_bytes)
        if container.state is ContainerState.IDLE:
            self._shrink(container)

    def _shrink(self, container: Container) -> None:
        """Measurements can show more than was estimated: end what is worth least until the limit holds."""
        excess = -self.pool.ledger.free_in(container.id) - self.pool.freeing_in(container)
        if excess <= 0:
            return
        kept = [r for r in container.residents.values() if r.state is not ResidentState.UNLOADING]
        kept.sort(key=lambda r: (self._worth(r.function), r.function))
        for resident in kept[:-1]:
            if excess > 0:
                excess -= self.pool.ledger.charged(container.id, resident.function)
                self._offload(resident, "measured memory is above the container's limit")

    def _offload(self, resident: Resident, reason: str) -> None:
        self.pool.shift(resident, ResidentState.UNLOADING)
        self._out.append(Offload(resident.container, resident.function, reason))

    def _worth(self, key: FunctionKey) -> float:
        return self.policies.preloader.worth(self.functions.view(key, self.pool), self.at)

    # -- pre-loading -----------------------------------------------------------------------------------------------

    def _plan(self, at: float) -> None:
        """Ask the policy what should be where, and do of it what the books allow."""
        self._wakes.plan_at = None
        if self.draining:
            return
        # Opportunistic means free: nothing is loaded while a request waits.
        slots = 0 if self.queue else max(0, self.settings.max_loads - self.pool.loading)
        plan = self.policies.preloader.plan(node_view(self.functions, self.pool, at, slots))
        self._wakes.plan_at = plan.wake_at
        for suggestion in plan.suggestions:
            if isinstance(suggestion, SuggestOffload):
                rejection = self._follow_offload(suggestion)
            else:
                rejection = self._follow_load(suggestion, at)
            if rejection is not None:
                self._notes.append(f"{suggestion.function} in {suggestion.container}: {rejection}")

    def _follow_offload(self, suggestion: SuggestOffload) -> str | None:
        container = self.pool.idle.get(suggestion.container)
        resident = container.residents.get(suggestion.function) if container is not None else None
        if resident is None or resident.state is ResidentState.UNLOADING:
            return "not off-loaded: it is not there"
        self._offload(resident, suggestion.reason)
        return None

    def _follow_load(self, suggestion: SuggestLoad, at: float) -> str | None:
        """Load now if there is room now; else end the victims, and plan anew when their memory is free."""
        container = self.pool.idle.get(suggestion.container)
        known = self.functions.get(suggestion.function)
        if container is None or known is None or known.removed:
            return "not loaded: the container is not idle or the function is gone"
        if container.namespace != known.function.namespace or suggestion.function in container.residents:
            return "not loaded: it must not be there, or is there already"
        if self.queue or self.pool.loading >= self.settings.max_loads:
            return "not loaded: requests wait, or enough is being loaded"
        need_bytes = known.estimate_bytes
        if self.pool.ledger.free_in(container.id) >= need_bytes:
            self._add_resident(container, suggestion.function, Origin.PRELOAD, at, suggestion.reason)
            self.preloads.started += 1
            self._out.append(Load(container.id, suggestion.function, suggestion.reason))
            return None
        victims = [container.residents.get(key) for key in suggestion.victims]
        going = [v for v in victims if v is not None and v.state is ResidentState.LOADED]
        if len(going) < len(victims):
            return "not loaded: somebody it would displace is not there any longer"
        freed = self.pool.freeing_in(container) + sum(
            self.pool.ledger.charged(container.id, victim.function) for victim in going
        )
        if self.pool.ledger.free_in(container.id) + freed < need_bytes:
            return f"not loaded: {need_bytes} bytes would not fit even without those it would displace"
        for victim in going:
            self._offload(victim, f"displaced by {suggestion.function}: {suggestion.reason}")
        return "waits until the memory of others is free"

    # -- time and end ----------------------------------------------------------------------------------------------

    def _on_timer_fired(self, event: events.TimerFired) -> None:
        for name in self._wakes.fired(event.at):
            what, _, key = name.partition(" ")
            container = self.pool.containers.get(key) if what == "container" else None
            if what == "request":
                self._room = self._room or key in self.requests
            elif container is not None and container.state is ContainerState.IDLE:
                if container.expires_at <= event.at:
                    self._stop(container, event.at, "it was idle for as long as keep-alive allows")
                else:
                    self._wakes.arm(container.expires_at, name)
        if self._wakes.plan_at is not None and self._wakes.plan_at <= event.at:
            self._opportunity = True

    def _on_drain_asked(self, event: events.DrainAsked) -> None:
        self.draining = True
        failure = Failure(FailureKind.DRAINING, "the node is being shut down")
        while self.queue:
            self._refuse(self.queue.popleft(), failure, event.at)
        for container in list(self.pool.containers.values()):
            if container.state is ContainerState.STARTING and container.running is not None:
                self._refuse(self.requests[container.running], failure, event.at)
                container.running = None
            if container.state in (ContainerState.STARTING, ContainerState.IDLE):
                self._stop(container, event.at, "the node is being shut down")

    # -- checks ----------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `InternalError` unless all books agree and every accepted request is in exactly one place."""
        self.pool.check()
        queued = [r.activation for r in self.queue]
        placed = [c.running for c in self.pool.containers.values() if c.running is not None]
        if sorted(queued + placed) != sorted(self.requests):
            raise InternalError(f"requests {sorted(self.requests)} are not those queued {queued} or placed {placed}")
        for container in self.pool.containers.values():
            running = container.running
            if running is not None and self.requests[running].container != container.id:
                raise InternalError(f"{running} is in {container.id} and believes to be elsewhere")
            if any(self.functions.get(key) is None for key in container.residents):
                raise InternalError(f"container {container.id} holds a function that nobody knows")
            namespaces = {self.functions[key].function.namespace for key in container.residents}
            if namespaces - {container.namespace}:
                raise InternalError(
                    f"container {container.id} of {container.namespace} holds functions of {namespaces}"
                )

    def _container(self, event: Any) -> Container:
        container: ContainerId = event.container
        if container not in self.pool.containers:
            raise self._illegal(event, "there is no such container")
        return self.pool.containers[container]

    def _resident(self, event: Any, *states: ResidentState) -> tuple[Container, Resident]:
        container = self._container(event)
        resident = container.residents.get(event.function)
        if resident is None or resident.state not in states:
            where = "not there" if resident is None else resident.state.value
            raise self._illegal(event, f"the resident is {where}")
        return container, resident

    def _illegal(self, event: events.Event, why: str) -> IllegalEvent:
        return IllegalEvent(f"{event}: {why}. What happened before:\n{self.story.tail()}")
