"""How close a simulation comes to the live run of the same calls, call by call and in the distribution of latencies.

Calls are matched in the order of their trace, which is the order in which they were sent. Two live runs differ too;
comparing them in this way shows the best that a simulation can reach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.model import Phases
from ..errors import BadInput
from ..report.records import PHASES, CallRecord, Latency, Summary, by_function, summarise

TOLERANCE = 0.15
"""Largest relative error of the mean and of the p95 of the end-to-end latency."""
LEAST_AGREEMENT = 0.9
"""Smallest share of calls that have the same start kind live and simulated."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure, live and simulated."""

    live: float
    simulated: float

    @property
    def error(self) -> float:
        """Relative error of the simulated value: 0.1 means 10 % too large. Infinite when only the live value is 0."""
        if self.live == 0.0:
            return 0.0 if self.simulated == 0.0 else float("inf")
        return self.simulated / self.live - 1.0


@dataclass(frozen=True, slots=True)
class Fidelity:
    """A live run and a simulation of the same calls; latencies are end-to-end, in ms."""

    calls: int
    mean_ms: Pair
    p95_ms: Pair
    agreement: float
    """Share of the calls that have the same start kind live and simulated."""
    kinds: Mapping[tuple[str, str], int]
    """Number of calls by (live, simulated) start kind; ``none`` stands for a call that never started."""
    phases_ms: Mapping[str, Pair]
    """Mean time of each phase."""
    functions: Mapping[str, Pair]
    """Mean latency of each function."""

    @property
    def is_close(self) -> bool:
        """Whether the errors are within `TOLERANCE` and the start kinds agree often enough."""
        return (
            abs(self.mean_ms.error) <= TOLERANCE
            and abs(self.p95_ms.error) <= TOLERANCE
            and self.agreement >= LEAST_AGREEMENT
        )

    def disagreements(self) -> list[tuple[str, str, int]]:
        """Return (live start kind, simulated start kind, calls) where the two differ, the most frequent first."""
        wrong = [(live, simulated, count) for (live, simulated), count in self.kinds.items() if live != simulated]
        return sorted(wrong, key=lambda each: (-each[2], each))

    def to_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "mean_ms": _json(self.mean_ms),
            "p95_ms": _json(self.p95_ms),
            "agreement": self.agreement,
            "is_close": self.is_close,
            "phases_ms": {name: _json(pair) for name, pair in self.phases_ms.items()},
            "functions_ms": {name: _json(pair) for name, pair in self.functions.items()},
            "disagreements": [list(each) for each in self.disagreements()],
        }


def compare(live: Sequence[CallRecord], simulated: Sequence[CallRecord]) -> Fidelity:
    """Compare records that are both in the order of sending.

    Raises `BadInput` when they are not of the same calls, or when no call succeeded.
    """
    if [record.function for record in live] != [record.function for record in simulated]:
        raise BadInput("the records are not of the same calls in the same order")
    there, here = summarise(live), summarise(simulated)
    latencies = _latencies(there, here)
    means = {name: summarise(records).e2e for name, records in by_function(live).items()}
    means_here = {name: summarise(records).e2e for name, records in by_function(simulated).items()}
    started = [[record.start_kind or "none" for record in records] for records in (live, simulated)]
    kinds = Counter(zip(*started, strict=True))
    return Fidelity(
        calls=len(live),
        mean_ms=Pair(latencies[0].mean, latencies[1].mean),
        p95_ms=Pair(latencies[0].p95, latencies[1].p95),
        agreement=sum(count for (one, other), count in kinds.items() if one == other) / len(live),
        kinds=dict(kinds),
        phases_ms={name: Pair(_ms(there.phases_s, name), _ms(here.phases_s, name)) for name in PHASES},
        functions={
            name: Pair(mean.mean, mean_here.mean)
            for name, mean in means.items()
            if mean is not None and (mean_here := means_here[name]) is not None
        },
    )


def _latencies(there: Summary, here: Summary) -> tuple[Latency, Latency]:
    if there.e2e is None or here.e2e is None:
        raise BadInput("no call succeeded, so that there is nothing to compare")
    return there.e2e, here.e2e


def _ms(phases: Phases, name: str) -> float:
    return 1000.0 * float(getattr(phases, name))


def _json(pair: Pair) -> dict[str, float]:
    return {"live": pair.live, "simulated": pair.simulated, "error": pair.error}
