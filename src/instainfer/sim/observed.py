"""What things took on a platform, read from its story: the way from a live run to a cost set.

Everything that a simulation needs is in the events of a node and the decisions between them: what was asked for when,
when it was there, and what was measured of it. Only three things are not: which functions ask for ``fast_init``, how
many processors a load or a call keeps busy, and how many there are. Whoever made the platform knows or measures those.

Medians are taken, so that a few strange values do no harm; a story should hold three of everything at least. Calls and
loads that happened beside each other are not told from those that did not: the best story is of one thing at a time.

Sizes are those that the node booked last. A process forked from a template shares pages with it, which the node
charges in equal parts to all who share them; here the template is charged with all of them, as if it were alone, and
the forked one with what it added. So sums are true, however many share.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from ..core.model import GIB, ContainerId, Function, FunctionKey, ResidentKey, StartKind, is_template
from ..core.story import Entry
from ..errors import BadInput
from .costs import CostSet, EnvironmentCosts, FunctionCosts

_LOADED_FOR_IT = (StartKind.COLD, StartKind.PREWARMED, StartKind.TEMPLATED)
_NOTABLE_S = 0.005
"""Shorter durations are mostly made of the host's noise, and too short to matter."""
_NOTABLE_GIB = 1 / 16
"""Sizes that differ by less do not show what memory does to the time of an end."""
_ALIKE = 1.05
"""Durations that differ by less are the same."""


@dataclass(frozen=True, slots=True)
class Known:
    """What no story says of a function."""

    memory_bytes: int
    """Its own limit; the story's platform may have given it more."""
    fast: bool = False
    """Whether it asks for ``fast_init``."""
    load_cores: float = 1.0
    compute_cores: float = 1.0


@dataclass(slots=True)
class _Ended:
    """Ends of one function, of one kind, and how much memory each freed."""

    seconds: list[float] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)


