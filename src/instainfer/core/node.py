"""The state of one node: it takes events and returns decisions.

`NodeState.handle` is the only way to change it. It checks the event against the books, changes the books, and returns
what should be done now. An event that cannot have happened raises `IllegalEvent` and changes nothing. Drivers carry
the decisions out and report the outcomes as new events; they never decide anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final

from . import events
from .books import Books, NodeSettings
from .decisions import Decision, Refuse, Remember, WakeAt
from .errors import IllegalEvent, InternalError
from .lifecycle import (
    BUSY,
    IDLE,
    IN_USE,
    LOADED,
    LOADING,
    RESIDENT_GONE,
    STARTING,
    STOPPING,
    UNLOADING,
    ResidentState,
)
from .model import (
    BY_CALL,
    BY_PRELOAD,
    FROM_FUNCTION,
    FROM_LIBRARIES,
    ContainerId,
    Failure,
    FailureKind,
    FunctionKey,
    Profile,
    StartKind,
    function_template_key,
    is_function_template,
    is_template,
    template_key,
    templated_function,
)
from .placement import drain_queue, place
from .pool import Container, Resident
from .ports import Policies
from .preloading import loads_may_begin, preload
from .registry import FunctionRecord, TemplateRecord
from .requests import Request
from .story import Story
from .templating import make_templates

__all__ = ["NodeSettings", "NodeState"]


_ANY_STATE: Final = tuple(ResidentState)


class NodeState:
    """One node. `at` is the time when it starts, in seconds of the clock that all events use."""

    def __init__(
        self,
        settings: NodeSettings,
        policies: Policies,
        name: str = "node",
        at: float = 0.0,
        *,
        story: Story | None = None,
    ) -> None:
        self.books = Books(settings, policies, name, at)
        """For reading only; `handle` changes it."""
        self.story = Story() if story is None else story
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
    def name(self) -> str:
        return self.books.name

    @property
    def drained(self) -> bool:
        """Whether `DrainAsked` has come and no container and no request is left."""
        return self.books.draining and not self.books.pool.containers and not self.books.requests

    def handle(self, event: events.Event) -> list[Decision]:
        """Take in one event and return what should be done now.

        Raises `IllegalEvent`, and changes nothing, when the event contradicts the books.
        """
        books = self.books
        before = books.at
        if event.at < before:
            raise self._illegal(event, f"it is earlier than the last one, at {before}")
        books.out, books.notes, books.at = [], [], event.at
        try:
            self._handlers[type(event)](event)
        except IllegalEvent:
            books.at = before
            raise
        if books.retry_queue:
            books.retry_queue = False
            if books.queue:
                drain_queue(books)
        _begin_loads(books)
        if (when := books.timers.ask()) is not None:
            books.out.append(WakeAt(when))
        self.story.append(event, books.out, books.notes)
        return books.out

    # -- functions -----------------------------------------------------------------------------------------------------

    def _on_function_registered(self, event: events.FunctionRegistered) -> None:
        self.books.functions.register(event.function, event.profile, event.at)
        # The process of a template may read only the folders of the functions that it was made for.
        self.books.end_templates(event.function.template, "a function has come that it does not know")
        self.books.end_if_unused(function_template_key(event.function.key))  # the function may not have one any longer
        self.books.plan_scope.thorough_at = event.at
        self.books.opportunity = True

    def _on_function_removed(self, event: events.FunctionRemoved) -> None:
        record = self.books.functions.get(event.function)
        if record is None:
            return
        record.removed = True
        for container, resident in list(self.books.pool.residents_of(event.function)):
            if container.state is IDLE and resident.state is not UNLOADING:
                self.books.offload(resident, "the function was removed")
        if record.own_template is not None:
            self.books.end_templates(record.own_template, "the function was removed")
        self.books.forget_if_unused(event.function)

    # -- requests ------------------------------------------------------------------------------------------------------

    def _on_request_arrived(self, event: events.RequestArrived) -> None:
        if event.activation in self.books.requests:
            raise self._illegal(event, "this activation is being served already")
        record = self.books.functions.get(event.function)
        failure = self._refusal(event.function, record)
        if failure is not None:
            self.books.out.append(Refuse(event.activation, failure))
            return
        books = self.books
        books.functions.called(event.function, event.at)
        books.guard.called(event.function, event.at)
        request = Request(event.activation, event.function, event.at)
        books.requests[event.activation] = request
        may_wait = len(books.queue) < books.settings.max_queue
        ahead = books.queue.count(event.function)
        if place(books, request, ahead=ahead, starved=books.starved, may_wait=may_wait):
            return
        if may_wait:
            books.queue.append(request)
            books.timers.arm(books.claims_at(request), "claim")
        else:
            text = f"{books.settings.max_queue} activations are waiting already; try again later"
            books.refuse(request, Failure(FailureKind.QUEUE_FULL, text))

    def _refusal(self, key: FunctionKey, record: FunctionRecord | None) -> Failure | None:
        if self.books.draining:
            return Failure(FailureKind.DRAINING, "the node is being shut down")
        if record is None or record.removed:
            return Failure(FailureKind.UNKNOWN_FUNCTION, f"there is no function {key} on this node")
        if record.function.memory_bytes > self.books.settings.budget_bytes:
            budget_bytes = self.books.settings.budget_bytes
            text = f"{key} needs {record.function.memory_bytes} bytes; the node has {budget_bytes} in all"
            return Failure(FailureKind.TOO_LARGE, text)
        return None

    # -- containers ----------------------------------------------------------------------------------------------------

    def _on_container_started(self, event: events.ContainerStarted) -> None:
        container = self._container(event)
        if container.state is STOPPING:
            return
        if container.state is not STARTING:
            raise self._illegal(event, f"the container is {container.state}")
        took_s = event.at - container.since
        self.books.container_start_s += Profile.WEIGHT * (took_s - self.books.container_start_s)
        if container.running is None:
            self.books.fall_idle(container, after_call=False)
        else:
            request = self.books.requests[container.running]
            self.books.run(request, container, request.start_kind or StartKind.COLD)

    def _on_container_start_failed(self, event: events.ContainerStartFailed) -> None:
        container = self._container(event)
        if container.state not in (STARTING, STOPPING):
            raise self._illegal(event, f"the container is {container.state}")
        self.books.lose(container, event.failure)

    def _on_container_gone(self, event: events.ContainerGone) -> None:
        container = self._container(event)
        self.books.lose(container, event.failure or Failure(FailureKind.CONTAINER_LOST, "it was stopped"))

    # -- residents -----------------------------------------------------------------------------------------------------

    def _on_load_finished(self, event: events.LoadFinished) -> None:
        if is_template(event.function):
            self._template_loaded(event)
            return
        if self._is_too_late(event):
            return
        container, resident = self._resident(event, LOADING, UNLOADING)
        books = self.books
        record = books.functions[event.function]
        record.load_failure = None
        resident.source = event.source
        if event.source is FROM_FUNCTION:
            self._forked(record, event)
        else:
            record.profile = record.profile.with_load(
                event.library_s, event.model_s, event.resident_bytes, forked=event.source is FROM_LIBRARIES
            )
            books.out.append(Remember(event.function, record.profile))
        books.pool.charge(container, event.function, event.resident_bytes)
        books.opportunity = True
        if resident.state is UNLOADING:
            return
        if container.running is not None:
            books.pool.set_resident_state(resident, IN_USE)
            request = books.requests[container.running]
            request.waited_for_load(event.at, event.library_s, event.model_s)
            books.expect_answer(request, container)
        else:
            books.pool.set_resident_state(resident, LOADED)
            books.preloads.finished += 1
            if container.state is IDLE:
                # Only queued calls of this function, which wait for a busy container, have reason to look again.
                books.retry_queue = books.retry_queue or books.queue.count(event.function) > 0
                books.shrink(container)

    def _forked(self, record: FunctionRecord, event: events.LoadFinished) -> None:
        """Measure a function template by a resident that was forked from it."""
        if record.own_template is not None:
            template = self.books.functions.templates[record.own_template]
            template.profile = template.profile.with_fork(event.library_s + event.model_s, event.resident_bytes)

    def _template_loaded(self, event: events.LoadFinished) -> None:
        container = self._container(event)
        books = self.books
        resident = container.residents.get(event.function)
        if is_function_template(event.function):
            if resident is None:
                if self._is_too_late(event):
                    return
                raise self._illegal(event, "nobody asked for this function template")
        elif not event.function.startswith(template_key(container.namespace, "")):
            raise self._illegal(event, f"it is none of the templates of {container.namespace}")
        if resident is not None and resident.state not in (LOADING, UNLOADING):
            raise self._illegal(event, "it is there already")
        # The record may be gone: the last function that used the template may have been removed meanwhile.
        record = books.functions.templates.setdefault(event.function, TemplateRecord(container.namespace))
        record.profile = record.profile.with_load(event.library_s, event.model_s, event.resident_bytes)
        record.load_failure = None
        if resident is None:
            # The container made it in order to fork a function from it.
            resident = books.add_resident(container, event.function, BY_CALL, "made for a load")
        if resident.state is LOADING:
            books.pool.set_resident_state(resident, LOADED)
        books.pool.charge(container, event.function, event.resident_bytes)
        for other in container.residents.values():
            # Functions that are loading there are forked from it now, and take less memory than estimated before.
            if other.state is LOADING and not other.is_template and not resident.is_function_template:
                books.pool.charge(container, other.function, books.estimate_in(container, other.function))
        if container.running is not None:
            request = books.requests[container.running]
            if not request.loaded and books.functions[request.function].template == event.function:
                request.template_made(event.at, event.library_s)
        if container.state is IDLE:
            books.shrink(container)
        if not record.users and resident.state is LOADED:
            books.offload(resident, "no function is forked from it any longer")
        books.opportunity = True

    def _on_load_failed(self, event: events.LoadFailed) -> None:
        if is_template(event.function):
            self._template_failed(event)
            return
        if self._is_too_late(event):
            return
        container, resident = self._resident(event, LOADING, UNLOADING)
        self.books.functions[event.function].load_failure = event.failure
        if resident.origin is BY_PRELOAD:
            self.books.preloads.failed += 1
        self.books.opportunity = True
        # If a call waits for this load, the container goes on with the call: it fails too, or, if the failed load was a
        # pre-load, the function is loaded once more.
        if container.running is None or resident.state is UNLOADING:
            self.books.end(container, resident)
        else:
            self.books.requests[container.running].load_failed(event.at)

    def _template_failed(self, event: events.LoadFailed) -> None:
        container = self._container(event)
        record = self.books.functions.templates.get(event.function)
        if record is not None:
            record.load_failure = event.failure
        if (resident := container.residents.get(event.function)) is not None:
            self.books.end(container, resident)

    def _on_resident_gone(self, event: events.ResidentGone) -> None:
        if self._is_too_late(event):
            return
        container, resident = self._resident(event, *_ANY_STATE)
        asked = resident.state is UNLOADING or container.state is STOPPING
        if not asked and event.failure is None:
            raise self._illegal(event, f"nobody asked for its end; it is {resident.state}")
        if not asked and container.running is not None and not resident.is_template:
            # The process died while a call for it was on its way to the container. The call loads the function anew.
            request = self.books.requests[container.running]
            request.loaded, request.start_kind = False, StartKind.PREWARMED
            self.books.pool.set_resident_state(resident, RESIDENT_GONE)
            self.books.add_resident(container, event.function, BY_CALL, "called, after its process had died")
            self.books.expect_answer(request, container)
            return
        self.books.end(container, resident)

    def _on_run_finished(self, event: events.RunFinished) -> None:
        container = self._container(event)
        if container.state is STOPPING and container.running is None:
            return  # the container was given up before, and its call was answered then
        if container.state is not BUSY or container.running != event.activation:
            raise self._illegal(event, f"the container is {container.state} and runs {container.running}")
        request = self.books.requests[event.activation]
        resident = container.residents[request.function]
        if resident.state is LOADING and event.alive:
            raise self._illegal(event, "its function has not been loaded")
        record = self.books.functions[request.function]
        if event.failure is None:
            record.profile = record.profile.with_run(event.compute_s)
            if record.profile.runs % 100 == 1:
                self.books.out.append(Remember(request.function, record.profile))
        self.books.reply(request, event.compute_s, event.failure)
        container.running = None
        if resident.state is LOADING:
            self.books.end(container, resident)
        elif not event.alive:
            self.books.unload(resident)
        elif record.removed or not self.books.settings.retain:
            self.books.offload(
                resident, "the function was removed" if record.removed else "its process ends with its call"
            )
        else:
            self.books.pool.set_resident_state(resident, LOADED)
            resident.origin = BY_CALL
            self.books.measured(resident, event.resident_bytes)
            self.books.fall_idle(container)

    def _on_memory_measured(self, event: events.MemoryMeasured) -> None:
        container = self._container(event)
        for key, measured_bytes in event.resident_bytes:
            resident = container.residents.get(key)
            if resident is None:
                continue
            self.books.measured(resident, measured_bytes)
        if container.state is IDLE:
            self.books.shrink(container)

    # -- time and end --------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, event: events.TimerFired) -> None:
        books = self.books
        for name in books.timers.fired(event.at):
            what, _, key = name.partition(" ")
            if what == "request":
                books.retry_queue = books.retry_queue or key in books.requests
            elif what == "claim":
                books.retry_queue = True
            elif what == "answer":
                if key in books.pool.containers:
                    books.check_answer_overdue(books.pool.containers[key])
            elif what == "due":
                if key in books.functions:
                    books.pool.new_candidates[key] = None
                    books.opportunity = True
            elif what == "prewarm":
                self._prewarm(key, event.at)
            elif what == "loads":
                pass  # `books.opportunity` is still set, so a plan follows below
            elif (container := books.pool.idle.get(key)) is not None:
                self._look_at_idle(container, event.at)
        if books.timers.plan_at is not None and books.timers.plan_at <= event.at:
            books.timers.plan_at = None
            books.opportunity = True

    def _look_at_idle(self, container: Container, at: float) -> None:
        """Stop or share an idle container if the time that keep-alive set for that has come."""
        if container.expires_at <= at:
            self.books.stop(container, "it was idle for as long as keep-alive allows")
            return
        if container.owner is not None and container.shared_at <= at:
            self.books.share(container)
        due = container.expires_at if container.owner is None else min(container.expires_at, container.shared_at)
        if due < math.inf:
            self.books.timers.arm(due, f"container {container.id}")

    def _prewarm(self, key: FunctionKey, at: float) -> None:
        """Create a container for a function ahead of its next call, unless it has one or there is no free memory."""
        books = self.books
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

    def _on_drain_asked(self, event: events.DrainAsked) -> None:
        self.books.draining = True
        self.books.claims.clear()
        failure = Failure(FailureKind.DRAINING, "the node is being shut down")
        for request in list(self.books.queue):
            self.books.queue.remove(request)
            self.books.refuse(request, failure)
        for container in list(self.books.pool.containers.values()):
            if container.state is STARTING and container.running is not None:
                self.books.refuse(self.books.requests[container.running], failure)
                container.running = None  # it is stopped below
            if container.state in (STARTING, IDLE):
                self.books.stop(container, "the node is being shut down")

    # -- checks --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `InternalError` unless all books agree and each accepted request is in exactly one place."""
        books = self.books
        books.pool.check()
        if any(books.pool.containers[id_].state not in (BUSY, IDLE) for id_ in books.claims):
            raise InternalError(f"claimed containers {sorted(books.claims)} are not all busy or idle")
        for key, template in books.functions.templates.items():
            users = [user for user in template.users if books.functions.get(user) is None]
            if users or (not template.users and key not in books.pool.by_function):
                raise InternalError(f"{key} is there for {users}, which are not")
            if is_function_template(key) and template.users not in ((), (templated_function(key),)):
                raise InternalError(f"{key} is there for {template.users}")
        for key in books.functions.without_template:
            if books.functions[key].own_template is None:
                raise InternalError(f"{key} is to get a function template, and never has one")
        stale = books.guard.stale_memory(set(books.functions), set(books.pool.containers))
        if stale is not None:
            raise InternalError(stale)
        for container in books.pool.containers.values():
            if books.answer_due_at(container) < books.at and container.state in (IDLE, BUSY):
                raise InternalError(f"container {container.id} owes an answer and nobody looks")
        queued = [r.activation for r in self.books.queue]
        placed = [c.running for c in self.books.pool.containers.values() if c.running is not None]
        if sorted(queued + placed) != sorted(self.books.requests):
            raise InternalError(
                f"requests {sorted(self.books.requests)} are not those queued {queued} or placed {placed}"
            )
        for container in self.books.pool.containers.values():
            running = container.running
            if running is not None and self.books.requests[running].container != container.id:
                raise InternalError(f"{running} is in {container.id} and believes to be elsewhere")
            making = [r for r in container.residents.values() if r.is_function_template and r.state is LOADING]
            if running is not None and container.state is BUSY:
                calls = self.books.requests[running].function
                if any(templated_function(resident.function) != calls for resident in making):
                    raise InternalError(f"{calls} runs in {container.id} beside {making}, which run code there")
            functions = [key for key in container.residents if not is_template(key)]
            if any(self.books.functions.get(key) is None for key in functions):
                raise InternalError(f"container {container.id} holds a function that nobody knows")
            namespaces = {self.books.functions[key].function.namespace for key in functions}
            namespaces |= {self.books.functions.templates[k].namespace for k in container.residents if is_template(k)}
            if namespaces - {container.namespace}:
                raise InternalError(
                    f"container {container.id} of {container.namespace} holds functions of {namespaces}"
                )

    def _container(self, event: Any) -> Container:
        container: ContainerId = event.container
        if container not in self.books.pool.containers:
            raise self._illegal(event, "there is no such container")
        return self.books.pool.containers[container]

    def _is_too_late(self, event: Any) -> bool:
        """Whether this is about a resident that is not there any longer, in a container that is being stopped.

        A container that was given up may still have said what it did before it was told to stop.
        """
        container = self._container(event)
        return container.state is STOPPING and event.function not in container.residents

    def _resident(self, event: Any, *states: ResidentState) -> tuple[Container, Resident]:
        container = self._container(event)
        resident = container.residents.get(event.function)
        if resident is None or resident.state not in states:
            where = "not there" if resident is None else resident.state.value
            raise self._illegal(event, f"the resident is {where}")
        return container, resident

    def _illegal(self, event: events.Event, why: str) -> IllegalEvent:
        return IllegalEvent(f"{event}: {why}. What happened before:\n{self.story.tail()}")


def _begin_loads(books: Books) -> None:
    """Begin the loads that no call asks for, as far as calls allow: pre-loads, then function templates."""
    plans = books.opportunity and books.guard.preloading_active
    makes = books.settings.function_templates and bool(books.pool.unlooked)
    if (plans or makes) and loads_may_begin(books):
        if plans:
            preload(books)
        if makes:
            make_templates(books)
