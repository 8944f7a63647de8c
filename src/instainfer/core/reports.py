"""What the containers of a node report about residents, and what the books make of it.

`Reports` is the part of `NodeState` that handles these events. `NodeState` has all others.
"""

from __future__ import annotations

from typing import Any, Final

from . import events
from .books import Books
from .decisions import Judged, Remember
from .errors import IllegalEvent
from .lifecycle import (
    BUSY,
    IDLE,
    IN_USE,
    LOADED,
    LOADING,
    RESIDENT_GONE,
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
    EndCause,
    Failure,
    FailureKind,
    ResidentKey,
    StartKind,
    Verdict,
    is_function_template,
    is_template,
    template_key,
    templated_function,
)
from .pool import Container, Resident
from .records import FunctionRecord
from .requests import Request
from .sizing import with_remedy
from .story import Story

_ANY_STATE: Final = tuple(ResidentState)


class Reports:
    def __init__(self, books: Books, story: Story) -> None:
        self.books = books
        """For reading only; `NodeState.handle` changes it."""
        self.story = story

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
        # Queued calls of this function, which wait for a busy container, have reason to look again.
        books.retry_queue = books.retry_queue or books.queue.count(event.function) > 0
        if container.running is not None:
            books.pool.set_resident_state(resident, IN_USE)
            request = books.requests[container.running]
            request.waited_for_load(event.at, event.library_s, event.model_s)
            books.expect_answer(request, container)
        else:
            books.pool.set_resident_state(resident, LOADED)
            books.preloads.finished += 1
            if container.state is IDLE:
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
        elif not event.function.startswith(template_key(container.housing, "")):
            raise self._illegal(event, f"it is none of the templates of {container.housing}")
        if resident is not None and resident.state not in (LOADING, UNLOADING):
            raise self._illegal(event, "it is there already")
        # The record may be gone: the last function that used the template may have been removed meanwhile.
        record = books.functions.template(event.function, container.namespace, container.image)
        record.profile = record.profile.with_load(event.library_s, event.model_s, event.resident_bytes)
        if is_function_template(event.function):
            self._judge(event.function, Verdict(True))
        else:
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
            books.offload(resident, "no function is forked from it any longer", EndCause.OBSOLETE)
        elif record.load_failure is not None and resident.state is LOADED:
            reason = "another one has shown that its function cannot be forked"
            books.offload(resident, reason, EndCause.OBSOLETE)
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
            if _is_for_memory(event.failure):
                self.books.ran_out_of_memory(self.books.functions[event.function], container, event.failure)
            self.books.end(container, resident)
        else:
            self.books.requests[container.running].load_failed(event.at)

    def _template_failed(self, event: events.LoadFailed) -> None:
        container = self._container(event)
        record = self.books.functions.templates.get(event.function)
        if record is not None:
            record.load_failure = event.failure
            if is_function_template(event.function):
                self._judge(event.function, Verdict(False, event.failure.message))
        if (resident := container.residents.get(event.function)) is not None:
            self.books.end(container, resident)

    def _judge(self, template: ResidentKey, verdict: Verdict) -> None:
        """Note what making a function template has shown: whether the function can be forked."""
        key = templated_function(template)
        if key not in self.books.functions or not self.books.functions.judge(key, verdict):
            return
        self.books.out.append(Judged(key, verdict))

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
        if resident.is_function_template and resident.state is LOADING and _is_for_memory(event.failure):
            record = self.books.functions.get(templated_function(event.function))
            if record is not None:
                self.books.needs_more_than(record, container)
        self.books.end(container, resident)

    # -- runs and measurements -----------------------------------------------------------------------------------------

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
            peak_bytes = max(event.peak_bytes, event.resident_bytes)
            self.books.has_run(record, resident, event.compute_s, peak_bytes)
            self.books.reply(request, event.compute_s, None)
        elif _is_for_memory(event.failure) and not event.alive:
            self._died_of_memory(container, record, request, event)
        else:
            self.books.reply(request, event.compute_s, event.failure)
        container.running = None
        if resident.state is LOADING:
            self.books.end(container, resident)
        elif not event.alive:
            self.books.unload(resident)
        elif record.removed or record.function.fresh or not self.books.settings.retain:
            cause = EndCause.OBSOLETE if record.removed else EndCause.AFTER_CALL
            self.books.offload(resident, _why_it_ends(record), cause)
        else:
            self.books.pool.set_resident_state(resident, LOADED)
            resident.origin = BY_CALL
            self.books.measured(resident, event.resident_bytes)
            self.books.fall_idle(container)

    def _died_of_memory(
        self, container: Container, record: FunctionRecord, request: Request, event: events.RunFinished
    ) -> None:
        """Repeat a call whose function's process was ended for its memory, if that may help and may be done. Once.

        A call that had not begun to run had no effects.
        """
        assert event.failure is not None
        grows = self.books.ran_out_of_memory(record, container, event.failure)
        may_be_repeated = not request.loaded or (record.function.idempotent and not event.has_yielded)
        if grows and may_be_repeated and not request.is_repeated and not self.books.draining:
            self.books.repeat(request)
        else:
            self.books.reply(request, event.compute_s, with_remedy(event.failure, record, grows=grows))

    def _on_memory_measured(self, event: events.MemoryMeasured) -> None:
        container = self._container(event)
        for key, measured_bytes in event.resident_bytes:
            resident = container.residents.get(key)
            if resident is None:
                continue
            self.books.measured(resident, measured_bytes)
        if container.state is IDLE:
            self.books.shrink(container)

    # -- what an event is about ----------------------------------------------------------------------------------------

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


def _is_for_memory(failure: Failure | None) -> bool:
    return failure is not None and failure.kind is FailureKind.OUT_OF_MEMORY


def _why_it_ends(record: FunctionRecord) -> str:
    """Why the process of a function ends with its call."""
    if record.removed:
        return "the function was removed"
    return "each call has a process of its own" if record.function.fresh else "its process ends with its call"