class _Samples:
    """Everything that was measured of one function or template, in seconds and bytes."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = defaultdict(list)

    def median(self, *names: str) -> float | None:
        """Over all samples of the first name that has any."""
        return next((statistics.median(self.of[name]) for name in names if self.of[name]), None)


@dataclass(slots=True)
class _Resident:
    forked: bool = False
    size_bytes: int = 0
    added_bytes: int | None = None
    """Forked: what it added to its template, when it was the only one."""
    alone_bytes: int = 0
    """Template: its size when nothing had been forked from it."""


@dataclass(slots=True)
class _Container:
    asked_at: float
    residents: dict[ResidentKey, _Resident] = field(default_factory=dict)
    loads: dict[ResidentKey, float] = field(default_factory=dict)
    """Loads ahead of calls, and when each was asked for."""
    ends: dict[ResidentKey, float] = field(default_factory=dict)
    run: Run | None = None
    stopped_at: float | None = None


class Observer:
    """Reads stories, and makes a cost set of them."""

    def __init__(self) -> None:
        self.functions: dict[FunctionKey, Function] = {}
        self._samples: dict[str, _Samples] = defaultdict(_Samples)
        """By function's name, template's environment, and ``""`` for the platform itself."""
        self._ends: dict[tuple[str, bool], _Ended] = defaultdict(_Ended)
        self._stops: list[tuple[float, int]] = []

    def read(self, entries: Iterable[Entry], *, fast: bool) -> None:
        """One platform's story, from its beginning; `fast` tells whether that platform honoured ``fast_init``."""
        story = _Reading(self, fast=fast)
        for entry in entries:
            story.take(entry)
        story.finish()

    def sample(self, whose: str, what: str, value: float) -> None:
        self._samples[whose].of[what].append(value)

    def ended(self, name: str, seconds: float, resident: _Resident) -> None:
        ends = self._ends[name, resident.forked]
        ends.seconds.append(seconds)
        ends.sizes_bytes.append(resident.size_bytes)

    def stopped(self, seconds: float, size_bytes: int) -> None:
        self._stops.append((seconds, size_bytes))

    # -- the cost set ----------------------------------------------------------------------------------------------

    def costs(self, known: Mapping[str, Known], *, name: str, source: str, cores: float = 0.0) -> CostSet:
        """The costs of the functions that are `known`, by name, in that order.

        Raises `BadInput` when the stories lack something that cannot be done without, and says what.
        """
        platform = self._samples[""]
        functions = {each: self._function(each, known[each]) for each in known}
        end_s, end_s_per_gib = self._line_of_ends(functions)
        stops = [seconds - end_s_per_gib * size_bytes / GIB for seconds, size_bytes in self._stops]
        environments = {each.environment: self._environment(each.environment, functions) for each in functions.values()}
        costs = CostSet(
            name=name,
            source=source,
            container_s=_round(_needed(platform.median("container"), "the start of a container")),
            stop_s=_round(max(0.0, statistics.median(stops))) if stops else 0.0,
            end_s=_round(end_s),
            end_s_per_gib=_round(end_s_per_gib),
            handoff_s=_round(_needed(platform.median("handoff"), "a call of a function that is loaded")),
            noise_sigma=round(self._noise(known), 3),
            cores=cores,
            functions=functions,
            environments=environments,
        )
        if (problem := costs.check()) is not None:
            raise BadInput(f"what was measured is not a cost set: {problem}")
        return costs

    def _function(self, name: str, known: Known) -> FunctionCosts:
        samples = self._samples[name]
        of = samples.median
        function = next((f for f in self.functions.values() if _name(f.key) == name), None)
        if function is None:
            raise BadInput(f"{name} is in none of the stories; deploy it and call it, each kind of start once at least")
        model_names = ("model",) if known.fast else ("model", "fast model")
        compute_s = _needed(of("compute", "preloaded compute", "first", "forked first"), f"a call of {name}")
        resident = _needed(of("resident", "forked"), f"a load of {name}")
        first_s, forked_first_s = of("first"), of("forked first")
        warm_up_s, preloaded_s = of("warm-up"), of("preloaded compute")
        if not _warms_up(warm_up_s, preloaded_s, compute_s, forked_first_s or first_s):
            warm_up_s = None
        return FunctionCosts(
            environment=function.environment,
            memory_bytes=known.memory_bytes,
            library_s=_round(_needed(of("library", "fork"), f"a load of {name}")),
            fork_s=_round(_needed(of("fork", "library"), f"a load of {name}")),
            model_s=_round(_needed(of(*model_names, "fast model"), f"a load of {name}")),
            fast_model_s=_maybe(of("fast model")) if known.fast else None,
            compute_s=_round(compute_s),
            first_compute_s=_maybe(first_s),
            forked_first_compute_s=_maybe(forked_first_s),
            warmup_s=_maybe(warm_up_s),
            resident_bytes=int(resident),
            forked_bytes=int(_needed(of("added", "forked", "resident"), f"a load of {name}")),
            estimate_bytes=function.estimate_bytes,
            templated=function.templated and bool(self._samples[function.environment].of["template library"]),
            load_cores=known.load_cores,
            compute_cores=known.compute_cores,
        )

    def _environment(self, environment: str, functions: Mapping[str, FunctionCosts]) -> EnvironmentCosts:
        """Of its template; where none was ever made, what its functions import stands for it."""
        samples = self._samples[environment]
        users = [each for each in functions.values() if each.environment == environment]
        library_s = samples.median("template library")
        return EnvironmentCosts(
            library_s=_round(max(each.library_s for each in users) if library_s is None else library_s),
            template_bytes=int(samples.median("template bytes") or 0),
        )

    def _line_of_ends(self, functions: Mapping[str, FunctionCosts]) -> tuple[float, float]:
        """Seconds of ending nothing, and for each GiB: a straight line through the medians of each kind of resident."""
        points: list[tuple[float, float]] = []
        for (name, forked), ends in self._ends.items():
            size_bytes = statistics.median(ends.sizes_bytes)
            if name in functions:
                # As a simulation will have it, and not as it was booked.
                size_bytes = functions[name].forked_bytes if forked else functions[name].resident_bytes
            points.append((size_bytes / GIB, statistics.median(ends.seconds)))
        sizes = [size for size, _ in points]
        if not points or max(sizes) - min(sizes) < _NOTABLE_GIB:
            return (statistics.median(seconds for _, seconds in points) if points else 0.0), 0.0
        slope, end_s = statistics.linear_regression(*zip(*points, strict=True))
        if slope <= 0:
            return statistics.fmean(seconds for _, seconds in points), 0.0
        if end_s < 0:
            return 0.0, sum(x * y for x, y in points) / sum(x * x for x, _ in points)
        return end_s, slope

    def _noise(self, known: Collection[str]) -> float:
        """Standard deviation of the logarithms of durations around their means."""
        squares, freedom = 0.0, 0
        for name in ("", *known):
            for what, values in self._samples[name].of.items():
                if len(values) < 2 or min(values) < _NOTABLE_S or what in _NO_DURATIONS:
                    continue
                logarithms = [math.log(value) for value in values]
                mean = statistics.fmean(logarithms)
                squares += sum((value - mean) ** 2 for value in logarithms)
                freedom += len(values) - 1
        return math.sqrt(squares / freedom) if freedom else 0.0


_NO_DURATIONS = frozenset({"resident", "forked", "added", "template bytes", "handoff", "warm-up"})
"""Sizes, and what is left when others have been taken off."""


