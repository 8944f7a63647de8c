"""Simulated containers: turns each decision of a node into the later event that reports its effect.

The contract is that of `instainfer.backends.base`, kept as the memory backend keeps it. A run ends every other resident
first and begins at once; a `ResidentGone` follows for each of them when its memory is free. A load that is cut short
reports only `ResidentGone`. A forked function waits for its template, which is made if it is not there. After a stop
only `ContainerGone` is reported. Nothing is decided here.

A pre-load ends with the function's warm-up, if it has one. A call that joins the load before the warm-up begins skips
it. The first call of a process that was not warmed up takes as long as the costs say for first calls.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from ..core.decisions import (
    Forget,
    Judged,
    Load,
    Offload,
    Refuse,
    Remember,
    Reply,
    ResizeContainer,
    Run,
    StartContainer,
    StopContainer,
    WakeAt,
)
from ..core.events import (
    ContainerGone,
    ContainerStarted,
    Event,
    FunctionRegistered,
    LoadFinished,
    ResidentGone,
    RunFinished,
    TimerFired,
)
from ..core.model import (
    GIB,
    ActivationId,
    ContainerId,
    Function,
    Profile,
    ResidentKey,
    function_template_key,
)
from ..core.node import NodeState
from ..core.story import Entry
from .costs import CostSet, FunctionCosts
from .cpu import Cores, Plenty, Processors, Stretched
from .engine import Engine, Rank, Timer, cancel
from .loadable import Loadable, of_forked, of_function, of_function_template, of_library_template

END_CORES = 1.6
"""How many cores the end of a process keeps busy. The kernel frees its pages one by one; ends at the same time wait for
each other's locks and then for their manager. On two cores, two ends at once took 1.6 times as long as one, and three
or four took 2.8 times (medians over 170 calls that ended neighbours, in two live runs of `benchmarks/fidelity.py`)."""

_REPORT = int(Rank.REPORT)
_ALARM = int(Rank.ALARM)


class Durations:
    """Draws how long something takes: its cost, times a random factor of mean 1 if there is noise."""

    def __init__(self, sigma: float, seed: str) -> None:
        self._sigma = sigma
        self._draw = random.Random(f"costs/{seed}").gauss

    def __call__(self, seconds: float) -> float:
        if self._sigma == 0.0:
            return seconds
        return seconds * math.exp(self._draw(-0.5 * self._sigma**2, self._sigma))


class _Resident:
    """One function or template in one container, loading or loaded."""

    __slots__ = ("ahead_cores", "background", "is_cold", "key", "library_s", "loadable", "loaded", "loading", "model_s")

    def __init__(self, key: ResidentKey, loadable: Loadable, *, background: bool) -> None:
        self.key = key
        self.loadable = loadable
        self.background = background
        """True: no call waits for this load."""
        self.loaded = False
        self.loading: Any = None
        """The work on the processors; None while it waits for its template, and when it is loaded."""
        self.ahead_cores = 0.0
        """The cores that this work keeps busy, if it was begun ahead of any call; else 0."""
        self.library_s = self.model_s = 0.0
        """What this load takes, in seconds."""
        self.is_cold = True
        """True: the process was not warmed up, and has not had a call."""


class _Container:
    __slots__ = ("alive", "ending", "id", "residents", "run")

    def __init__(self, id_: ContainerId) -> None:
        self.id = id_
        self.residents: dict[ResidentKey, _Resident] = {}
        self.ending: set[ResidentKey] = set()
        self.run: Run | None = None
        """The run that was handed over and does not compute yet."""
        self.alive = True
        """False after the container was told to stop; whatever was under way is then never reported."""


class World:
    """The containers of one node.

    `compute_s` returns the compute time of a certain activation, or None when the function's usual time applies.
    """

    def __init__(
        self,
        engine: Engine,
        state: NodeState,
        costs: CostSet,
        durations: Durations,
        *,
        fast_init: bool = True,
        compute_s: Callable[[ActivationId], float | None] = lambda activation: None,
        on_answer: Callable[[Reply | Refuse], None] = lambda answer: None,
        on_entry: Callable[[Entry], None] | None = None,
    ) -> None:
        self.state = state
        self.events = 0
        """Number of events that the node handled."""
        self.ahead_processor_s = 0.0
        """Processor seconds of the loads and warm-ups that were begun ahead of any call, templates included."""
        self._engine = engine
        self._costs = costs
        self._duration = durations
        self._fast_init = fast_init
        self._compute_s = compute_s
        self._on_entry = on_entry
        self._cpu: Processors = Cores(engine, costs.cores) if costs.cores else Plenty(engine)
        self._end_cores = min(END_CORES, costs.cores)
        self._loadables: dict[ResidentKey, Loadable] = {}
        self._forkables: dict[ResidentKey, Loadable] = {}
        """Functions as they are forked from their own templates."""
        self._containers: dict[ContainerId, _Container] = {}
        self._alarm: Timer | None = None
        self._used_bytes = 0
        self._used_byte_s = 0.0
        self._used_since = engine.now
        self._effects: dict[type, Callable[[Any], None]] = {
            StartContainer: self._start,
            StopContainer: self._stop,
            Load: self._load,
            Offload: self._offload,
            Run: self._run,
            Reply: on_answer,
            Refuse: on_answer,
            ResizeContainer: lambda decision: None,
            Remember: lambda decision: None,
            Judged: lambda decision: None,
            Forget: self._forget,
            WakeAt: self._wake_at,
        }

    def register(self, function: Function, costs: FunctionCosts, profile: Profile | None = None) -> None:
        """Deploy a function on the node, so that it may be called. Without costs of a function template it has to be
        one that is not `forkable`."""
        functions, loadables = self.state.books.functions, self._loadables
        template = functions.template_of(function)
        if template is not None:
            environment = self._costs.environments[costs.environment]
            loadables[template] = of_library_template(environment, costs.load_cores)
        each = of_function(costs, template, fast=self._fast_init, cores=self._costs.cores)
        loadables[function.key] = each
        own_template, own = functions.own_template_of(function), costs.function_template
        if own_template is not None and own is not None:
            loadables[own_template] = of_function_template(own, costs, each)
            self._forkables[function.key] = of_forked(own, each)
        self.feed(FunctionRegistered(self._engine.now, function, profile))

    def feed(self, event: Event) -> None:
        """Let the state handle one event, and schedule the effects of what it decides."""
        self.events += 1
        effects = self._effects
        for decision in self.state.handle(event):
            effects[type(decision)](decision)
        if self._on_entry is not None:
            self._on_entry(self.state.story.last)

    def used_byte_s(self) -> float:
        """Return the integral of the residents' sizes over time, in byte-seconds, loading and ending ones included."""
        self._add_used(0)
        return self._used_byte_s

    # -- decisions -------------------------------------------------------------------------------------------------

    def _start(self, decision: StartContainer) -> None:
        container = self._containers[decision.container] = _Container(decision.container)
        self._engine.after(self._duration(self._costs.container_s), _REPORT, partial(self._started, container))

    def _stop(self, decision: StopContainer) -> None:
        container = self._containers[decision.container]
        container.alive = False
        size_bytes = 0
        for resident in container.residents.values():
            size_bytes += resident.loadable.size_bytes
            self._give_up(resident)
        seconds = self._costs.stop_s + self._costs.end_s_per_gib * size_bytes / GIB
        self._engine.after(self._duration(seconds), _REPORT, partial(self._gone, container))

    def _load(self, decision: Load) -> None:
        container = self._containers[decision.container]
        if decision.function not in container.residents:
            self._begin(container, decision.function)

    def _offload(self, decision: Offload) -> None:
        container = self._containers[decision.container]
        if decision.function in container.residents:
            self._end(container, decision.function)

    def _run(self, decision: Run) -> None:
        container = self._containers[decision.container]
        container.run = decision
        for key in decision.ends:
            if key in container.residents:
                self._end(container, key)
        resident = container.residents.get(decision.function)
        if resident is not None and not resident.loaded:
            self._bring_forward(container, resident)
        self._continue_run(container)

    def _forget(self, decision: Forget) -> None:
        self._loadables.pop(decision.function, None)
        self._forkables.pop(decision.function, None)

    def _wake_at(self, decision: WakeAt) -> None:
        if self._alarm is not None:
            cancel(self._alarm)
        self._alarm = self._engine.at(decision.when, _ALARM, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self.feed(TimerFired(self._engine.now))

    # -- containers ------------------------------------------------------------------------------------------------

    def _started(self, container: _Container) -> None:
        if container.alive:
            self.feed(ContainerStarted(self._engine.now, container.id))

    def _gone(self, container: _Container) -> None:
        self._add_used(-sum(resident.loadable.size_bytes for resident in container.residents.values()))
        del self._containers[container.id]
        self.feed(ContainerGone(self._engine.now, container.id))

    # -- loads and ends --------------------------------------------------------------------------------------------

    def _begin(self, container: _Container, key: ResidentKey) -> None:
        """Start to load a function or template; if the template of a function is missing, load that first."""
        own = container.residents.get(function_template_key(key)) if self._forkables else None
        loadable = self._loadables[key] if own is None or not own.loaded else self._forkables[key]
        resident = container.residents[key] = _Resident(key, loadable, background=container.run is None)
        self._add_used(loadable.size_bytes)
        resident.library_s = self._duration(loadable.library_s)
        resident.model_s = self._duration(loadable.model_s)
        template = loadable.template
        if template is not None and template not in container.residents:
            self._begin(container, template)
        if template is None or container.residents[template].loaded:
            self._start_loading(container, resident)

    def _start_loading(self, container: _Container, resident: _Resident) -> None:
        seconds = resident.library_s + resident.model_s
        self._work(resident, seconds, resident.loadable.load_cores, partial(self._prepared, container, resident))

    def _work(self, resident: _Resident, seconds: float, cores: float, then: Stretched) -> None:
        """Begin one part of a load on the processors."""
        resident.ahead_cores = cores if resident.background else 0.0
        self.ahead_processor_s += seconds * resident.ahead_cores
        resident.loading = self._cpu.begin(seconds, cores, then, background=resident.background)

    def _give_up(self, resident: _Resident) -> None:
        """Cut a load short."""
        if resident.loading is not None:
            self.ahead_processor_s -= self._cpu.give_up(resident.loading) * resident.ahead_cores

    def _bring_forward(self, container: _Container, resident: _Resident) -> None:
        """Move a background load to the foreground, because a call waits for it."""
        resident.background = False
        if resident.loading is not None:
            self._cpu.hurry(resident.loading)
        elif (template := container.residents.get(resident.loadable.template or "")) is not None:
            self._bring_forward(container, template)

    def _prepared(self, container: _Container, resident: _Resident, stretch: float = 1.0) -> None:
        """The load is done, but the warm-up is not. The load took `stretch` times as long as it does alone."""
        if stretch != 1.0:
            resident.library_s *= stretch
            resident.model_s *= stretch
        loadable = resident.loadable
        loaded = partial(self._loaded, container, resident)
        if loadable.warmup_s is not None and resident.background:
            resident.is_cold = False
            self._work(resident, self._duration(loadable.warmup_s), loadable.compute_cores, loaded)
        elif self._costs.load_handoff_s > 0.0:
            self._work(resident, self._duration(self._costs.load_handoff_s), 0.0, loaded)
        else:
            loaded()

    def _loaded(self, container: _Container, resident: _Resident, _stretch: float = 1.0) -> None:
        resident.loading, resident.loaded = None, True
        loadable = resident.loadable
        self.feed(
            LoadFinished(
                self._engine.now,
                container.id,
                resident.key,
                resident.library_s,
                resident.model_s,
                loadable.size_bytes,
                loadable.source,
            )
        )
        if loadable.is_template and container.alive:
            for other in container.residents.values():
                if other.loadable.template == resident.key and not other.loaded and other.loading is None:
                    self._start_loading(container, other)
        self._continue_run(container)

    def _end(self, container: _Container, key: ResidentKey) -> None:
        resident = container.residents.pop(key)
        self._give_up(resident)
        container.ending.add(key)
        seconds = self._costs.end_s + self._costs.end_s_per_gib * resident.loadable.size_bytes / GIB
        ended = partial(self._ended, container, resident)
        self._cpu.begin(self._duration(seconds), self._end_cores, ended, background=True)

    def _ended(self, container: _Container, resident: _Resident, _stretch: float = 1.0) -> None:
        self._add_used(-resident.loadable.size_bytes)
        if not container.alive:
            return
        container.ending.discard(resident.key)
        self.feed(ResidentGone(self._engine.now, container.id, resident.key))
        if resident.loadable.is_template:
            self._make_again(container, resident.key)
        self._continue_run(container)

    def _make_again(self, container: _Container, template: ResidentKey) -> None:
        """Load a template again that was ended while functions waited to be forked from it."""
        waiting = any(each.loadable.template == template and not each.loaded for each in container.residents.values())
        if waiting and template not in container.residents and container.alive:
            self._begin(container, template)

    # -- runs ------------------------------------------------------------------------------------------------------

    def _continue_run(self, container: _Container) -> None:
        """Take a run one step further: load its function, or let it compute.

        A run does not wait for the memory of the residents that it has ended: what is in memory now was in memory
        before too, and fitted the container's limit.
        """
        run = container.run
        if run is None or not container.alive or run.function in container.ending:
            return
        resident = container.residents.get(run.function)
        if resident is None:
            self._begin(container, run.function)
        elif resident.loaded:
            container.run = None
            loadable = resident.loadable
            compute_s = self._compute_s(run.activation)
            if compute_s is None:
                compute_s = loadable.first_s if resident.is_cold else loadable.compute_s
            resident.is_cold = False
            compute_s = self._duration(compute_s)
            seconds = self._duration(self._costs.handoff_s) + compute_s
            ran = partial(self._ran, container, run, resident, compute_s)
            self._cpu.begin(seconds, loadable.compute_cores, ran, company=loadable.company)

    def _ran(
        self, container: _Container, run: Run, resident: _Resident, compute_s: float, stretch: float = 1.0
    ) -> None:
        if container.alive:
            compute_s *= stretch
            size_bytes = resident.loadable.size_bytes
            ran = RunFinished(
                self._engine.now, container.id, run.activation, compute_s, size_bytes, peak_bytes=size_bytes
            )
            self.feed(ran)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _add_used(self, more_bytes: int) -> None:
        now = self._engine.now
        self._used_byte_s += self._used_bytes * (now - self._used_since)
        self._used_since = now
        self._used_bytes += more_bytes
