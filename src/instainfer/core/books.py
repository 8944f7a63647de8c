"""Everything that a node knows, and the basic changes to it.

`Books` holds the pool, the functions, the requests and the queue. Each method makes one change, keeps these parts
consistent with each other, and records the decision that belongs to the change. The modules `placement`, `preloading`
and `node` decide when to make which change.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from .decisions import Decision, Forget, Offload, Refuse, Reply, Run, StartContainer, StopContainer
from .errors import InternalError
from .guard import Guard, plain_forecast
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
from .model import (
    BY_CALL,
    BY_PRELOAD,
    FORKED,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    PRELOADED,
    TEMPLATED,
    ActivationId,
    ContainerId,
    Failure,
    FailureKind,
    Function,
    FunctionKey,
    Origin,
    ResidentKey,
    Source,
    StartKind,
    is_function_template,
    is_template,
    templated_function,
)
from .plan_scope import PlanScope
from .pool import Container, Pool, Resident
from .ports import Policies, Use
from .queue import RequestQueue
from .registry import FunctionRecord, Registry
from .requests import CREATING, QUEUED, RUNNING, Request
from .timers import Timers
from .values import value

#: Seconds for which a computed loss of a container is used again. What a resident is worth changes slowly while its
#: function is not called, and computing it anew for every call would cost too much.
LOSS_VALID_S = 5.0
#: Seconds that making a template may take in all. The runtime may make it several times, each time without one more
#: module that does not survive a fork.
TEMPLATE_LIMIT_S = 300.0

_SOURCES: Final = {TEMPLATED: FROM_LIBRARIES, FORKED: FROM_FUNCTION}
"""What the function of a call is loaded from, by the call's start kind, where that kind says it."""


@value(frozen=True, slots=True)
class NodeSettings:
    """The part of the configuration that the core needs."""

    budget_bytes: int
    """The most that the limits of all containers may add up to."""
    max_queue: int = 10_000
    """Requests that may wait in the queue; more are refused."""
    max_loads: int = 1
    """Pre-loads under way at a time."""
    calls_beside: int | None = None
    """Pre-loads begin only while at most this many calls are running. Even at low priority, a load slows down calls
    when they use all processors. None: no such limit."""
    put_off_s: float = 2.0
    """Seconds after which a pre-load begins although `calls_beside` forbids it, since a busy node always runs calls."""
    retain: bool = True
    """Keep a function resident after its call. False: its process ends with the call, as in the paper's baseline."""
    overtake_s: float = 5.0
    """Seconds that a request waits for memory before it claims busy containers. When the calls in all of them have
    ended, their memory is kept for the request that claimed them."""
    templates: bool = True
    """Whether residents are forked from templates of their environments."""
    function_templates: bool = False
    """Whether function templates are made, and residents forked from them."""
    replace: bool = False
    """Whether a function gets a new container, ahead of its next call, when another function's call took its container.
    False: functions share the containers that exist, which takes least memory. True: each function has its own
    container, as under keep-alive alone, which gives the least latency."""
    guess_load_s: float = 1.0
    """Seconds that loading is assumed to take for a function that has never been loaded."""
    history: int = 64
    """Number of calls whose times are remembered for each function."""
    answer_grace_s: float = 15.0
    """Grace in seconds for a container's reports. A container is given up, and its call answered, when it has not
    reported the end of a call this long after the call's time limit, or of a resident this long after asking."""


@dataclass(slots=True)
class PreloadCounts:
    """What became of the pre-loads since the node started."""

    started: int = 0
    finished: int = 0
    failed: int = 0
    hits: int = 0
    """Pre-loaded residents that a call has used or waited for."""
    wasted: int = 0
    """Pre-loaded residents that ended without being used by a call."""


@value(frozen=True, slots=True)
class Claim:
    """A container whose memory a request will get that has waited too long for it."""

    request: ActivationId
    after: ActivationId
    """The call that ran in the container when it was claimed."""


@value(frozen=True, slots=True)
class Promise:
    """A pre-load or a function template that waits until residents of its container have ended and made room for it."""

    function: ResidentKey
    reason: str


