"""A deterministic backend whose containers exist in memory only, with costs that you choose. It is meant for tests.

It keeps the same contract as the real backends. With a `ManualClock`, everything happens when you move the clock. The
behaviour of each function is described by a `Costs`, by function key::

    clock = ManualClock()
    backend = MemoryBackend(clock, {"guest/resnet@0.0.1": Costs(library_s=1.3, model_s=0.5, compute_s=0.08)})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ..core.events import (
    ContainerGone,
    ContainerStarted,
    ContainerStartFailed,
    Event,
    LoadFailed,
    LoadFinished,
    ResidentGone,
    RunFinished,
)
from ..core.model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    MIB,
    ActivationId,
    ContainerId,
    Failure,
    FailureKind,
    FunctionKey,
    ResidentKey,
    Source,
    function_template_key,
    is_function_template,
    is_template,
    templated_function,
)
from ..wire.bounds import WINDOW_BYTES, cost_bytes
from .base import Answer, Call, Clock, ContainerSpec, FunctionSpec, Report, TemplateSpec


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of a function or a template, and its failures, if it is to fail."""

    library_s: float = 0.0
    """Time of the imports, for a function that is loaded from nothing, or for a template."""
    fork_s: float = 0.0
    """Replaces `library_s` when the function is forked from a template."""
    model_s: float = 0.0
    compute_s: float = 0.0
    resident_bytes: int = 64 * MIB
    run_bytes: int = 0
    """What a run takes on top of that. It dies of memory if its container does not hold both."""
    result: bytes = b"{}"
    values: Sequence[bytes] | None = None
    """If set, the function is a generator: it yields these, the first after `compute_s` and each further one after
    `value_s`, and ends `value_s` after the last. `result` is not used."""
    value_s: float = 0.0
    logs: Sequence[str] = ()
    load_failure: Failure | None = None
    forked_s: float = 0.005
    """Replaces all of the load when the function is forked from its function template."""
    forked_bytes: int = 8 * MIB
    """Replaces `resident_bytes` then."""
    unfit: Failure | None = None
    """Why the function cannot have a function template."""
    run_failure: Failure | None = None
    survives: bool = True
    """Whether the process outlives `run_failure`."""


@dataclass(slots=True)
class _Resident:
    key: ResidentKey
    template: ResidentKey | None = None
    """The library template from which the resident is forked once that is loaded."""
    library: TemplateSpec | None = None
    source: Source = FROM_NOTHING
    """What it is made from; known once its load has begun."""
    loaded: bool = False
    cancel: Callable[[], None] | None = None


class MemoryBackend:
    """A container is created in `start_s` and stopped in `stop_s`; a resident's memory is given back in `end_s`.

    A run does not wait for the ends of other residents, unless `waits_for_ends` is set. Then the containers behave as
    if their limits had no room for the memory of ending residents beside that of the function that runs.
    """

    name = "memory"

    def __init__(
        self,
        clock: Clock,
        costs: Mapping[ResidentKey, Costs] | None = None,
        *,
        start_s: float = 0.0,
        stop_s: float = 0.0,
        end_s: float = 0.0,
        waits_for_ends: bool = False,
    ) -> None:
        self.clock = clock
        self.costs: dict[ResidentKey, Costs] = dict(costs or {})
        self.start_s, self.stop_s, self.end_s = start_s, stop_s, end_s
        self.waits_for_ends = waits_for_ends
        self.start_failure: Failure | None = None
        """If set, containers fail to start, with this failure."""
        self.containers: dict[ContainerId, MemoryContainer] = {}
        self.proven: list[FunctionKey] = []
        """Functions whose templates had to prove that they can be forked, in the order in which that was asked."""

    def start(self, spec: ContainerSpec, report: Report) -> MemoryContainer:
        container = MemoryContainer(self, spec, report)
        self.containers[spec.id] = container
        return container

    def costs_of(self, function: ResidentKey) -> Costs:
        """The costs of a function or template. A function template costs what its function does, unless it has costs of
        its own."""
        costs = self.costs.get(function)
        if costs is None and is_function_template(function):
            its = self.costs_of(templated_function(function))
            return replace(its, load_failure=its.load_failure or its.unfit)
        return costs or Costs()

    def isolation(self) -> Sequence[str]:
        return ("memory backend: nothing is run, hence nothing is isolated",)

    def used_bytes(self) -> int:
        return sum(container.used_bytes() for container in self.containers.values())

    async def close(self) -> None:
        for container in list(self.containers.values()):
            container.vanish()


