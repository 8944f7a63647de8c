"""Gives each call a time within its minute: a trace of counts says how many calls a minute has, but not when.

We state the rule because a function's class depends on it: a minute with n calls gets n points, drawn uniformly from
the minute by ``random.Random(f"{seed}/{function}/{minute}")`` and sorted. `function` is the row's HashFunction and
`minute` the name of the column. So every count is exact, the same seed gives the same times everywhere, and a
function's calls keep their times when other rows or earlier minutes are cut away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from .azure2019 import Trace
from .workload import Arrival


def minute_times(seed: int, function: str, minute: int, offset: int, count: int) -> list[float]:
    """Return the ascending times, in seconds, of `count` calls in the minute named `minute`.

    The minute begins `offset` minutes after the trace began.
    """
    draw = random.Random(f"{seed}/{function}/{minute}").random
    if count == 1:
        return [60.0 * (offset + draw())]
    return sorted(60.0 * (offset + draw()) for _ in range(count))


def function_times(trace: Trace, function: int, seed: int) -> Iterator[float]:
    """Yield the call times of one function in seconds, ascending."""
    row = trace.functions[function]
    for offset, count in enumerate(row.counts):
        if count:
            yield from minute_times(seed, row.name, trace.first_minute + offset, offset, count)


def place(trace: Trace, seed: int) -> list[Arrival]:
    """Return every call of the trace, ordered by time; calls at the same time are in the order of rows."""
    return sorted(
        Arrival(at_s, function)
        for function in range(len(trace.functions))
        for at_s in function_times(trace, function, seed)
    )
