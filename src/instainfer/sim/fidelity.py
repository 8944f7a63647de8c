"""How close a simulation came to the live run of the same calls: call by call, and in their distribution.

Calls are compared in the order of their trace, which is the order in which they were sent. Live runs differ from each
other too: two of them, compared like this, say how close anybody could come.
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
"""Of mean and p95 of the end-to-end latency."""
LEAST_AGREEMENT = 0.9
"""Share of the calls whose start kinds are the same."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One figure of both."""

    live: float
    simulated: float

    @property
    def error(self) -> float:
        """Of the simulated one, as a share of the live one."""
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
    """Share of the calls whose start kinds are the same."""
    kinds: Mapping[tuple[str, str], int]
    """Calls by their start kinds, live and simulated; a call that never started is ``none``."""
    phases_ms: Mapping[str, Pair]
    """Mean of each phase."""
    functions: Mapping[str, Pair]
    """Mean of each function."""

    @property
    def is_close(self) -> bool:
        """Whether it is as close as a simulation of ours should be."""
        return (
            abs(self.mean_ms.error) <= TOLERANCE
            and abs(self.p95_ms.error) <= TOLERANCE
            and self.agreement >= LEAST_AGREEMENT
        )

    def disagreements(self) -> list[tuple[str, str, int]]:
        """Start kinds that were taken for others, live and simulated, the most frequent first."""
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
    """Both in the order of sending. Raises `BadInput` when they are not of the same calls, or none succeeded."""
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
