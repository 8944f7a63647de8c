"""A small, seeded generator of traces with the three classes of arrivals, for the demo.

Each function is a renewal process with a mean rate of its own. The gaps between its calls are drawn from:

===========  ==================================================================================  ==================
class        gaps                                                                                CoV of the process
===========  ==================================================================================  ==================
predictable  gamma, shape 4: nearly periodic                                                     0.5
normal       hyperexponential, two phases with balanced means                                    2
bursty       bursts of 12 to 20 calls (uniform), 0.3 s apart (exponential), and between them     about 5
             exponential pauses, of such a mean that the function has its mean rate
===========  ==================================================================================  ==================

Only counts per minute are written; a reader gives the calls times as `traces.placement` says. So the measured CoV moves
towards 1, above all for predictable functions called several times a minute, but stays within its class. The CoV in the
table is that of an endless process: a window of a few minutes is too short to show a CoV above 4.

The processes start an hour before the window; otherwise every function's first call would come at the beginning of the
trace. The seed is in the file: HashOwner is ``generated`` and HashApp is ``seed=7``, for example. A function is named
after its class and its position in the trace: ``bursty-3``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, takewhile

from .azure2019 import Trace, TraceFunction
from .classes import ArrivalClass

WARM_UP_S = 3600.0

_GAMMA_SHAPE = 4.0
_HYPEREXPONENTIAL_COV = 2.0
_BURST_CALLS = (12, 20)
_BURST_GAP_S = 0.3


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Class and mean rate of one function of a generated trace."""

    kind: ArrivalClass
    calls_per_minute: float


MIX = (
    Arrivals(ArrivalClass.PREDICTABLE, 5.0),
    Arrivals(ArrivalClass.NORMAL, 4.0),
    Arrivals(ArrivalClass.PREDICTABLE, 3.0),
    Arrivals(ArrivalClass.NORMAL, 3.0),
    Arrivals(ArrivalClass.BURSTY, 3.0),
    Arrivals(ArrivalClass.PREDICTABLE, 2.0),
    Arrivals(ArrivalClass.NORMAL, 2.0),
    Arrivals(ArrivalClass.BURSTY, 2.0),
)
"""The demo's eight functions, with 24 calls a minute in all. A trace of more functions repeats them."""


def generate(minutes: int, functions: int, seed: int, mix: tuple[Arrivals, ...] = MIX) -> Trace:
    """Return a trace of `minutes` minutes and `functions` functions; function i is like ``mix[i % len(mix)]``."""
    rows = (_row(index, mix[index % len(mix)], minutes, seed) for index in range(functions))
    return Trace(tuple(rows), minutes, f"generated, seed {seed}")


def _row(index: int, arrivals: Arrivals, minutes: int, seed: int) -> TraceFunction:
    name = f"{arrivals.kind}-{index + 1}"
    gaps = _gaps(arrivals, random.Random(f"{seed}/{name}"))
    counts = [0] * minutes
    for at_s in takewhile(lambda at_s: at_s < minutes * 60.0, accumulate(gaps, initial=-WARM_UP_S)):
        if at_s >= 0:
            counts[int(at_s // 60)] += 1
    return TraceFunction("generated", f"seed={seed}", name, "http", tuple(counts))


def _gaps(arrivals: Arrivals, rng: random.Random) -> Iterator[float]:
    mean_s = 60.0 / arrivals.calls_per_minute
    match arrivals.kind:
        case ArrivalClass.PREDICTABLE:
            return _gamma(mean_s, rng)
        case ArrivalClass.NORMAL:
            return _hyperexponential(mean_s, rng)
        case ArrivalClass.BURSTY:
            return _bursts(mean_s, rng)
        case ArrivalClass.NONE:
            raise ValueError("a function needs one of the three classes")


def _gamma(mean_s: float, rng: random.Random) -> Iterator[float]:
    while True:
        yield rng.gammavariate(_GAMMA_SHAPE, mean_s / _GAMMA_SHAPE)


def _hyperexponential(mean_s: float, rng: random.Random) -> Iterator[float]:
    squared = _HYPEREXPONENTIAL_COV**2
    quick = (1 + math.sqrt((squared - 1) / (squared + 1))) / 2
    while True:
        share = quick if rng.random() < quick else 1 - quick
        yield rng.expovariate(2 * share / mean_s)


def _bursts(mean_s: float, rng: random.Random) -> Iterator[float]:
    mean_calls = sum(_BURST_CALLS) / 2
    pause_s = mean_calls * mean_s - (mean_calls - 1) * _BURST_GAP_S
    while True:
        yield rng.expovariate(1 / pause_s)
        for _ in range(rng.randint(*_BURST_CALLS) - 1):
            yield rng.expovariate(1 / _BURST_GAP_S)
