"""Reads one node's story from its beginning, and measures how long things took and how large they were.

A decision requests something and an event reports that it happened: the time between the two is what it took. Samples
go to an `observed.Observer`, in seconds or bytes, under these names:

==========================================  =========================================================================
for the platform                            container, handoff, load handoff
for the template of an environment          template library, template bytes
for a function                              library, fork, model, fast model, warm-up; compute, forked compute,
                                            preloaded compute, joined compute, first, forked first; resident,
                                            forked, added
for a function template, by its function    own make, own bytes, own fork, own forked, own added, own first
==========================================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from ..core.decisions import Load, Offload, Reply, Run, StartContainer, StopContainer
from ..core.events import (
    ContainerGone,
    ContainerStarted,
    FunctionRegistered,
    LoadFailed,
    LoadFinished,
    MemoryMeasured,
    ResidentGone,
    RunFinished,
)
from ..core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    READY_KINDS,
    ContainerId,
    Function,
    FunctionKey,
    ResidentKey,
    StartKind,
    function_template_key,
    is_function_template,
    is_template,
    templated_function,
)
from ..core.story import Entry
from ..report.timeline import short_name

_LOADED_FOR_IT = (StartKind.COLD, StartKind.PREWARMED, StartKind.TEMPLATED)


class Sink(Protocol):
    """Receives what a `Reading` measures."""

    def registered(self, function: Function) -> None: ...

    def sample(self, whose: str, what: str, value: float) -> None:
        """Receive one measurement; `whose` is a function's name, an environment, or ``""`` for the platform."""
        ...

    def ended(self, name: str, seconds: float, forked: bool, size_bytes: int) -> None: ...

    def stopped(self, seconds: float, size_bytes: int) -> None:
        """Receive how long it took to stop a container, and the bytes of the residents in it."""
        ...


@dataclass(slots=True)
class _Resident:
    forked: bool = False
    size_bytes: int = 0
    added_bytes: int | None = None
    """For a forked resident: what it added to its template, measured when nothing else was forked from that."""
    own: bool = False
    """Whether it was forked from its function template. Then it tells nothing of the costs of other residents."""
    shares: bool = False
    """Whether it has stood beside its function template. Then its size is only its part of what both share."""
    alone_bytes: int = 0
    """For a template: its size before anything was forked from it."""


@dataclass(slots=True)
class _Container:
    asked_at: float
    residents: dict[ResidentKey, _Resident] = field(default_factory=dict)
    loads: dict[ResidentKey, float] = field(default_factory=dict)
    """Pre-loads under way, and when each was requested."""
    ends: dict[ResidentKey, float] = field(default_factory=dict)
    run: Run | None = None
    free_at: float = 0.0
    """When the run's own load could begin: the time of the run, or the time when the template was ready."""
    stopped_at: float | None = None
    before: dict[FunctionKey, int] = field(default_factory=dict)
    """For a resident that is forked from its function template: the bytes of both templates before it came."""


