"""The figures of a node for ``/metrics``: what it has done since it started, and what is there now.

`Tally` counts what the books of the node do not keep, from each event and the decisions that followed from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, TypeAlias

from ..core.decisions import Decision, Offload, Run, StartContainer, StopContainer
from ..core.events import ContainerGone, ContainerStartFailed, Event, LoadFailed, LoadFinished, ResidentGone
from ..core.lifecycle import ContainerState, ResidentState
from ..core.model import ContainerId, EndCause, ResidentKey, is_function_template, is_template
from ..core.node import NodeState

Labels: TypeAlias = tuple[str, ...]
Measures: TypeAlias = Mapping[str, Mapping[Labels, Any]]
"""The values of each metric by the values of its labels (see `instainfer.controller.metrics`, which has their names and
what they mean). A value is a number or, for a histogram, an `instainfer.controller.counts.Distribution`."""

KINDS: Final = ("function", "library_template", "function_template")
DIED: Final = "died"
"""The cause, beside those of `EndCause`, of what ended without having been told to."""


def kind_of(key: ResidentKey) -> str:
    """Which of `KINDS` a resident is."""
    if not is_template(key):
        return "function"
    return "function_template" if is_function_template(key) else "library_template"


class Tally:
    """Counts loads and ends. Residents that end because their container ends are not counted one by one."""

    def __init__(self) -> None:
        self.created = 0
        """Containers that were begun."""
        self.containers_ended: Counter[Labels] = Counter()
        """By cause."""
        self.residents_ended: Counter[Labels] = Counter()
        """By kind and cause."""
        self.loads: Counter[Labels] = Counter()
        """By kind and outcome."""
        self._stopping: set[ContainerId] = set()
        self._ending: set[tuple[ContainerId, ResidentKey]] = set()
        """Residents whose end was counted when it was decided, and has not been reported yet."""
        self._count: dict[type, Callable[[Any], None]] = {
            ContainerStartFailed: self._container_gone,
            ContainerGone: self._container_gone,
            LoadFinished: self._load_finished,
            LoadFailed: self._load_failed,
            ResidentGone: self._resident_gone,
            StartContainer: self._start,
            StopContainer: self._stop,
            Offload: self._offload,
            Run: self._run,
        }

    def note(self, event: Event, decisions: Sequence[Decision]) -> None:
        for each in (event, *decisions):
            if (count := self._count.get(type(each))) is not None:
                count(each)

    def _container_gone(self, event: ContainerGone | ContainerStartFailed) -> None:
        if event.container in self._stopping:
            self._stopping.remove(event.container)
        else:
            self.containers_ended[DIED,] += 1
        self._ending = {each for each in self._ending if each[0] != event.container}

    def _load_finished(self, event: LoadFinished) -> None:
        self.loads[kind_of(event.function), "finished"] += 1

    def _load_failed(self, event: LoadFailed) -> None:
        self.loads[kind_of(event.function), "failed"] += 1
        self._ending.discard((event.container, event.function))

    def _resident_gone(self, event: ResidentGone) -> None:
        if (resident := (event.container, event.function)) in self._ending:
            self._ending.remove(resident)
        elif event.container not in self._stopping:
            self.residents_ended[kind_of(event.function), DIED] += 1

    def _start(self, decision: StartContainer) -> None:
        self.created += 1

    def _stop(self, decision: StopContainer) -> None:
        self.containers_ended[decision.cause.value,] += 1
        self._stopping.add(decision.container)

    def _offload(self, decision: Offload) -> None:
        self._end(decision.container, decision.function, decision.cause)

    def _run(self, decision: Run) -> None:
        for other in decision.ends:
            self._end(decision.container, other, EndCause.TAKEN)

    def _end(self, container: ContainerId, resident: ResidentKey, cause: EndCause) -> None:
        if (container, resident) not in self._ending:
            self.residents_ended[kind_of(resident), cause.value] += 1
            self._ending.add((container, resident))


def measures(state: NodeState, tally: Tally, at: float) -> dict[str, Mapping[Labels, Any]]:
    """The part that the core knows. The link adds the measured memory."""
    books = state.books
    ledger = books.pool.ledger
    containers: dict[Labels, int] = {(each.value,): 0 for each in ContainerState if each is not ContainerState.GONE}
    residents: dict[Labels, int] = {
        (kind, each.value): 0 for kind in KINDS for each in ResidentState if each is not ResidentState.GONE
    }
    resident_bytes: dict[Labels, int] = {(kind,): 0 for kind in KINDS}
    for container in books.pool.containers.values():
        containers[container.state.value,] += 1
        charges = ledger.charges_in(container.id)
        for key, resident in container.residents.items():
            kind = kind_of(key)
            residents[kind, resident.state.value] += 1
            resident_bytes[kind,] += charges[key]
    rates = [rate for record in books.functions.values() if (rate := books.rate_of(record)) is not None]
    return {
        "memory_budget_bytes": {(): ledger.budget_bytes},
        "memory_committed_bytes": {(): ledger.committed_bytes},
        "memory_committed_byte_seconds": {(): ledger.committed_byte_s(at)},
        "queue_length": {(): len(books.queue)},
        "containers": containers,
        "containers_created": {(): tally.created},
        "containers_ended": tally.containers_ended,
        "residents": residents,
        "resident_bytes": resident_bytes,
        "residents_ended": tally.residents_ended,
        "loads": tally.loads,
        "preloads": {(name,): count for name, count in asdict(books.preloads).items()},
        "functions": {(): len(books.functions)},
        "forecasts": {(): len(rates)},
        "forecast_calls_per_second": {(): sum(rates)},
        "policy_failures": {(role,): failure.count for role, failure in books.guard.failures.items()},
    }
