"""Where inside its minute a call falls: a trace of counts says how many calls a minute has, not when.

The rule, stated because the class of a function depends on it: the n calls of a minute are n points drawn uniformly
from that minute and sorted, by ``random.Random(f"{seed}/{function}/{minute}")``, where `function` is the row's
HashFunction and `minute` the name of its column. So every count is exact, the same seed gives the same times
everywhere, and a function's calls do not move when other rows or earlier minutes are cut away.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from .azure2019 import Trace
from .workload import Arrival


def minute_times(seed: int, function: str, minute: int, offset: int, count: int) -> list[float]:
    """Ascending times, in seconds, of `count` calls in the minute called `minute`, which begins at minute `offset`."""
    draw = random.Random(f"{seed}/{function}/{minute}").random
    if count == 1:
        return [60.0 * (offset + draw())]
    return sorted(60.0 * (offset + draw()) for _ in range(count))


def function_times(trace: Trace, function: int, seed: int) -> Iterator[float]:
    """The call times of one function in seconds, ascending."""
    row = trace.functions[function]
    for offset, count in enumerate(row.counts):
        if count:
            yield from minute_times(seed, row.name, trace.first_minute + offset, offset, count)


def place(trace: Trace, seed: int) -> list[Arrival]:
    """Every call of the trace, in the order of time (ties in the order of rows)."""
    return sorted(
        Arrival(at_s, function)
        for function in range(len(trace.functions))
        for at_s in function_times(trace, function, seed)
    )
