"""The state of one node: it takes events and returns decisions.

`NodeState.handle` is the only way to change it. It checks the event against the books, changes the books, and returns
what should be done now. An event that cannot have happened raises `IllegalEvent` and changes nothing. Drivers carry
the decisions out and report the outcomes as new events; they never decide anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import events
from .books import Books
from .checks import check
from .deadlines import deadlines_passed, look_at_overdue
from .decisions import Decision, Refuse, WakeAt
from .errors import IllegalEvent
from .lifecycle import (
    IDLE,
    STARTING,
    STOPPING,
)
from .model import (
    MIB,
    EndCause,
    Failure,
    FailureKind,
    FunctionKey,
    Profile,
    StartKind,
    function_template_key,
)
from .placement import drain_queue, place
from .ports import Policies
from .preloading import loads_may_begin, preload
from .records import FunctionRecord
from .reports import Reports
from .requests import Request
from .settings import NodeSettings
from .story import Story

__all__ = ["NodeSettings", "NodeState"]


class NodeState(Reports):
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
        super().__init__(Books(settings, policies, name, at), Story() if story is None else story)
        self._handlers: dict[type, Callable[[Any], None]] = {
            events.FunctionRegistered: self._on_function_registered,
            events.FunctionRemoved: self._on_function_removed,
            events.PlacesWanted: self._on_places_wanted,
            events.OffloadAsked: self._on_offload_asked,
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
        if books.overdue:
            look_at_overdue(books)
        if books.retry_queue:
            books.retry_queue = False
            if books.queue:
                drain_queue(books)
        if books.opportunity and books.guard.preloading_active and loads_may_begin(books):
            preload(books)
        if (when := books.timers.ask()) is not None:
            books.out.append(WakeAt(when))
        self.story.append(event, books.out, books.notes)
        return books.out

    # -- functions -----------------------------------------------------------------------------------------------------

    def _on_function_registered(self, event: events.FunctionRegistered) -> None:
        self.books.functions.register(event.function, event.profile, event.at, event.verdict, event.calls)
        # The process of a template may read only the folders of the functions that it was made for.
        self.books.end_templates(event.function.template, "a function has come that it does not know")
        own_template = function_template_key(event.function.key)
        self.books.end_if_unused(own_template)  # the function may not have one any longer
        if event.verdict is not None and not event.verdict.fit:
            self.books.end_templates(own_template, "its function cannot be forked")
        self.books.plan_scope.thorough_at = event.at
        self.books.opportunity = True

    def _on_function_removed(self, event: events.FunctionRemoved) -> None:
        record = self.books.functions.get(event.function)
        if record is None:
            return
        record.removed = True
        self.books.functions.want(record, 0, event.at)
        self.books.end_idle(record, "the function was removed", EndCause.OBSOLETE)
        self.books.forget_if_unused(event.function)

    def _on_places_wanted(self, event: events.PlacesWanted) -> None:
        record = self.books.functions.get(event.function)
        if record is None or record.removed:
            return
        self.books.functions.want(record, event.places, event.at)
        self.books.opportunity = True

    def _on_offload_asked(self, event: events.OffloadAsked) -> None:
        record = self.books.functions.get(event.function)
        if record is None or record.removed:
            return
        record.put_away = True
        self.books.prewarm_at.pop(event.function, None)
        self.books.end_idle(record, "somebody asked for it", EndCause.ASKED)

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
            needed_mb, given_mb = record.function.memory_bytes // MIB, self.books.settings.budget_bytes // MIB
            text = f"{key} needs {needed_mb} MB; the node has {given_mb} MB in all: lower its memory, or give it more"
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

    # -- time and end --------------------------------------------------------------------------------------------------

    def _on_timer_fired(self, event: events.TimerFired) -> None:
        deadlines_passed(self.books, event.at)

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
                self.books.stop(container, "the node is being shut down", EndCause.SHUTDOWN)

    # -- checks --------------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise `InternalError` unless all books agree and each accepted request is in exactly one place."""
        check(self.books)
