"""Sends the calls of a trace through simulated nodes, and returns the records and figures of a live replay.

A call is read from the trace when its time comes and forgotten when it is answered, and figures are summed up on the
way. So memory grows with the number of functions and containers, but not with the length of the trace.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle

from ..core import cluster
from ..core.decisions import Refuse, Reply
from ..core.errors import InternalError
from ..core.events import RequestArrived
from ..core.model import GIB, ActivationId, Function, FunctionKey
from ..core.story import Entry
from ..errors import BadInput
from ..policy.routing.home import HomeRouting
from ..report.online import Tally
from ..report.records import SUCCESS, CallRecord, Summary
from ..traces.workload import Arrival, Workload
from .costs import CostSet, FunctionCosts
from .engine import Engine
from .settings import Settings
from .world import Durations, World

_NAMESPACE = "guest"
_TIMEOUT_S = 300.0
_PROGRESS_EVERY = 2000
_GC_THRESHOLD = 50_000
"""The garbage collector runs after this many more objects."""

_UNLIMITED = cluster.Limits(concurrent=1 << 60, per_minute=1 << 60)
"""Admission limits protect a real controller; a simulated one needs no protection."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """One function of the simulated platform."""

    name: str
    """The name in the records."""
    function: Function
    costs_name: str
    costs: FunctionCosts


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a simulation."""

    settings: Settings
    costs: str
    """Name of the cost set."""
    source: str
    """Where the trace comes from."""
    duration_s: float
    """Simulated time; at least the length of the trace."""
    overall: Summary
    functions: Mapping[str, Summary]
    """By function name; functions without calls are left out."""
    kinds_of_functions: Mapping[str, str]
    """The name of each function's costs, by function name."""
    memory_gb_s: float
    """Memory limits of the containers, integrated over time, in GiB.s."""
    used_gb_s: float
    """Sizes of the residents, integrated over time, in GiB.s."""
    preloads: Mapping[str, int]
    ahead_processor_s: float
    """Processor seconds of the loads and templates that were made ahead of calls."""
    wall_s: float
    events: int
    """Number of events that the nodes handled."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a simulation has come."""

    share: float
    """Share of the trace's time that has passed, from 0 to 1."""
    calls: int
    wall_s: float


@dataclass(frozen=True, slots=True)
class Watchers:
    """Callbacks during a simulation."""

    record: Callable[[CallRecord], None] | None = None
    entry: Callable[[Entry], None] | None = None
    """Gets every event of every node, with the decisions that followed."""
    progress: Callable[[Progress], None] | None = None


def run_simulation(
    workload: Workload,
    costs: CostSet,
    settings: Settings,
    watchers: Watchers | None = None,
    *,
    names: Sequence[str] = (),
    own_durations: bool = False,
) -> Outcome:
    """Run a trace to its end, and until its last call is answered.

    With `names`, the rows of the trace take these functions of the cost set in turn, and rows with the same name share
    one function, as in a live replay. Without `names` every row is a function of its own; it gets the costs of its own
    name, or, if there are none, the next ones of the cost set in turn. With `own_durations`, a call computes for as
    long as the trace says, if the trace says it.

    Raises `BadInput` for a malformed trace, an unknown policy and an unknown name.
    """
    return _Simulation(workload, costs, settings, watchers or Watchers(), names, own_durations=own_durations).run()