@dataclass(slots=True, eq=False)
class _Run:
    function: FunctionSpec
    call: Call
    cancel: Callable[[], None] | None = None
    """Cancels its next step. None before its function runs."""
    began_at: float = 0.0
    """When its function began to run."""
    yielded: int = 0
    """How many values have been handed on."""
    on_way_bytes: int = 0
    waits: bool = False
    """Whether it would hand on a value, and too much is on its way."""
    is_enough: bool = False


class MemoryContainer:
    def __init__(self, backend: MemoryBackend, spec: ContainerSpec, report: Report) -> None:
        self._backend = backend
        self._report = report
        self._residents: dict[ResidentKey, _Resident] = {}
        self._ending: dict[ResidentKey, _Resident] = {}
        self._run: _Run | None = None
        self._alive = True
        self.spec = spec
        self.limit_bytes = spec.limit_bytes
        self._timers: set[Callable[[], None]] = set()
        self._after(backend.start_s, self._started)

    @property
    def id(self) -> ContainerId:
        return self.spec.id

    def used_bytes(self) -> int:
        return sum(self._size_of(resident) for resident in (*self._residents.values(), *self._ending.values()))

    def _size_of(self, resident: _Resident) -> int:
        costs = self._backend.costs_of(resident.key)
        return costs.forked_bytes if resident.source is FROM_FUNCTION else costs.resident_bytes

    # -- commands --------------------------------------------------------------------------------------------------

    def load(self, function: FunctionSpec) -> None:
        self._load(function.key, function)

    def load_function_template(self, function: FunctionSpec, *, proves: bool = False) -> None:
        if proves:
            self._backend.proven.append(function.key)
        self._load(function_template_key(function.key), function)

    def _load(self, key: ResidentKey, function: FunctionSpec) -> None:
        if key in self._residents:
            return
        template = function.template.key if function.template is not None else None
        resident = self._residents[key] = _Resident(key, template, function.template)
        if function.template is not None and template not in self._residents and not self._stands(key):
            self.load_template(function.template)
        self._begin(resident)

    def _stands(self, key: ResidentKey) -> bool:
        """Whether the function template of this function is there, loaded. False for the key of a template."""
        template = self._residents.get(function_template_key(key))
        return template is not None and template.loaded

    def load_template(self, template: TemplateSpec) -> None:
        if template.key not in self._residents:
            resident = self._residents[template.key] = _Resident(template.key)
            self._begin(resident)

    def _begin(self, resident: _Resident) -> None:
        """Start a load, unless it has to wait for its template or for the end of an earlier process of the resident."""
        if resident.key in self._ending:
            return
        costs = self._backend.costs_of(resident.key)
        if self._stands(resident.key):
            resident.source, seconds = FROM_FUNCTION, costs.forked_s
        elif resident.template is None:
            resident.source, seconds = FROM_NOTHING, costs.library_s + costs.model_s
        elif resident.library is not None and resident.template not in self._residents:
            self.load_template(resident.library)
            return
        elif self._residents[resident.template].loaded:
            resident.source, seconds = FROM_LIBRARIES, costs.fork_s + costs.model_s
        else:
            return
        resident.cancel = self._after(seconds, lambda: self._load_ended(resident))

    def run(self, function: FunctionSpec, call: Call) -> None:
        self._run = _Run(function, call)
        for resident in list(self._residents.values()):
            if resident.key != function.key and not self._stays(resident, function.key):
                self._end(resident.key)
        self._continue_run()

    def _stays(self, resident: _Resident, runs: ResidentKey) -> bool:
        """Whether a resident is left as it is by a run of another function or of the same one."""
        if not is_function_template(resident.key):
            return is_template(resident.key)
        return resident.loaded or templated_function(resident.key) == runs

    def taken(self, activation: ActivationId, taken_bytes: int) -> None:
        run = self._run
        if run is not None and run.call.activation == activation:
            run.on_way_bytes -= taken_bytes
            self._go_on(run)

    def enough(self, activation: ActivationId) -> None:
        run = self._run
        if run is not None and run.call.activation == activation:
            run.is_enough = True
            self._go_on(run)

    def offload(self, function: ResidentKey) -> None:
        if function in self._residents:
            self._end(function)

    def resize(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes

    def forget(self, function: ResidentKey) -> None:
        pass  # nothing is remembered of residents that are not there

    def stop(self) -> None:
        self.vanish()
        self._alive = True
        self._after(self._backend.stop_s, lambda: self._gone(None))

    # -- what a test may make happen -------------------------------------------------------------------------------

    def lose(self, failure: Failure) -> None:
        """Let the container die."""
        self.vanish()
        self._alive = True
        self._after(0.0, lambda: self._gone(failure))

    def kill(self, function: ResidentKey, failure: Failure) -> None:
        """Let an idle resident die."""
        del self._residents[function]

        def ended() -> None:
            self._tell(ResidentGone(self._backend.clock.now(), self.id, function, failure))
            self._begin_waiting(function)

        self._after(0.0, ended)

    def vanish(self) -> None:
        """Drop the container and everything in it, and report nothing more."""
        self._alive = False
        for cancel in self._timers:
            cancel()
        self._timers.clear()
        self._residents.clear()
        self._ending.clear()
        self._run = None
        self._backend.containers.pop(self.id, None)

    # -- effects ---------------------------------------------------------------------------------------------------

    def _after(self, seconds: float, then: Callable[[], None]) -> Callable[[], None]:
        """Call `then` from a timer, even for 0 s, because no report may be made from inside a command."""

        def fire() -> None:
            self._timers.discard(cancel)
            then()

        cancel = self._backend.clock.call_at(self._backend.clock.now() + seconds, fire)
        self._timers.add(cancel)
        return cancel

    def _tell(self, event: Event, answer: Answer | None = None) -> None:
        if self._alive:
            self._report(event, answer)

    def _started(self) -> None:
        now, failure = self._backend.clock.now(), self._backend.start_failure
        if failure is None:
            self._tell(ContainerStarted(now, self.id))
        else:
            self._tell(ContainerStartFailed(now, self.id, failure))
            self.vanish()

    def _gone(self, failure: Failure | None) -> None:
        self._tell(ContainerGone(self._backend.clock.now(), self.id, failure))
        self._alive = False

    def _end(self, key: ResidentKey) -> None:
        resident = self._residents.pop(key)
        if resident.cancel is not None:
            resident.cancel()
            self._timers.discard(resident.cancel)
        self._ending[key] = resident
        self._after(self._backend.end_s, lambda: self._ended(key))

    def _ended(self, key: ResidentKey) -> None:
        del self._ending[key]
        self._tell(ResidentGone(self._backend.clock.now(), self.id, key))
        again = self._residents.get(key)
        if again is not None:
            self._begin(again)
        else:
            self._begin_waiting(key)
        self._continue_run()

    def _load_ended(self, resident: _Resident) -> None:
        key, now = resident.key, self._backend.clock.now()
        costs = self._backend.costs_of(key)
        resident.cancel = None
        if costs.load_failure is None:
            resident.loaded = True
            source, model_s = resident.source, costs.model_s
            library_s = costs.library_s if source is FROM_NOTHING else costs.fork_s
            if source is FROM_FUNCTION:
                library_s, model_s = costs.forked_s, 0.0
            self._tell(LoadFinished(now, self.id, key, library_s, model_s, self._size_of(resident), source))
            self._begin_waiting(key)
            self._continue_run()
            return
        del self._residents[key]
        self._tell(LoadFailed(now, self.id, key, costs.load_failure))
        if self._run is not None and self._run.function.key == key:
            activation, self._run = self._run.call.activation, None
            self._tell(
                RunFinished(now, self.id, activation, 0.0, 0, costs.load_failure, alive=False), Answer(logs=costs.logs)
            )
        self._begin_waiting(key)

    def _begin_waiting(self, template: ResidentKey) -> None:
        """Go on with the loads that wait for a template, now that the template is loaded or could not be made."""
        for resident in list(self._residents.values()):
            if resident.template == template and not resident.loaded and resident.cancel is None:
                if template not in self._residents:
                    resident.template = None
                self._begin(resident)

    def _continue_run(self) -> None:
        """Take the run to its next step: the ends of other residents, the load of the function, or its computation."""
        run = self._run
        if run is None or run.cancel is not None or run.function.key in self._ending:
            return
        if self._ending and self._backend.waits_for_ends:
            return
        resident = self._residents.get(run.function.key)
        if resident is None:
            self.load(run.function)
        elif resident.loaded:
            costs = self._backend.costs_of(run.function.key)
            run.began_at = self._backend.clock.now()
            step = self._run_ended if costs.values is None or run.call.on_value is None else self._yield
            run.cancel = self._after(costs.compute_s, lambda: step(run, costs))

    def _yield(self, run: _Run, costs: Costs) -> None:
        """Hand on the next value, if there is one and the caller wants it now."""
        assert costs.values is not None
        assert run.call.on_value is not None
        if run.is_enough:
            text = "the caller went away before the end of the answer"
            self._run_ended(run, replace(costs, run_failure=Failure(FailureKind.CANCELLED, text), survives=True))
        elif run.yielded == len(costs.values):
            self._run_ended(run, costs)
        elif run.on_way_bytes >= WINDOW_BYTES:
            run.waits = True
        else:
            value = costs.values[run.yielded]
            run.yielded += 1
            run.on_way_bytes += cost_bytes(value)
            run.cancel = self._after(costs.value_s, lambda: self._yield(run, costs))
            run.call.on_value(value)

    def _go_on(self, run: _Run) -> None:
        if run.waits:
            run.waits = False
            run.cancel = self._after(0.0, lambda: self._yield(run, self._backend.costs_of(run.function.key)))

    def _run_ended(self, run: _Run, costs: Costs) -> None:
        key, now = run.function.key, self._backend.clock.now()
        size_bytes = self._size_of(self._residents[key])
        failure, alive = costs.run_failure, costs.run_failure is None or costs.survives
        if size_bytes + costs.run_bytes > self.limit_bytes:
            took, limit = ((each // MIB) for each in (size_bytes + costs.run_bytes, self.limit_bytes))
            text = f"the function took {took} MiB of memory, its container has {limit} MiB"
            failure, alive = Failure(FailureKind.OUT_OF_MEMORY, text), False
        result = b"{}" if run.call.only_warms else costs.result
        if costs.values is not None and not run.call.only_warms:
            result = b"[" + b",".join(costs.values) + b"]" if run.call.on_value is None else b""
        self._run = None
        if not alive:
            del self._residents[key]
        self._tell(
            RunFinished(
                now,
                self.id,
                run.call.activation,
                costs.compute_s if run.call.on_value is None else now - run.began_at,
                size_bytes if alive else 0,
                failure,
                alive,
                size_bytes + costs.run_bytes if alive else 0,
                run.yielded > 0,
            ),
            Answer(result if failure is None else None, costs.logs),
        )
        if not alive:
            self._tell(ResidentGone(now, self.id, key))