class _Reading:
    """One story as it is read."""

    def __init__(self, observer: Observer, *, fast: bool) -> None:
        self._observer = observer
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
                    container.run = decision
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
        if key in container.residents:  # else its load is cut short
            container.ends[key] = at

    # -- events ----------------------------------------------------------------------------------------------------

    def _on_registered(self, event: FunctionRegistered) -> None:
        self._observer.functions[event.function.key] = event.function

    def _on_started(self, event: ContainerStarted) -> None:
        self._observer.sample("", "container", event.at - self._containers[event.container].asked_at)

    def _on_gone(self, event: ContainerGone) -> None:
        container = self._containers.pop(event.container)
        if container.stopped_at is not None and event.failure is None:
            size_bytes = sum(resident.size_bytes for resident in container.residents.values())
            self._observer.stopped(event.at - container.stopped_at, size_bytes)
        for key, resident in container.residents.items():
            self._note_size(key, resident)

    def _on_loaded(self, event: LoadFinished) -> None:
        container, name, sample = self._containers[event.container], _name(event.function), self._observer.sample
        resident = _Resident(event.forked, event.resident_bytes)
        container.residents[event.function] = resident
        asked_at = container.loads.pop(event.function, None)
        if is_template(event.function):
            resident.alone_bytes = event.resident_bytes
            sample(name, "template library", event.library_s)
            sample(name, "template bytes", event.resident_bytes)
            for key in container.loads:
                container.loads[key] = event.at  # what is forked from it has waited for it
            return
        sample(name, "fork" if event.forked else "library", event.library_s)
        sample(name, self._model, event.model_s)
        if asked_at is not None and container.run is None:
            sample(name, "warm-up", max(0.0, event.at - asked_at - event.library_s - event.model_s))
        self._weigh(container)

    def _on_not_loaded(self, event: LoadFailed) -> None:
        self._containers[event.container].loads.pop(event.function, None)

    def _on_ended(self, event: ResidentGone) -> None:
        container = self._containers[event.container]
        resident = container.residents.pop(event.function, None)
        asked_at = container.ends.pop(event.function, None)
        if resident is not None:
            self._note_size(event.function, resident)
            if asked_at is not None:
                self._observer.ended(_name(event.function), event.at - asked_at, resident)

    def _on_ran(self, event: RunFinished) -> None:
        container = self._containers[event.container]
        run = container.run
        resident = container.residents.get(run.function) if run is not None else None
        if run is None or resident is None or event.failure is not None:
            return
        self._observer.sample(_name(run.function), _compute(run.start_kind, forked=resident.forked), event.compute_s)
        resident.size_bytes = event.resident_bytes
        self._weigh(container)

    def _on_reply(self, reply: Reply) -> None:
        container = self._containers[reply.container]
        run, container.run = container.run, None
        if run is not None and not run.ends and run.start_kind in (StartKind.WARM, StartKind.PRELOADED):
            self._observer.sample("", "handoff", reply.phases.handoff)

    def _on_measured(self, event: MemoryMeasured) -> None:
        container = self._containers[event.container]
        for key, size_bytes in event.resident_bytes:
            if key in container.residents:
                container.residents[key].size_bytes = size_bytes
        self._weigh(container)

    # -- sizes -----------------------------------------------------------------------------------------------------

    def _weigh(self, container: _Container) -> None:
        """What a forked resident has added, if it is the only one and its template was measured beside it."""
        forked = [(key, resident) for key, resident in container.residents.items() if resident.forked]
        if len(forked) != 1:
            return
        key, resident = forked[0]
        function = self._observer.functions.get(key)
        template = container.residents.get(function.template) if function is not None else None
        # A template is measured anew for each that is forked from it, just before that is reported.
        if template is not None and template.size_bytes < template.alone_bytes:
            added_bytes = template.size_bytes + resident.size_bytes - template.alone_bytes
            resident.added_bytes = max(0, added_bytes)

    def _note_size(self, key: ResidentKey, resident: _Resident) -> None:
        """The size that it was booked with last."""
        if is_template(key):
            return
        name, sample = _name(key), self._observer.sample
        sample(name, "forked" if resident.forked else "resident", resident.size_bytes)
        if resident.added_bytes is not None:
            sample(name, "added", resident.added_bytes)


def _compute(start_kind: StartKind, *, forked: bool) -> str:
    if start_kind in _LOADED_FOR_IT:
        return "forked first" if forked else "first"
    if start_kind is StartKind.PRELOADED:
        return "preloaded compute"
    return "compute" if start_kind is StartKind.WARM else "joined compute"


def _warms_up(warm_up_s: float | None, preloaded_s: float | None, compute_s: float, first_s: float | None) -> bool:
    """Whether a function has a warm-up.

    One that has takes about as long for it as for a call, and its first call after a pre-load is rather like any other
    than like a first one. Where those two are the same, it makes no difference.
    """
    if warm_up_s is None or preloaded_s is None:
        return False
    between_s = (compute_s + max(compute_s, first_s or 0.0)) / 2
    return warm_up_s >= compute_s / 2 and preloaded_s <= _ALIKE * between_s


def _name(key: ResidentKey) -> str:
    """A function's name, or a template's environment."""
    return key.rpartition("/")[2].partition("@")[0]


def _needed(value: float | None, what: str) -> float:
    if value is None:
        raise BadInput(f"the stories lack {what}; let it happen once at least")
    return value


def _round(seconds: float) -> float:
    """To the microsecond: further digits say nothing."""
    return round(seconds, 6)


def _maybe(seconds: float | None) -> float | None:
    return None if seconds is None else _round(seconds)