class Reading:
    """Reads one story; `fast` tells whether its platform honoured ``fast_init``."""

    def __init__(self, sink: Sink, *, fast: bool) -> None:
        self._sink = sink
        self._functions: dict[FunctionKey, Function] = {}
        self._model = "fast model" if fast else "model"
        self._containers: dict[ContainerId, _Container] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            FunctionRegistered: self._on_registered,
            ContainerStarted: self._on_started,
            ContainerGone: self._on_gone,
            LoadFinished: self._on_loaded,
            LoadFailed: self._on_not_loaded,
            ResidentGone: self._on_ended,
            RunFinished: self._on_ran,
            MemoryMeasured: self._on_measured,
        }

    def take(self, entry: Entry) -> None:
        event = entry.event
        handler = self._handlers.get(type(event))
        if handler is not None:
            handler(event)
        for decision in entry.decisions:
            match decision:
                case StartContainer():
                    self._containers[decision.container] = _Container(event.at)
                case StopContainer():
                    self._containers[decision.container].stopped_at = event.at
                case Load():
                    self._containers[decision.container].loads[decision.function] = event.at
                case Offload():
                    self._end(self._containers[decision.container], decision.function, event.at)
                case Run():
                    container = self._containers[decision.container]
                    container.run, container.free_at = decision, event.at
                    self._measure_own(container, decision)
                    for key in decision.ends:
                        self._end(container, key, event.at)
                case Reply():
                    self._on_reply(decision)

    def finish(self) -> None:
        for container in self._containers.values():
            for key, resident in container.residents.items():
                self._note_size(key, resident)

    def _end(self, container: _Container, key: ResidentKey, at: float) -> None:
        container.loads.pop(key, None)
        if key in container.residents:  # otherwise the load is cut short, and there is no end to measure
            container.ends[key] = at

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_registered(self, event: FunctionRegistered) -> None:
        self._functions[event.function.key] = event.function
        self._sink.registered(event.function)

    def _on_started(self, event: ContainerStarted) -> None:
        self._sink.sample("", "container", event.at - self._containers[event.container].asked_at)

    def _on_gone(self, event: ContainerGone) -> None:
        container = self._containers.pop(event.container)
        if container.stopped_at is not None and event.failure is None:
            size_bytes = sum(resident.size_bytes for resident in container.residents.values())
            self._sink.stopped(event.at - container.stopped_at, size_bytes)
        for key, resident in container.residents.items():
            self._note_size(key, resident)

    def _on_loaded(self, event: LoadFinished) -> None:
        container, name, sample = self._containers[event.container], short_name(event.function), self._sink.sample
        resident = _Resident((event.source is FROM_LIBRARIES), event.resident_bytes)
        container.residents[event.function] = resident
        asked_at = container.loads.pop(event.function, None)
        if is_function_template(event.function):
            self._on_function_template(container, event, asked_at)
            return
        if is_template(event.function):
            resident.alone_bytes = event.resident_bytes
            sample(name, "template library", event.library_s)
            sample(name, "template bytes", event.resident_bytes)
            for key in container.loads:
                container.loads[key] = event.at  # a load that forks from this template waited for it
            container.free_at = event.at
            return
        resident.own = event.source is FROM_FUNCTION
        if resident.own:
            sample(name, "own fork", event.library_s + event.model_s)
            sample(name, "own forked", event.resident_bytes)
            return
        sample(name, "fork" if (event.source is FROM_LIBRARIES) else "library", event.library_s)
        sample(name, self._model, event.model_s)
        if asked_at is not None and container.run is None:
            sample(name, "warm-up", max(0.0, event.at - asked_at - event.library_s - event.model_s))
        elif asked_at is None and container.run is not None and container.run.function == event.function:
            sample("", "load handoff", max(0.0, event.at - container.free_at - event.library_s - event.model_s))
        self._measure_added(container)

    def _on_function_template(self, container: _Container, event: LoadFinished, asked_at: float | None) -> None:
        function = templated_function(event.function)
        if function in container.residents:
            container.residents[function].shares = True
        if asked_at is not None:
            made_s = event.at - asked_at - event.library_s - event.model_s
            self._sink.sample(short_name(function), "own make", max(0.0, made_s))

    def _on_not_loaded(self, event: LoadFailed) -> None:
        self._containers[event.container].loads.pop(event.function, None)

    def _on_ended(self, event: ResidentGone) -> None:
        container = self._containers[event.container]
        resident = container.residents.pop(event.function, None)
        asked_at = container.ends.pop(event.function, None)
        if resident is not None:
            self._note_size(event.function, resident)
            if asked_at is not None and not resident.own and not is_function_template(event.function):
                self._sink.ended(short_name(event.function), event.at - asked_at, resident.forked, resident.size_bytes)

    def _on_ran(self, event: RunFinished) -> None:
        container = self._containers[event.container]
        run = container.run
        resident = container.residents.get(run.function) if run is not None else None
        if run is None or resident is None or event.failure is not None:
            return
        if resident.own:
            resident.size_bytes = event.resident_bytes
            if run.start_kind is StartKind.FORKED:
                self._sink.sample(short_name(run.function), "own first", event.compute_s)
            return
        self._sink.sample(short_name(run.function), _compute(run.start_kind, forked=resident.forked), event.compute_s)
        resident.size_bytes = event.resident_bytes
        self._measure_added(container)

    def _on_reply(self, reply: Reply) -> None:
        container = self._containers.get(reply.container)
        if container is None:
            return  # the container was lost, and with it the call
        run, container.run = container.run, None
        if run is not None and not run.ends and run.start_kind in READY_KINDS:
            self._sink.sample("", "handoff", reply.phases.handoff)

    def _on_measured(self, event: MemoryMeasured) -> None:
        container = self._containers[event.container]
        for key, size_bytes in event.resident_bytes:
            if key in container.residents:
                container.residents[key].size_bytes = size_bytes
        self._measure_added(container)

    # -- sizes -----------------------------------------------------------------------------------------------------

    def _measure_added(self, container: _Container) -> None:
        """Set what a forked resident added, if it is the only forked one and its template was measured beside it."""
        forked = [(key, resident) for key, resident in container.residents.items() if resident.forked]
        if len(forked) != 1:
            return
        key, resident = forked[0]
        function = self._functions.get(key)
        template = container.residents.get(function.template) if function is not None else None
        # A template is measured again after each fork from it, just before that load is reported.
        if template is not None and template.size_bytes < template.alone_bytes:
            added_bytes = template.size_bytes + resident.size_bytes - template.alone_bytes
            resident.added_bytes = max(0, added_bytes)

    def _measure_own(self, container: _Container, run: Run) -> None:
        """Set what a function template or a resident forked from it has added, before a run changes that.

        They share memory with each other and with the library template, and each is charged with a part of it, so only
        the sum tells. It is taken as late as possible, because sizes are measured anew a moment after a load.
        """
        for key in run.ends:
            before_bytes = container.before.pop(key, None)
            if before_bytes is not None and key in container.residents:
                added_bytes = self._kin_bytes(container, key) - before_bytes
                self._sink.sample(short_name(key), "own added", max(0, added_bytes))
        if run.start_kind is StartKind.FORKED:
            both_bytes = container.before[run.function] = self._kin_bytes(container, run.function)
            library = container.residents.get(self._functions[run.function].template)
            alone_bytes = library.alone_bytes if library is not None else 0
            self._sink.sample(short_name(run.function), "own bytes", max(0, both_bytes - alone_bytes))

    def _kin_bytes(self, container: _Container, key: FunctionKey) -> int:
        """The size of a function, its function template and its library template together, as far as they are there."""
        kin = (key, function_template_key(key), self._functions[key].template)
        return sum(container.residents[each].size_bytes for each in kin if each in container.residents)

    def _note_size(self, key: ResidentKey, resident: _Resident) -> None:
        """Sample the size with which the resident was booked last."""
        if is_template(key) or resident.own or resident.shares:
            return
        name, sample = short_name(key), self._sink.sample
        sample(name, "forked" if resident.forked else "resident", resident.size_bytes)
        if resident.added_bytes is not None:
            sample(name, "added", resident.added_bytes)


def _compute(start_kind: StartKind, *, forked: bool) -> str:
    if start_kind in _LOADED_FOR_IT:
        return "forked first" if forked else "first"
    if start_kind is StartKind.PRELOADED:
        return "preloaded compute"
    if start_kind is not StartKind.WARM:
        return "joined compute"
    return "forked compute" if forked else "compute"