class _Simulation:
    def __init__(
        self,
        workload: Workload,
        costs: CostSet,
        settings: Settings,
        watchers: Watchers,
        names: Sequence[str],
        *,
        own_durations: bool,
    ) -> None:
        self.workload = workload
        self.costs = costs
        self.settings = settings
        self.watchers = watchers
        self.own_durations = own_durations
        self.functions = simulated(workload, costs, settings, names)
        """The function of each row of the trace; several rows may have the same."""
        self.tallies = {each.name: Tally() for each in self.functions}
        self.in_flight: dict[ActivationId, tuple[int, Arrival]] = {}
        self.engine = Engine()
        self.calls = 0
        self.cluster: cluster.ClusterState | None = None
        single = settings.nodes == 1
        self.worlds = {
            name: World(
                self.engine,
                settings.node_state(name, costs.cores),
                costs,
                Durations(costs.noise_sigma, f"{settings.seed}/{name}"),
                fast_init=settings.fast_init,
                compute_s=self._compute_s,
                on_answer=self._answered,
                on_entry=watchers.entry,
            )
            for name in (["node"] if single else [f"node-{n}" for n in range(1, settings.nodes + 1)])
        }
        self.only_world = next(iter(self.worlds.values())) if single else None

    def run(self) -> Outcome:
        began = time.perf_counter()
        if self.only_world is None:
            # A single node needs no routing, and asking for it would cost a fifth of the time.
            self.cluster = cluster.ClusterState(_UNLIMITED, HomeRouting())
            for name in self.worlds:
                self.cluster.handle(cluster.NodeJoined(0.0, name))
        for each in dict.fromkeys(self.functions):
            for world in self.worlds.values():
                world.register(each.function, each.costs)
        engine, tell = self.engine, self.watchers.progress
        duration_s = self.workload.duration_s
        with _rare_gc():
            for arrival in self.workload.arrivals(self.settings.seed):
                engine.advance(arrival.at_s)
                self._arrive(arrival)
                if tell is not None and self.calls % _PROGRESS_EVERY == 0:
                    share = min(1.0, arrival.at_s / duration_s) if duration_s else 1.0
                    tell(Progress(share, self.calls, time.perf_counter() - began))
            engine.advance(max(duration_s, engine.now))
            while self.in_flight:
                if not engine.step():
                    raise InternalError(f"{len(self.in_flight)} activations will never be answered")
        return self._outcome(time.perf_counter() - began)

    def _arrive(self, arrival: Arrival) -> None:
        activation = str(self.calls)
        self.calls += 1
        self.in_flight[activation] = (arrival.function, arrival)
        function = self.functions[arrival.function].function
        world = self.only_world or self._route(activation, function, arrival.at_s)
        world.feed(RequestArrived(arrival.at_s, activation, function.key))

    def _route(self, activation: ActivationId, function: Function, at_s: float) -> World:
        if self.cluster is None:
            raise InternalError("several nodes and nobody to choose between them")
        event = cluster.RequestArrived(at_s, activation, function.namespace, function.key)
        decision = self.cluster.handle(event)[0]
        if isinstance(decision, cluster.Refuse):
            raise InternalError(f"{activation} was refused where nothing limits it: {decision.message}")
        return self.worlds[decision.node]

    def _compute_s(self, activation: ActivationId) -> float | None:
        return self.in_flight[activation][1].duration_s if self.own_durations else None

    def _answered(self, answer: Reply | Refuse) -> None:
        row, arrival = self.in_flight.pop(answer.activation)
        if self.cluster is not None:
            self.cluster.handle(cluster.RequestFinished(self.engine.now, answer.activation))
        name = self.functions[row].name
        kind = answer.start_kind if isinstance(answer, Reply) else None
        failure = answer.failure
        if failure is None and kind is not None:
            self.tallies[name].succeeded(kind, answer.phases)
        else:
            self.tallies[name].did_not(kind)
        if self.watchers.record is not None:
            self.watchers.record(
                CallRecord(
                    function=name,
                    scheduled_s=arrival.at_s,
                    sent_s=arrival.at_s,
                    activation_id=answer.activation,
                    container=answer.container if isinstance(answer, Reply) else "",
                    start_kind=kind,
                    phases=answer.phases,
                    status=SUCCESS if failure is None else f"refused: {failure.message}",
                    client_s=answer.phases.total,
                )
            )

    def _outcome(self, wall_s: float) -> Outcome:
        at = self.engine.now
        books = [world.state.books for world in self.worlds.values()]
        tallies = {name: tally for name, tally in sorted(self.tallies.items()) if tally.calls}
        return Outcome(
            settings=self.settings,
            costs=self.costs.name,
            source=self.workload.source,
            duration_s=at,
            overall=Tally.merged(tallies.values()).summary(),
            functions={name: tally.summary() for name, tally in tallies.items()},
            kinds_of_functions={each.name: each.costs_name for each in self.functions},
            memory_gb_s=sum(each.pool.ledger.committed_byte_s(at) for each in books) / GIB,
            used_gb_s=sum(world.used_byte_s() for world in self.worlds.values()) / GIB,
            preloads={
                count: sum(getattr(each.preloads, count) for each in books)
                for count in ("started", "finished", "failed", "hits", "templates")
            },
            ahead_processor_s=math.fsum(world.ahead_processor_s for world in self.worlds.values()),
            wall_s=wall_s,
            events=sum(world.events for world in self.worlds.values()),
        )


@contextmanager
def _rare_gc() -> Iterator[None]:
    """Let the garbage collector run rarely.

    Calls leave no reference cycles behind, and searching for some every 700 objects costs a twentieth of the run.
    """
    before = gc.get_threshold()
    gc.set_threshold(_GC_THRESHOLD, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def simulated(workload: Workload, costs: CostSet, settings: Settings, names: Sequence[str]) -> list[Simulated]:
    """Return the function that each row of a trace calls."""
    unknown = [name for name in names if name not in costs.functions]
    if unknown:
        known = ", ".join(costs.functions)
        raise BadInput(f"the cost set {costs.name!r} has no function {unknown[0]!r}; it has: {known}")
    most_bytes = settings.memory_bytes if settings.auto_memory else 0
    if names:
        shared = {name: _function(name, name, _NAMESPACE, costs, most_bytes=most_bytes) for name in names}
        return [shared[name] for name, _ in zip(cycle(names), workload.functions)]
    in_turn = cycle(costs.functions)
    seen: dict[str, int] = {}
    result = []
    for row in workload.functions:
        # A trace's function names are unique within an application only; records have no application, so repeats get a
        # number.
        seen[row.name] = seen.get(row.name, 0) + 1
        name = row.name if seen[row.name] == 1 else f"{row.name}#{seen[row.name]}"
        like = row.name if row.name in costs.functions else next(in_turn)
        namespace = row.owner if settings.owners_apart and row.owner else _NAMESPACE
        result.append(_function(name, like, namespace, costs, most_bytes=most_bytes))
    return result


def _function(name: str, like: str, namespace: str, costs: CostSet, *, most_bytes: int) -> Simulated:
    each = costs.functions[like]
    key: FunctionKey = f"{namespace}/{name}@0.0.1"
    estimate_bytes = each.resident_bytes if each.estimate_bytes is None else each.estimate_bytes
    function = Function(
        key,
        namespace,
        each.environment,
        estimate_bytes if most_bytes else each.memory_bytes,
        _TIMEOUT_S,
        estimate_bytes,
        each.templated,
        forkable=each.function_template is not None,
        most_bytes=most_bytes,
    )
    return Simulated(name, function, like, each)
