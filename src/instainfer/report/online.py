"""Summarises calls one by one, in memory that does not grow with their number.

Counts and means are exact. Quantiles come from a histogram with logarithmic buckets (Masson et al., "DDSketch", VLDB
2019): the relative error against the value at that rank is at most `ACCURACY`. `report.records` computes exact
quantiles, for as many records as fit in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable

from ..core.model import Phases, StartKind
from .records import START_KINDS, Latency, Summary, histogram

ACCURACY = 0.005
"""Largest relative error of a quantile."""

_GAMMA = (1 + ACCURACY) / (1 - ACCURACY)
_BUCKETS_PER_E = 1 / math.log(_GAMMA)
_SMALLEST_S = 1e-7
"""Shorter durations count as 0."""
_ZERO_BUCKET = -(10**6)


class Sketch:
    """A sample of durations, kept as a histogram."""

    __slots__ = ("buckets", "count", "total_s")

    def __init__(self) -> None:
        self.count = 0
        self.total_s = 0.0
        self.buckets: dict[int, int] = {}

    def add(self, value_s: float) -> None:
        self.count += 1
        self.total_s += value_s
        bucket = math.ceil(math.log(value_s) * _BUCKETS_PER_E) if value_s > _SMALLEST_S else _ZERO_BUCKET
        self.buckets[bucket] = self.buckets.get(bucket, 0) + 1

    def merge(self, other: Sketch) -> None:
        self.count += other.count
        self.total_s += other.total_s
        for bucket, count in other.buckets.items():
            self.buckets[bucket] = self.buckets.get(bucket, 0) + count

    def quantile(self, q: float) -> float:
        """Return the value at rank ``q (n - 1)``, rounded down; the sample must not be empty."""
        rank = math.floor(q * (self.count - 1))
        for bucket in sorted(self.buckets):
            rank -= self.buckets[bucket]
            if rank < 0:
                break
        return _middle_s(bucket)

    def latency(self) -> Latency | None:
        if self.count == 0:
            return None
        mean_s = self.total_s / self.count
        mean, p50, p95, p99 = (1000.0 * value for value in (mean_s, *map(self.quantile, (0.50, 0.95, 0.99))))
        counted = histogram((1000.0 * _middle_s(bucket), count) for bucket, count in self.buckets.items())
        return Latency(mean, p50, p95, p99, counted)


def _middle_s(bucket: int) -> float:
    """Return the duration that stands for all durations in a bucket."""
    return 0.0 if bucket == _ZERO_BUCKET else 2 * _GAMMA**bucket / (_GAMMA + 1)


class Tally:
    """Sums over the calls of one function, or of several after a merge."""

    __slots__ = ("calls", "e2e", "failed", "kinds", "phases_s", "startup")

    def __init__(self) -> None:
        self.calls = 0
        self.failed = 0
        self.kinds: Counter[StartKind] = Counter()
        self.e2e = Sketch()
        self.startup = Sketch()
        self.phases_s = [0.0] * 6

    def succeeded(self, start_kind: StartKind, phases: Phases) -> None:
        self.calls += 1
        self.kinds[start_kind] += 1
        sums = self.phases_s
        sums[0] += phases.queue
        sums[1] += phases.container
        sums[2] += phases.libraries
        sums[3] += phases.model
        sums[4] += phases.handoff
        sums[5] += phases.compute
        startup_s = phases.startup
        self.startup.add(startup_s)
        self.e2e.add(startup_s + phases.compute)

    def did_not(self, start_kind: StartKind | None) -> None:
        """Count a call that failed, or that was refused before it had a start kind."""
        self.calls += 1
        self.failed += 1
        if start_kind is not None:
            self.kinds[start_kind] += 1

    @classmethod
    def merged(cls, tallies: Iterable[Tally]) -> Tally:
        whole = cls()
        for tally in tallies:
            whole.calls += tally.calls
            whole.failed += tally.failed
            whole.kinds.update(tally.kinds)
            whole.e2e.merge(tally.e2e)
            whole.startup.merge(tally.startup)
            whole.phases_s = [a + b for a, b in zip(whole.phases_s, tally.phases_s, strict=True)]
        return whole

    def summary(self) -> Summary:
        good = max(1, self.e2e.count)
        return Summary(
            calls=self.calls,
            lost=0,
            failed=self.failed,
            preload_rate=self.kinds[StartKind.PRELOADED] / self.calls if self.calls else 0.0,
            start_kinds={kind: self.kinds[kind] for kind in START_KINDS if self.kinds[kind]},
            e2e=self.e2e.latency(),
            startup=self.startup.latency(),
            phases_s=Phases(*(value / good for value in self.phases_s)),
        )
