"""The basic changes to what a node knows.

`Books` holds the pool, the functions, the requests and the queue. Each method makes one change, keeps these parts
consistent with each other, and records the decision that belongs to the change. The modules `placement`, `claims`,
`preloading`, `deadlines` and `node` decide when to make which change.

The books have layers, each of which knows only those below it: `State`, `Worth`, `Sizing`, `Residents` and `Books`.
"""

from __future__ import annotations

import math
from typing import Final

from .decisions import Forget, Refuse, Reply, Run, StartContainer, StopContainer
from .errors import InternalError
from .lifecycle import BUSY, CONTAINER_GONE, IDLE, IN_USE, LOADED, LOADING, RESIDENT_GONE, STARTING, STOPPING
from .model import (
    BY_CALL,
    BY_PRELOAD,
    FORKED,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    PRELOADED,
    TEMPLATED,
    WARM,
    EndCause,
    Failure,
    Function,
    FunctionKey,
    ResidentKey,
    StartKind,
    is_template,
)
from .pool import Container, Resident
from .ports import Idle, Use
from .records import FunctionRecord
from .requests import CREATING, QUEUED, RUNNING, Request
from .residents import Residents

_SOURCES: Final = {TEMPLATED: FROM_LIBRARIES, FORKED: FROM_FUNCTION}
"""What the function of a call is loaded from, by the call's start kind, where that kind says it."""

CREATE_AGAIN_S: Final = 10.0
"""Seconds after a container has failed in which none is created ahead of calls."""


class Books(Residents):
    """The state of a node with all changes to it. They concern requests and containers here, and residents below."""

    def create(self, function: Function, request: Request | None, reason: str) -> None:
        """Begin to create a container, for a request or (if that is None) ahead of any call."""
        self._created += 1
        container = Container(
            id=f"{self.name}-c{self._created}",
            namespace=function.namespace,
            limit_bytes=self.size_of_new(function, is_for_call=request is not None),
            state=STARTING,
            since=self.at,
            owner=function.key,
            running=request.activation if request is not None else None,
            image=function.image,
        )
        self.pool.open(container, self.at)
        if request is not None:
            request.state, request.container, request.placed_at = CREATING, container.id, self.at
            request.start_kind = StartKind.COLD
        limit_bytes = container.limit_bytes
        self.out.append(StartContainer(container.id, container.namespace, limit_bytes, reason, container.image))

    def wait_for(self, container: Container, request: Request) -> None:
        """Give a request the container that is being created for its function ahead of any call."""
        container.running = request.activation
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
        self.grow_for_run(container, self.functions[request.function].function)
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
        if start_kind is not WARM:
            self.functions[request.function].missed.append(self.at)
        self.expect_answer(request, container)
        if resident.origin is BY_PRELOAD and not resident.served:
            self.preloads.hits += 1
        resident.served = True
        self.out.append(Run(container.id, request.activation, request.function, start_kind, others))

    def _note_miss(self, key: FunctionKey, start_kind: StartKind) -> None:
        """Count a call that has to load its function without a function template: it needs a library template."""
        record = self.functions[key]
        if record.template is not None and start_kind is not FORKED:
            self.functions.templates[record.template].missed.append(self.at)

    # -- answers -------------------------------------------------------------------------------------------------------

    def reply(self, request: Request, compute_s: float, failure: Failure | None) -> None:
        self._answered(request)
        if request.container is None or request.start_kind is None:
            raise InternalError(f"{request.activation} has an answer and never had a container")
        phases = request.phases(self.at, compute_s)
        self.out.append(
            Reply(
                request.activation,
                request.function,
                request.container,
                request.start_kind,
                phases,
                failure,
                request.options,
            )
        )

    def repeat(self, request: Request) -> None:
        """Let a request wait for a container again, because its function's process has died of memory."""
        again = Request(request.activation, request.function, request.arrived_at, is_repeated=True)
        self.requests[request.activation] = again
        self.queue.append(again)
        self.timers.arm(self.claims_at(again), "claim")

    def refuse(self, request: Request, failure: Failure) -> None:
        self._answered(request)
        self.out.append(Refuse(request.activation, failure, request.phases(self.at)))

    def _answered(self, request: Request) -> None:
        del self.requests[request.activation]
        self.functions[request.function].concurrency.answered()

    # -- containers ----------------------------------------------------------------------------------------------------

    def fall_idle(self, container: Container, *, after_call: bool = True) -> None:
        container.running = None
        if self.draining:
            self.stop(container, "the node is being shut down", EndCause.SHUTDOWN)
            return
        self.pool.set_container_state(container, IDLE, self.at)
        for resident in container.residents.values():
            if resident.state is LOADING:  # a template whose load waited for the call to end
                self._expect_load(resident)
        owner = self.functions.get(container.owner) if container.owner is not None else None
        self.right_size(container)
        self._keep(container, owner, after_call)
        self.shrink(container)
        may_make = after_call and self.settings.function_templates
        if may_make and owner is not None and owner.own_template not in self.pool.copies:
            self.pool.new_candidates[owner.function.key] = None  # its function template may be made now
        self.retry_queue = True
        self.opportunity = True

    def _keep(self, container: Container, owner: FunctionRecord | None, after_call: bool) -> None:
        """Ask the keep-alive policy how long to keep an idle container, and arm the timers for it."""
        cost_s = self.container_start_s
        if owner is not None:
            cost_s += self.functions.load_s(owner.function.key)
        use = Use(self.at, container.id, container.owner, after_call, container.limit_bytes, cost_s)
        idle = self.guard.idle(use)
        keep_s = owner.function.keep_alive_s if owner is not None and after_call else None
        container.stays = keep_s is not None
        if keep_s is not None:
            idle = Idle(self.at + keep_s)
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
                self.offload(resident, "its container is for others now", EndCause.SHARED)
        self.retry_queue = True

    def stop(self, container: Container, reason: str, cause: EndCause) -> None:
        self.pool.set_container_state(container, STOPPING, self.at)
        self.claims.pop(container.id, None)
        self.timers.disarm(container.answer_timer)
        self.out.append(StopContainer(container.id, reason, cause))

    def lose(self, container: Container, failure: Failure) -> None:
        """Remove a container that no longer exists. The call that it ran or was started for ends with `failure`."""
        request = self.requests[container.running] if container.running is not None else None
        functions = list(container.residents)
        if container.state is not STOPPING:
            # Otherwise, where no container can be created, one would be begun again and again.
            self.create_again_at = self.at + CREATE_AGAIN_S
            self.timers.arm(self.create_again_at, "loads")
        for resident in container.residents.values():
            self._count_end(resident)
            if resident.is_function_template and resident.state is LOADED and container.state is STOPPING:
                self.functions.may_be_made_anew(resident.function)
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

    # -- what is forgotten ---------------------------------------------------------------------------------------------

    def forget_if_unused(self, key: ResidentKey) -> None:
        """Forget a removed function, or a template without functions, if nothing of it is left on the node."""
        if key in self.pool.by_function:
            return
        if is_template(key):
            if self.functions.unused_template(key):
                self.functions.forget_template(key)
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
