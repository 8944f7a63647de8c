"""The records of a replay, one per call, and exact summaries of many records.

Latency statistics are over the calls that succeeded, because a call that failed early would look fast. Failed and lost
calls are counted separately and never dropped.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

from ..core.model import NO_TIME, Phases, StartKind
from ..core.values import value

SUCCESS = "success"
LOST = "lost"
"""The status of a call of which the platform has no record."""

PHASES = tuple(field.name for field in fields(Phases))

START_KINDS = (
    StartKind.COLD,
    StartKind.PREWARMED,
    StartKind.TEMPLATED,
    StartKind.JOINED,
    StartKind.FORKED,
    StartKind.PRELOADED,
    StartKind.WARM,
)
"""The start kinds in the order in which they are shown: from the start with the most work to the start with none."""


@value(frozen=True, slots=True)
class CallRecord:
    """One call of a replay. Times are seconds since the replay began, and durations are seconds."""

    function: str
    scheduled_s: float
    """When the trace says that the call is to be sent."""
    sent_s: float
    """When the call was sent."""
    activation_id: str = ""
    container: str = ""
    start_kind: str | None = None
    """A `StartKind`; None when the call never started."""
    phases: Phases = NO_TIME
    status: str = LOST
    """``success``, one of OpenWhisk's other three words, ``refused: <the platform's text>`` or ``lost``."""
    client_s: float = 0.0
    """Time from sending the call to its answer, as the client measured it: the phases plus HTTP."""

    @property
    def startup_s(self) -> float:
        """Time of all phases but compute."""
        return self.phases.startup

    @property
    def e2e_s(self) -> float:
        return self.phases.total

    def to_json(self) -> dict[str, Any]:
        """Return the content of one line of ``output.log``."""
        return {
            "activation_id": self.activation_id,
            "function": self.function,
            "container": self.container,
            "scheduled_s": self.scheduled_s,
            "sent_s": self.sent_s,
            "start_kind": self.start_kind,
            "phases_s": {name: getattr(self.phases, name) for name in PHASES},
            "startup_s": self.startup_s,
            "e2e_s": self.e2e_s,
            "status": self.status,
            "client_s": self.client_s,
        }


def to_line(record: CallRecord, run: str) -> str:
    """Return one line of ``output.log``, with the label of the run."""
    return json.dumps({"run": run, **record.to_json()}) + "\n"


def quantile(ascending: Sequence[float], q: float) -> float:
    """Return the q-quantile, interpolated linearly between the two nearest values (Hyndman and Fan's type 7)."""
    position = q * (len(ascending) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (position - below) * (ascending[above] - ascending[below])


HISTOGRAM_STEP = 1.02
"""The end of each bucket of a histogram, divided by the end of the bucket before it."""
_SHORTEST_MS = 0.001
"""End of the first bucket, which also holds all shorter durations."""


Histogram: TypeAlias = tuple[tuple[float, int], ...]
"""A distribution of durations: ascending pairs (end of a bucket in ms, count), without empty buckets."""


def histogram(counted_ms: Iterable[tuple[float, int]]) -> Histogram:
    """Put durations in ms, each with its count, into buckets whose ends grow by the factor `HISTOGRAM_STEP`.

    So a bucket's end is at most this factor above its durations. All samples use the same buckets, so histograms can be
    added up.
    """
    counts: Counter[int] = Counter()
    for value_ms, count in counted_ms:
        steps = math.log(value_ms / _SHORTEST_MS, HISTOGRAM_STEP) if value_ms > _SHORTEST_MS else 0.0
        counts[math.ceil(steps - 1e-9)] += count
    return tuple((float(f"{_SHORTEST_MS * HISTOGRAM_STEP**bucket:.6g}"), counts[bucket]) for bucket in sorted(counts))


@dataclass(frozen=True, slots=True)
class Latency:
    """Mean and quantiles of a sample of durations, in milliseconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    histogram: Histogram = field(default=(), compare=False, repr=False)

    @classmethod
    def of(cls, durations_s: Iterable[float]) -> Latency | None:
        """Return the figures of durations in seconds; None for an empty sample."""
        values = sorted(1000.0 * value for value in durations_s)
        if not values:
            return None
        mean = math.fsum(values) / len(values)
        counted = histogram((value, 1) for value in values)
        return cls(mean, quantile(values, 0.50), quantile(values, 0.95), quantile(values, 0.99), counted)


@dataclass(frozen=True, slots=True)
class Summary:
    """A set of calls in numbers."""

    calls: int
    lost: int
    failed: int
    """Number of calls that were refused, or whose record says that they did not succeed."""
    preload_rate: float
    """Share of all calls that found their function pre-loaded; calls that joined a load do not count."""
    start_kinds: Mapping[str, int]
    e2e: Latency | None
    startup: Latency | None
    phases_s: Phases
    """Mean time of each phase."""


def summarise(records: Sequence[CallRecord]) -> Summary:
    kinds = Counter(record.start_kind for record in records if record.start_kind is not None)
    lost = sum(record.status == LOST for record in records)
    good = [record for record in records if record.status == SUCCESS]
    return Summary(
        calls=len(records),
        lost=lost,
        failed=len(records) - lost - len(good),
        preload_rate=kinds[StartKind.PRELOADED] / len(records) if records else 0.0,
        start_kinds={kind: kinds[kind] for kind in START_KINDS if kinds[kind]},
        e2e=Latency.of(record.e2e_s for record in good),
        startup=Latency.of(record.startup_s for record in good),
        phases_s=_mean_phases(good),
    )


def by_function(records: Iterable[CallRecord]) -> dict[str, list[CallRecord]]:
    """Return the records of each function, with the functions ordered by name."""
    groups: dict[str, list[CallRecord]] = {}
    for record in records:
        groups.setdefault(record.function, []).append(record)
    return dict(sorted(groups.items()))


def _mean_phases(records: Sequence[CallRecord]) -> Phases:
    if not records:
        return NO_TIME
    return Phases(
        **{name: math.fsum(getattr(record.phases, name) for record in records) / len(records) for name in PHASES}
    )