class Books:
    """The whole state of a node, except for its story."""

    def __init__(self, settings: NodeSettings, policies: Policies, name: str, at: float) -> None:
        self.settings = settings
        self.name = name
        self.at = at
        """Time of the event that is being handled, or of the latest one."""
        self.pool = Pool(Ledger(settings.budget_bytes, at))
        self.guard = Guard(policies, self._note)
        self.functions = Registry(
            self.guard.forecast,
            guess_load_s=settings.guess_load_s,
            history=settings.history,
            templates=settings.templates,
            function_templates=settings.function_templates,
        )
        self.queue = RequestQueue()
        self.requests: dict[ActivationId, Request] = {}
        """Every accepted request that has not been answered."""
        self.draining = False
        self.preloads = PreloadCounts()
        self.timers = Timers()
        self.plan_scope = PlanScope()
        self.promises: dict[ContainerId, Promise] = {}
        """The loads that wait for room, by the idle container in which it is being made."""
        self.prewarm_at: dict[FunctionKey, float] = {}
        """When a new container is to be created for a function, ahead of its next call."""
        self.claims: dict[ContainerId, Claim] = {}
        """The containers that a request which has waited too long for memory will get, busy when they were claimed."""
        self.container_start_s = 0.5
        """Mean seconds that creating a container takes. A guess until the first container has started."""
        self.out: list[Decision] = []
        """Decisions made on the event that is being handled."""
        self.notes: list[str] = []
        """Notes for the story: why suggestions were not followed, and which policies failed."""
        self.retry_queue = False
        """Something has changed so that queued requests may be placed now."""
        self.opportunity = False
        """Something has changed that a pre-load plan depends on."""
        self.put_off_until: float | None = None
        """When pre-loads begin although `NodeSettings.calls_beside` forbids it. None while it does not forbid them."""
        self._created = 0

    def _note(self, text: str) -> None:
        self.notes.append(text)

    def create(self, function: Function, request: Request | None, reason: str) -> None:
        """Begin to create a container, for a request or (if that is None) ahead of any call."""
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

    def wait_for(self, container: Container, request: Request) -> None:
        """Give a request the container that is being created for its function ahead of any call."""
        self.pool.assign(container, request.activation)
        request.state, request.container, request.placed_at = CREATING, container.id, self.at
        request.start_kind = StartKind.PREWARMED

    @property
    def starved(self) -> Request | None:
        """The first queued request that waits for memory, and not for a particular busy container."""
        for request in self.queue:
            if request.patient_until <= self.at:
                return request
        return None

    def claims_at(self, request: Request) -> float:
        """When a request that waits for memory may claim busy containers."""
        return request.arrived_at + self.settings.overtake_s

    def run(self, request: Request, container: Container, start_kind: StartKind) -> None:
        """Hand a request to a container. All other functions in it end before user code sees the request."""
        others = self._make_way(container, request.function)
        if self.settings.function_templates:
            self._end_makings(container, request.function)
        if container.state is IDLE and container.owner not in (None, request.function):
            self.guard.evicted(container.as_kept())
            if self.settings.replace and container.owner is not None and start_kind is not PRELOADED:
                self.prewarm_at[container.owner] = self.at
                self.timers.arm(self.at, f"prewarm {container.owner}")
        self.pool.set_container_state(container, BUSY, self.at)
        self.promises.pop(container.id, None)
        container.owner, container.running = request.function, request.activation
        if request.state is QUEUED:
            request.placed_at = self.at
        request.state, request.container, request.run_at = RUNNING, container.id, self.at
        request.start_kind = start_kind
        request.source = _SOURCES.get(start_kind, FROM_NOTHING)
        resident = container.residents.get(request.function)
        if resident is None:
            if self.settings.function_templates:
                self._make_room_for(container, request.function)
            resident = self.add_resident(container, request.function, BY_CALL, "called")
        if resident.state is LOADING:
            request.loaded = False
            self._note_miss(request.function, start_kind)
        else:
            self.pool.set_resident_state(resident, IN_USE)
        self.expect_answer(request, container)
        if resident.origin is BY_PRELOAD and not resident.served:
            self.preloads.hits += 1
        resident.served = True
        self.out.append(Run(container.id, request.activation, request.function, start_kind, others))

    def _note_miss(self, key: FunctionKey, start_kind: StartKind) -> None:
        """Count a call that has to load its function, for the worth of the templates that it may be forked from.

        The library template is of no use to a call that is forked from its function template.
        """
        record = self.functions[key]
        if record.template is not None and start_kind is not FORKED:
            self.functions.templates[record.template].missed(self.at)
        if record.own_template is not None:
            self.functions.templates[record.own_template].missed(self.at)

    # -- overdue reports -----------------------------------------------------------------------------------------------

    def expect_answer(self, request: Request, container: Container) -> None:
        """Start the time limit of a call. If its function has to be loaded first, the limit counts twice: for the load
        and for the run."""
        limit_s = self.functions[request.function].function.timeout_s
        request.answer_by = self.at + (limit_s if request.loaded else 2 * limit_s) + self.settings.answer_grace_s
        self.timers.arm(request.answer_by, container.answer_timer)

    def _expect(self, resident: Resident, limit_s: float) -> None:
        """Start the time within which a container has to report the end of a resident's load, or its end."""
        resident.due_at = self.at + limit_s + self.settings.answer_grace_s
        self.timers.arm(resident.due_at, f"answer {resident.container}")

    def _expect_load(self, resident: Resident) -> None:
        if resident.is_template:
            self._expect(resident, TEMPLATE_LIMIT_S)
        else:
            self._expect(resident, self.functions[resident.function].function.timeout_s)

    def answer_due_at(self, container: Container) -> float:
        """When the next report of a container is due. ``inf`` if it has nothing to report."""
        request = self.requests.get(container.running) if container.running is not None else None
        due_at = math.inf if request is None else request.answer_by
        for resident in container.residents.values():
            # The limit of a call includes the loads that it waits for.
            if resident.state is UNLOADING or (resident.state is LOADING and request is None):
                due_at = min(due_at, resident.due_at)
        return due_at

    def check_answer_overdue(self, container: Container) -> None:
        """Give up a container whose report is overdue, since its manager is stuck.

        Its call is answered now. Its memory becomes free only when its end is reported, as always.
        """
        if container.state not in (IDLE, BUSY):
            return
        due_at = self.answer_due_at(container)
        if due_at > self.at:
            if due_at < math.inf:
                self.timers.arm(due_at, container.answer_timer)
            return
        text = f"its container gave no sign for {self.settings.answer_grace_s:g} s beyond the time limit and was ended"
        if container.running is not None:
            request = self.requests[container.running]
            container.running = None
            self.reply(request, 0.0, Failure(FailureKind.CONTAINER_LOST, f"the activation was given up: {text}"))
        self.stop(container, text)

    # -- making way ----------------------------------------------------------------------------------------------------

    def _make_way(self, container: Container, key: FunctionKey) -> tuple[FunctionKey, ...]:
        """End all functions of a container but one. Returns the others, with those that are being ended already."""
        others = [r for r in container.residents.values() if not r.is_template and r.function != key]
        if not others:
            return ()
        for other in others:
            if other.state is not UNLOADING:
                self.unload(other)
        return tuple([other.function for other in others])

    def _end_makings(self, container: Container, key: FunctionKey) -> None:
        """End the function templates of other functions that are being made in a container, before a call of `key`.

        Until such a template stands stopped, it runs its function's code.
        """
        for resident in list(container.residents.values()):
            making = resident.is_function_template and resident.state is LOADING
            if making and templated_function(resident.function) != key:
                self.offload(resident, f"it is not made yet, and {key} runs here")

    def _make_room_for(self, container: Container, key: FunctionKey) -> None:
        """End function templates, those that are worth least first, until a load of `key` fits beside the others.

        The template that the load is forked from stays.
        """
        lacks_bytes = self.estimate_in(container, key) - self.pool.ledger.free_in(container.id)
        if lacks_bytes > 0:
            lacks_bytes -= self.pool.freeing_in(container)
        if lacks_bytes <= 0:
            return
        own = self.functions[key].own_template
        ending = [r for r in container.residents.values() if r.is_function_template and r.state is LOADED]
        ending.sort(key=lambda r: (self.template_worth_s(r.function), r.function))
        for resident in ending:
            if lacks_bytes > 0 and resident.function != own:
                lacks_bytes -= self.pool.ledger.charged(container.id, resident.function)
                self.offload(resident, f"room for {key}")

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
        self.pool.set_container_state(container, IDLE, self.at)
        for resident in container.residents.values():
            if resident.state is LOADING:  # a template whose load waited for the call to end
                self._expect_load(resident)
        self._keep(container, after_call)
        self.shrink(container)
        self.retry_queue = True
        self.opportunity = True

    def _keep(self, container: Container, after_call: bool) -> None:
        """Ask the keep-alive policy how long to keep an idle container, and arm the timers for it."""
        owner = self.functions.get(container.owner) if container.owner is not None else None
        cost_s = self.container_start_s
        if owner is not None:
            cost_s += self.functions.load_s(owner.function.key)
        use = Use(self.at, container.id, container.owner, after_call, container.limit_bytes, cost_s)
        idle = self.guard.idle(use)
        container.expires_at, container.shared_at = idle.expires_at, idle.shared_at
        if (due := min(idle.expires_at, idle.shared_at)) < math.inf:
            self.timers.arm(due, f"container {container.id}")
        if idle.prewarm_at is not None and container.owner is not None:
            self.prewarm_at[container.owner] = idle.prewarm_at
            self.timers.arm(idle.prewarm_at, f"prewarm {container.owner}")

    def share(self, container: Container) -> None:
        """Stop keeping an idle container for its owner, and end the residents that calls left in it."""
        self.pool.disown(container)
        for resident in list(container.residents.values()):
            if resident.origin is BY_CALL and resident.state is LOADED and not resident.is_template:
                self.offload(resident, "its container is for others now")
        self.retry_queue = True

    def stop(self, container: Container, reason: str) -> None:
        self.pool.set_container_state(container, STOPPING, self.at)
        self.claims.pop(container.id, None)
        self.timers.disarm(container.answer_timer)
        self.out.append(StopContainer(container.id, reason))

    def lose(self, container: Container, failure: Failure) -> None:
        """Remove a container that no longer exists. The call that it ran or was started for ends with `failure`."""
        request = self.requests[container.running] if container.running is not None else None
        functions = list(container.residents)
        for resident in container.residents.values():
            self._count_end(resident)
            if resident.is_function_template and resident.state is LOADED and container.state is STOPPING:
                self.functions.template_taken(resident.function)
        self.pool.set_container_state(container, CONTAINER_GONE, self.at)
        self.promises.pop(container.id, None)
        self.claims.pop(container.id, None)
        self.timers.disarm(container.answer_timer)
        self.timers.disarm(f"container {container.id}")
        self.guard.ended(container.as_kept())
        self.retry_queue = self.opportunity = True
        if request is not None and request.state is RUNNING:
            self.reply(request, 0.0, failure)
        elif request is not None:
            self.refuse(request, failure)
        for key in functions:
            self.forget_if_unused(key)

    def add_resident(self, container: Container, key: ResidentKey, origin: Origin, reason: str) -> Resident:
        resident = Resident(key, container.id, LOADING, origin, self.at, reason)
        self.pool.add(resident, self.estimate_in(container, key))
        self._expect_load(resident)
        return resident

    def estimate_in(self, container: Container, key: ResidentKey) -> int:
        """Bytes that a load is expected to add to a container."""
        return self.functions.estimate_bytes(key, FROM_NOTHING if is_template(key) else self.source_in(container, key))

    def source_in(self, container: Container, key: FunctionKey) -> Source:
        """What a load of a function in a container would be made from."""
        record = self.functions[key]
        return self.pool.source_in(container, record.own_template, record.template)

    def measured(self, resident: Resident, size_bytes: int) -> None:
        """Note the measured size of a loaded resident in the ledger and in the profile that it belongs to."""
        key, functions = resident.function, self.functions
        self.pool.charge(self.pool.containers[resident.container], key, size_bytes)
        if resident.is_template:
            template = functions.templates[key]
            template.profile = template.profile.with_bytes(size_bytes, forked=False)
            return
        record = functions[key]
        if resident.source is not FROM_FUNCTION:
            record.profile = record.profile.with_bytes(size_bytes, forked=resident.source is FROM_LIBRARIES)
        elif record.own_template is not None:
            template = functions.templates[record.own_template]
            template.profile = template.profile.with_bytes(size_bytes, forked=True)

    def unload(self, resident: Resident) -> None:
        """Note that the end of a resident was asked for or has begun."""
        self.pool.set_resident_state(resident, UNLOADING)
        self._expect(resident, 0.0)

    def offload(self, resident: Resident, reason: str) -> None:
        self.unload(resident)
        self.out.append(Offload(resident.container, resident.function, reason))

    def shrink(self, container: Container) -> None:
        """End the residents that are worth least until a container is within its limit again.

        Measurements can show that residents are larger than estimated. At least one resident stays. Function templates
        go first: what was learned of the container's room is that there is none for them.
        """
        excess = -self.pool.ledger.free_in(container.id)
        if excess > 0:
            excess -= self.pool.freeing_in(container)
        if excess <= 0:
            return
        kept = [r for r in container.residents.values() if r.state is not UNLOADING]
        used = {self.functions[r.function].template for r in kept if r.source is FROM_LIBRARIES and not r.is_template}
        kept.sort(key=lambda r: (_shrinks(r, used), self._spared_s(r), r.function))
        for resident in kept[:-1]:
            if excess > 0:
                excess -= self.pool.ledger.charged(container.id, resident.function)
                self.offload(resident, "measured memory is above the container's limit")

    def _spared_s(self, resident: Resident) -> float:
        """What residents of one rank are compared by when memory is short."""
        key = resident.function
        return self.template_worth_s(key) if resident.is_function_template else self.worth_s(key)

    def end(self, container: Container, resident: Resident) -> None:
        """Remove a resident whose processes have ended; its memory is free."""
        self._count_end(resident)
        self.pool.set_resident_state(resident, RESIDENT_GONE)
        self.retry_queue = self.opportunity = True
        # The container may have waited for the end of the process that served its last call.
        waited = container.state is BUSY and container.running is None
        if waited and resident.function == container.owner:
            self.fall_idle(container)
        self.forget_if_unused(resident.function)

    def _count_end(self, resident: Resident) -> None:
        if resident.origin is BY_PRELOAD and not resident.served and not resident.is_template:
            self.preloads.wasted += 1

    def forget_if_unused(self, key: ResidentKey) -> None:
        """Forget a removed function, or a template without functions, if nothing of it is left on the node."""
        if key in self.pool.by_function:
            return
        if is_template(key):
            if self.functions.unused_template(key):
                del self.functions.templates[key]
                self.out.append(Forget(key))
            return
        record = self.functions.get(key)
        if record is None or not record.removed or any(request.function == key for request in self.requests.values()):
            return
        self.functions.forget(key, self.at)
        self.guard.forget(key)
        self.prewarm_at.pop(key, None)
        self.pool.new_candidates.pop(key, None)
        for name in ("due", "prewarm"):
            self.timers.disarm(f"{name} {key}")
        self.out.append(Forget(key))
        for template in (record.template, record.own_template):
            if template is not None:
                self.end_if_unused(template)

    def end_if_unused(self, template: ResidentKey) -> None:
        """End and forget a template if no function can be forked from it any longer."""
        if self.functions.unused_template(template):
            self.end_templates(template, "no function is forked from it any longer")
            self.forget_if_unused(template)

    def end_templates(self, template: ResidentKey, reason: str) -> None:
        for _, resident in list(self.pool.residents_of(template)):
            if resident.state in (LOADING, LOADED):
                self.offload(resident, reason)

    def worth_s(self, key: ResidentKey) -> float:
        """Expected seconds that a resident saves, as the pre-loading policy sees it. 0 for a template."""
        if is_template(key) or not self.guard.preloading_active:
            return 0.0
        record = self.functions[key]
        worth_s = self.guard.worth(self.functions.view_of(record, key, self.pool), self.at)
        if worth_s is None:
            self.mend_forecast(record)
            return 0.0
        return worth_s

    def rate_of(self, record: FunctionRecord) -> float | None:
        """Expected calls per second of a function now. None without a forecast, or when the forecast fails."""
        return None if record.forecast is None else self.guard.rate(record.forecast, self.at)

    def mend_forecast(self, record: FunctionRecord) -> None:
        """Replace the forecast of a function if it is broken, after something that used it has failed."""
        forecast = record.forecast
        if forecast is not None and not self.guard.is_sound(forecast, self.at):
            record.forecast = plain_forecast(record.arrivals)

    def takeover_loss_s(self, container: Container) -> float:
        """Expected seconds that the residents of an idle container lose when a call of another function takes it.

        The result is used again for `LOSS_VALID_S`, as long as the contents of the container do not change.
        """
        if self.at >= container.loss_valid_until:
            lost_s = templates_s = 0.0
            templates_bytes = 0
            for resident in container.residents.values():
                if resident.state is UNLOADING:
                    continue
                if resident.is_template:
                    templates_s += self.template_worth_s(resident.function)
                    templates_bytes += self.pool.ledger.charged(container.id, resident.function)
                else:
                    lost_s += self.worth_s(resident.function)
            container.takeover_loss_s = lost_s
            container.templates_worth_s, container.templates_bytes = templates_s, templates_bytes
            container.loss_valid_until = self.at + LOSS_VALID_S
        return container.takeover_loss_s

    def template_worth_s(self, key: ResidentKey) -> float:
        """Expected seconds of loading that calls have to wait for if one copy of a template is lost.

        With several copies on the node, each is worth an equal part of that.
        """
        template = self.functions.templates[key]
        saves_s = template.profile.library_s
        if is_function_template(key):
            saves_s = sum(self.functions.saves_s(user, self.pool) for user in template.users)
        return saves_s * template.chance(self.at) / max(1, self.pool.copies.get(key, 0))


def _shrinks(resident: Resident, used: Set[ResidentKey | None]) -> int:
    """Sort key for ending residents when memory is short, lowest first.

    0: function templates. 1: pre-loaded functions, which are guesses. 2: library templates that no resident there was
    forked from. 3: functions that calls left there. 4: library templates that residents there were forked from.
    """
    if resident.is_function_template:
        return 0
    if resident.is_template:
        return 4 if resident.function in used else 2
    return 1 if resident.origin is BY_PRELOAD else 3
