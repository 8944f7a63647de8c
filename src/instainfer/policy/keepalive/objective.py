"""Keep-alive by the objective: memory is spent as long as it saves waiting that is worth its price.

With a price of 0, the default, the memory belongs to whoever runs the node, and memory that nobody uses is wasted. So
containers are created ahead of calls where that saves waiting (the pre-loading policy says where), and an idle one is
kept until a call needs its memory for something else.

With a price, an idle container is kept as long as the waiting that it is expected to save its function is worth more
than its memory. Let n be the number of the function's latest calls that are remembered, at most `WINDOW`, and t the
time since the first of them. A cold start costs c seconds, the container has a size of m GiB, and the price is p
seconds of waiting for a GiB second. It is kept until n / t x c = p x m.

Worked example. A cold start takes 2 s, the container has 2 GiB, and a GiB second costs 0.001 s. A function that was
called five times in the last minute is kept for 5 x 2 / (0.001 x 2) = 5,000 s since the first of these calls. One that
was called once is kept for 1,000 s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

from ...core.model import GIB, FunctionKey
from ...core.ports import Idle, KeptContainer, Remembered, Use

WINDOW: Final = 5
"""Calls of a function that its rate is made from; as many as the paper's predictor looks back at."""


class Objective:
    """`memory_price_s` is the price of a GiB second, in seconds of waiting."""

    def __init__(self, memory_price_s: float = 0.0) -> None:
        self.memory_price_s = memory_price_s
        self._calls: dict[FunctionKey, deque[float]] = {}

    def spends(self, namespace: str) -> bool:
        return self.memory_price_s == 0.0

    def called(self, function: FunctionKey, at: float) -> None:
        if self.memory_price_s > 0.0:
            self._calls.setdefault(function, deque(maxlen=WINDOW)).append(at)

    def idle(self, use: Use) -> Idle:
        if self.memory_price_s == 0.0:
            return Idle(math.inf)
        calls = self._calls.get(use.owner) if use.owner is not None else None
        if not calls:
            return Idle(use.at)
        price_s = self.memory_price_s * use.size_bytes / GIB
        return Idle(max(use.at, calls[0] + len(calls) * use.cost_s / price_s))

    def evicted(self, container: KeptContainer) -> None:
        pass

    def ended(self, container: KeptContainer) -> None:
        pass

    def forget(self, function: FunctionKey) -> None:
        self._calls.pop(function, None)

    def remembered(self) -> Remembered:
        return Remembered(self._calls.keys())

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle
