"""Derives a cost set from the story of a live run.

The events of a node and the decisions between them hold nearly everything that a simulation needs: when something was
requested, when it was ready, and its measured size. Three things are missing: which functions ask for ``fast_init``,
how many processors a load or a call keeps busy, and how many processors the machine has. The caller provides those.

Costs are medians, so that a few outliers do no harm; a story should contain everything at least three times. Calls and
loads that overlapped are not told apart from those that did not, so the best story does one thing at a time.

Sizes are those that the node booked last. A forked process shares pages with its template, and the node divides the
shared bytes equally among all processes that share them. Here the template is charged with all shared bytes, as if it
were alone, and the forked process with what it added. So sums are right, however many processes share.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from ..core.model import GIB, Function
from ..core.story import Entry
from ..errors import BadInput
from ..report.timeline import short_name
from .costs import CostSet, EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from .reading import Reading

_NOTABLE_S = 0.005
"""Shorter durations consist mostly of the host's noise, and are too short to matter."""
_NOTABLE_GIB = 1 / 16
"""If all sizes are closer together than this, they do not show how memory affects the time of an end."""
_ALIKE = 1.05
"""Durations whose ratio is below this count as equal."""


@dataclass(frozen=True, slots=True)
class FunctionFacts:
    """What a story does not say about a function."""

    memory_bytes: int
    """The function's own limit; the observed platform may have given it more."""
    fast: bool = False
    """Whether the function asks for ``fast_init``."""
    load_cores: float = 1.0
    compute_cores: float = 1.0
    beside_call: float | None = None
    beside_load: float = 1.0
    """How many times as long a call takes beside another call, or beside a load."""


@dataclass(slots=True)
class _Ended:
    """How long each end of a function's residents took, and how much memory it freed; all forked, or none."""

    seconds: list[float] = field(default_factory=list)
    sizes_bytes: list[int] = field(default_factory=list)


class _Samples:
    """All samples of one function, template or platform, in seconds or bytes, by the names in `reading`."""

    def __init__(self) -> None:
        self.of: dict[str, list[float]] = defaultdict(list)

    def median(self, *names: str) -> float | None:
        """Return the median of the samples under the first name that has any."""
        return next((statistics.median(self.of[name]) for name in names if self.of[name]), None)


class Observer:
    """Collects samples from stories, and makes a cost set of them."""

    def __init__(self) -> None:
        self._functions: dict[str, Function] = {}
        self._samples: dict[str, _Samples] = defaultdict(_Samples)
        """Keys are function names, environments (for their templates), and ``""`` for the platform itself."""
        self._ends: dict[tuple[str, bool], _Ended] = defaultdict(_Ended)
        self._stops: list[tuple[float, int]] = []

    def read(self, entries: Iterable[Entry], *, fast: bool) -> None:
        """Read one platform's story from its beginning; `fast` tells whether that platform honoured ``fast_init``."""
        story = Reading(self, fast=fast)
        for entry in entries:
            story.take(entry)
        story.finish()

    def registered(self, function: Function) -> None:
        self._functions[short_name(function.key)] = function

    def sample(self, whose: str, what: str, value: float) -> None:
        self._samples[whose].of[what].append(value)

    def ended(self, name: str, seconds: float, forked: bool, size_bytes: int) -> None:
        ends = self._ends[name, forked]
        ends.seconds.append(seconds)
        ends.sizes_bytes.append(size_bytes)

    def stopped(self, seconds: float, size_bytes: int) -> None:
        self._stops.append((seconds, size_bytes))

    # -- the cost set ----------------------------------------------------------------------------------------------

    def costs(self, known: Mapping[str, FunctionFacts], *, name: str, source: str, cores: float = 0.0) -> CostSet:
        """Return the costs of the functions in `known`, which is keyed by function name, in that order.

        Raises `BadInput` when the stories lack something indispensable; the message says what.
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
            load_handoff_s=_round(platform.median("load handoff") or 0.0),
            noise_sigma=round(self._noise(known), 3),
            cores=cores,
            functions=functions,
            environments=environments,
        )
        if (problem := costs.check()) is not None:
            raise BadInput(f"what was measured is not a cost set: {problem}")
        return costs

    def _function(self, name: str, known: FunctionFacts) -> FunctionCosts:
        samples = self._samples[name]
        of = samples.median
        function = self._functions.get(name)
        if function is None:
            raise BadInput(f"{name} is in none of the stories; deploy it and call it, each kind of start once at least")
        model_names = ("model",) if known.fast else ("model", "fast model")
        compute_s = _needed(
            of("compute", "forked compute", "preloaded compute", "first", "forked first"), f"a call of {name}"
        )
        resident = _needed(of("resident", "forked"), f"a load of {name}")
        first_s, forked_first_s = of("first"), of("forked first")
        warm_up_s, preloaded_s = of("warm-up"), of("preloaded compute")
        if not _warms_up(warm_up_s, preloaded_s, of("forked compute") or compute_s, forked_first_s or first_s):
            warm_up_s = None
        return FunctionCosts(
            environment=function.environment,
            memory_bytes=known.memory_bytes,
            library_s=_round(_needed(of("library", "fork"), f"a load of {name}")),
            fork_s=_round(_needed(of("fork", "library"), f"a load of {name}")),
            model_s=_round(_needed(of(*model_names, "fast model"), f"a load of {name}")),
            fast_model_s=_maybe(of("fast model")) if known.fast else None,
            compute_s=_round(compute_s),
            forked_compute_s=_maybe(of("forked compute")),
            first_compute_s=_maybe(first_s),
            forked_first_compute_s=_maybe(forked_first_s),
            warmup_s=_maybe(warm_up_s),
            resident_bytes=int(resident),
            forked_bytes=int(_needed(of("added", "forked", "resident"), f"a load of {name}")),
            estimate_bytes=function.estimate_bytes,
            templated=function.templated and bool(self._samples[function.environment].of["template library"]),
            load_cores=known.load_cores,
            compute_cores=known.compute_cores,
            beside_call=known.beside_call,
            beside_load=known.beside_load,
            function_template=_function_template(samples),
        )

    def _environment(self, environment: str, functions: Mapping[str, FunctionCosts]) -> EnvironmentCosts:
        """Return the costs of an environment's template.

        If no template was ever made, the longest import time among the environment's functions stands in for the
        template's.
        """
        samples = self._samples[environment]
        users = [each for each in functions.values() if each.environment == environment]
        library_s = samples.median("template library")
        return EnvironmentCosts(
            library_s=_round(max(each.library_s for each in users) if library_s is None else library_s),
            template_bytes=int(samples.median("template bytes") or 0),
        )

    def _line_of_ends(self, functions: Mapping[str, FunctionCosts]) -> tuple[float, float]:
        """Return (seconds to end an empty resident, seconds per GiB): a straight line through the medians by kind."""
        points: list[tuple[float, float]] = []
        for (name, forked), ends in self._ends.items():
            size_bytes = statistics.median(ends.sizes_bytes)
            if name in functions:
                # The simulation will use these sizes, so the line must fit them and not the booked ones.
                size_bytes = functions[name].forked_bytes if forked else functions[name].resident_bytes
            points.append((size_bytes / GIB, statistics.median(ends.seconds)))
        sizes = [size for size, _ in points]
        if not points or max(sizes) - min(sizes) < _NOTABLE_GIB:
            return (statistics.median(seconds for _, seconds in points) if points else 0.0), 0.0
        slope, end_s = statistics.linear_regression(*zip(*points, strict=True))
        if slope <= 0:
            return statistics.fmean(seconds for _, seconds in points), 0.0
        if end_s < 0:
            return 0.0, statistics.linear_regression(*zip(*points, strict=True), proportional=True).slope
        return end_s, slope

    def _noise(self, known: Collection[str]) -> float:
        """Return the standard deviation of the logarithms of durations: the median over everything measured repeatedly.

        Pooling all samples instead would let a few seconds of other activity on the host decide the result.
        """
        spreads = [
            statistics.stdev(map(math.log, values))
            for name in ("", *known)
            for what, values in self._samples[name].of.items()
            if len(values) > 1 and min(values) >= _NOTABLE_S and what not in _NO_DURATIONS
        ]
        return statistics.median(spreads) if spreads else 0.0


def _function_template(samples: _Samples) -> FunctionTemplateCosts | None:
    """Return the costs of a function template. None if none was seen to stand, and a resident to be forked from it."""
    of = samples.median
    size_bytes, fork_s, forked_bytes = of("own bytes"), of("own fork"), of("own added", "own forked")
    if size_bytes is None or fork_s is None or forked_bytes is None:
        return None
    return FunctionTemplateCosts(
        bytes=int(size_bytes),
        fork_s=_round(fork_s),
        forked_bytes=int(forked_bytes),
        make_s=_round(of("own make") or 0.0),
        first_compute_s=_maybe(of("own first")),
    )


_SIZES = ("resident", "forked", "added", "template bytes", "own bytes", "own forked", "own added")
_NO_DURATIONS = frozenset({*_SIZES, "handoff", "load handoff", "warm-up", "own make"})
"""Samples that are sizes, or remainders after other durations were subtracted."""


def _warms_up(warm_up_s: float | None, preloaded_s: float | None, compute_s: float, first_s: float | None) -> bool:
    """Return whether a function has a warm-up.

    A warm-up takes about as long as a call, and after it the first call takes about as long as any later call. Where
    first and later calls take equally long, the answer makes no difference.
    """
    if warm_up_s is None or preloaded_s is None:
        return False
    between_s = (compute_s + max(compute_s, first_s or 0.0)) / 2
    return warm_up_s >= compute_s / 2 and preloaded_s <= _ALIKE * between_s


def _needed(value: float | None, what: str) -> float:
    if value is None:
        raise BadInput(f"the stories lack {what}; let it happen once at least")
    return value


def _round(seconds: float) -> float:
    """Round to microseconds; further digits are noise."""
    return round(seconds, 6)


def _maybe(seconds: float | None) -> float | None:
    return None if seconds is None else _round(seconds)
