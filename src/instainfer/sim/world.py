"""Containers that consist of nothing but time: what a node decides becomes what it will be told, and when.

The contract is that of `instainfer.backends.base`, kept as the memory backend keeps it: a run ends every other
resident first (one `ResidentGone` for each) and begins when all of them are gone; a load cut short reports only
`ResidentGone`; a function that is forked waits for its template, which is made when it is not there; after a stop
nothing is reported but `ContainerGone`. Nothing is decided here.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from ..core.decisions import (
    Load,
    Offload,
    Refuse,
    Remember,
    Reply,
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
from ..core.model import ActivationId, ContainerId, Function, FunctionKey, Profile, ResidentKey, is_template
from ..core.node import NodeState
from ..core.story import Entry
from .costs import CostSet, EnvironmentCosts, FunctionCosts
from .engine import Engine, Rank, Timer, cancel

_REPORT = int(Rank.REPORT)
_ALARM = int(Rank.ALARM)


class Durations:
    """How long things take this time: exactly what they cost, or that times a random factor of mean 1."""

    def __init__(self, sigma: float, seed: str) -> None:
        self._sigma = sigma
        self._draw = random.Random(f"costs/{seed}").gauss

    def __call__(self, seconds: float) -> float:
        if self._sigma == 0.0:
            return seconds
        return seconds * math.exp(self._draw(-0.5 * self._sigma**2, self._sigma))


class _Resident:
    """One function or template in one container, loading or loaded."""

    __slots__ = ("forked_from", "key", "library_s", "loaded", "loading", "model_s", "size_bytes")

    def __init__(self, key: ResidentKey, size_bytes: int, forked_from: ResidentKey | None) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self.forked_from = forked_from
        self.loaded = False
        self.loading: Timer | None = None
        """None: it waits for its template, or is loaded."""
        self.library_s = self.model_s = 0.0
        """What this load takes."""


class _Container:
    __slots__ = ("alive", "ending", "id", "residents", "run")

    def __init__(self, id_: ContainerId) -> None:
        self.id = id_
        self.residents: dict[ResidentKey, _Resident] = {}
        self.ending: set[ResidentKey] = set()
        self.run: Run | None = None
        """Handed over and not computing yet."""
        self.alive = True
        """Until it is told to stop; whatever was under way is then never heard of again."""


@dataclass(frozen=True, slots=True)
class _Known:
    costs: FunctionCosts
    model_s: float
    template: ResidentKey | None


class World:
    """One node's containers.

    `compute_s` gives an activation's own compute time, or None when its function's is meant.
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
        """Events that the node was told."""
        self._engine = engine
        self._costs = costs
        self._take = durations
        self._fast_init = fast_init
        self._compute_s = compute_s
        self._on_entry = on_entry
        self._functions: dict[FunctionKey, _Known] = {}
        self._templates: dict[ResidentKey, EnvironmentCosts] = {}
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
            Remember: lambda decision: None,
            WakeAt: self._wake_at,
        }

    def register(self, function: Function, costs: FunctionCosts, profile: Profile | None = None) -> None:
        """A function may be called from now on."""
        template = None
        if self.state.books.settings.templates and function.templated:
            template = function.template
            self._templates[template] = self._costs.environments[costs.environment]
        self._functions[function.key] = _Known(costs, costs.model(fast=self._fast_init), template)
        self.feed(FunctionRegistered(self._engine.now, function, profile))

    def feed(self, event: Event) -> None:
        """One event into the state, and what it decides into the future."""
        self.events += 1
        effects = self._effects
        for decision in self.state.handle(event):
            effects[type(decision)](decision)
        if self._on_entry is not None:
            self._on_entry(self.state.story.last)

    def used_byte_s(self) -> float:
        """Integral of the residents' sizes over time, those that are being loaded or ended included."""
        self._use(0)
        return self._used_byte_s

    # -- decisions -------------------------------------------------------------------------------------------------

    def _start(self, decision: StartContainer) -> None:
        container = self._containers[decision.container] = _Container(decision.container)
        self._engine.after(self._take(self._costs.container_s), _REPORT, partial(self._started, container))

    def _stop(self, decision: StopContainer) -> None:
        container = self._containers[decision.container]
        container.alive = False
        self._engine.after(self._take(self._costs.stop_s), _REPORT, partial(self._gone, container))

    def _load(self, decision: Load) -> None:
        container = self._containers[decision.container]
        if decision.function in container.residents:
            return
        if is_template(decision.function):
            self._begin_template(container, decision.function)
        else:
            self._begin_function(container, decision.function)

    def _offload(self, decision: Offload) -> None:
        container = self._containers[decision.container]
        if decision.function in container.residents:
            self._end(container, decision.function)

    def _run(self, decision: Run) -> None:
        container = self._containers[decision.container]
        container.run = decision
        for key in [key for key in container.residents if key != decision.function and not is_template(key)]:
            self._end(container, key)
        self._continue_run(container)

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
        self._use(-sum(resident.size_bytes for resident in container.residents.values()))
        del self._containers[container.id]
        self.feed(ContainerGone(self._engine.now, container.id))

    # -- loads and ends --------------------------------------------------------------------------------------------

    def _begin_function(self, container: _Container, key: FunctionKey) -> None:
        known = self._functions[key]
        template = known.template
        size_bytes = known.costs.resident_bytes if template is None else known.costs.forked_bytes
        resident = self._add(container, _Resident(key, size_bytes, template))
        resident.library_s = self._take(known.costs.library_s if template is None else known.costs.fork_s)
        resident.model_s = self._take(known.model_s)
        if template is not None and template not in container.residents:
            self._begin_template(container, template)
        if template is None or container.residents[template].loaded:
            self._go_on(container, resident)

    def _begin_template(self, container: _Container, key: ResidentKey) -> None:
        costs = self._templates[key]
        resident = self._add(container, _Resident(key, costs.template_bytes, None))
        resident.library_s = self._take(costs.library_s)
        self._go_on(container, resident)

    def _go_on(self, container: _Container, resident: _Resident) -> None:
        seconds = resident.library_s + resident.model_s
        resident.loading = self._engine.after(seconds, _REPORT, partial(self._loaded, container, resident))

    def _loaded(self, container: _Container, resident: _Resident) -> None:
        if not container.alive:
            return
        resident.loading, resident.loaded = None, True
        self.feed(
            LoadFinished(
                self._engine.now,
                container.id,
                resident.key,
                resident.library_s,
                resident.model_s,
                resident.size_bytes,
                resident.forked_from is not None,
            )
        )
        if is_template(resident.key) and container.alive:
            for other in container.residents.values():
                if other.forked_from == resident.key and not other.loaded and other.loading is None:
                    self._go_on(container, other)
        self._continue_run(container)

    def _end(self, container: _Container, key: ResidentKey) -> None:
        resident = container.residents.pop(key)
        if resident.loading is not None:
            cancel(resident.loading)
        container.ending.add(key)
        self._engine.after(self._take(self._costs.end_s), _REPORT, partial(self._ended, container, resident))

    def _ended(self, container: _Container, resident: _Resident) -> None:
        self._use(-resident.size_bytes)
        if not container.alive:
            return
        container.ending.discard(resident.key)
        self.feed(ResidentGone(self._engine.now, container.id, resident.key))
        self._continue_run(container)

    # -- runs ------------------------------------------------------------------------------------------------------

    def _continue_run(self, container: _Container) -> None:
        """Take a run one step further: others ended, then loaded, then computing."""
        run = container.run
        if run is None or container.ending or not container.alive:
            return
        resident = container.residents.get(run.function)
        if resident is None:
            self._begin_function(container, run.function)
        elif resident.loaded:
            container.run = None
            own_s = self._compute_s(run.activation)
            compute_s = self._take(self._functions[run.function].costs.compute_s if own_s is None else own_s)
            seconds = self._take(self._costs.handoff_s) + compute_s
            self._engine.after(seconds, _REPORT, partial(self._ran, container, run, resident, compute_s))

    def _ran(self, container: _Container, run: Run, resident: _Resident, compute_s: float) -> None:
        if container.alive:
            self.feed(RunFinished(self._engine.now, container.id, run.activation, compute_s, resident.size_bytes))

    # -- memory ----------------------------------------------------------------------------------------------------

    def _add(self, container: _Container, resident: _Resident) -> _Resident:
        container.residents[resident.key] = resident
        self._use(resident.size_bytes)
        return resident

    def _use(self, more_bytes: int) -> None:
        now = self._engine.now
        self._used_byte_s += self._used_bytes * (now - self._used_since)
        self._used_since = now
        self._used_bytes += more_bytes
