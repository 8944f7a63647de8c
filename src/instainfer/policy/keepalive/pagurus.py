"""The Pagurus keep-alive policy: an idle container becomes a zygote, which other functions may take.

Algorithm. At first a container is kept for its own function. After T idle seconds it becomes a zygote: its function is
ended in it, and any function of the namespace may take it instead of a cold start. It is then the helper of that
function. An own container, a zygote and a helper are each stopped after 900 s of idleness. A helper does not become a
zygote again. A function has at most one zygote, made from its container that fell idle first; its other containers
stay its own.

T is 60 s at first. After each period of 900 s in which a function was called at least 21 times, its T becomes the 95th
percentile (nearest rank) of the times between its calls in that period, but at least 2 s.

Worked example. A call of A ends at 12:00:00. Its container is a zygote from 12:01:00 on and is stopped at 12:16:00,
unless it is taken. At 12:05:00 a call of B takes it and ends at 12:05:02: now it is a helper of B until 12:20:02. Later
A is called every 30 s from 13:00:00 to 13:10:00, which are 21 calls. At the first call of A after 13:15:00, its T
becomes 30 s.

Sources. Li et al., "Help Rather Than Recycle", ATC 2022. The numbers are those of lzjzx1122/Pagurus,
``intraaction_controller/action.py``: 900 s for each stage, T of 60 s, 21 calls, one zygote at a time, and a check every
2 s (hence the least T). In that code a zygote is a new container, so its 900 s begin again.

Parts of Pagurus that the `KeepAlive` interface cannot express, and that are therefore missing:

- Pagurus rebuilds a zygote from an image with the packages of the functions that it may help, chosen by the similarity
  of their requirements. Here nothing is installed in advance: any function of the namespace may take any zygote, and
  uses its own environment.
- Pagurus makes a new zygote within 0.1 s after one was taken. Here a policy can create a container only for an owner,
  and only after an idle time.
- In Pagurus a request prefers the zygote of its own function. The core takes the zygote that is idle longest.
- In Pagurus a function whose zygote has gone gets another one at once. Here its next container becomes a zygote only
  when that falls idle.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from ...core.model import ContainerId, FunctionKey
from ...core.ports import Idle, KeptContainer, Remembered, Use

PERIOD_S: Final = 900.0
LEAST_ARRIVALS: Final = 21
PERCENTILE: Final = 0.95
SHORTEST_S: Final = 2.0
REMEMBERED: Final = 1024
"""Most calls of one period that are remembered. With more calls, these are the latest ones."""


@dataclass(slots=True)
class _FunctionState:
    zygote_s: float
    """T of this function."""
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Times of its calls in this period."""
    period_at: float = -math.inf
    """When this period began."""
    lent: ContainerId | None = None
    """Its container that is a zygote, or that becomes one if it stays idle."""


class Pagurus:
    """`zygote_s` is the first T of every function. `lifetime_s` is the number of idle seconds after which an own
    container, a zygote or a helper is stopped."""

    def __init__(self, zygote_s: float = 60.0, lifetime_s: float = 900.0) -> None:
        self.zygote_s = zygote_s
        self.lifetime_s = lifetime_s
        self._functions: dict[FunctionKey, _FunctionState] = {}
        self._makers: dict[ContainerId, FunctionKey] = {}
        """The function that each container was created for, or the latest one that took it when it was not a zygote."""

    def spends(self, namespace: str) -> bool:
        return False

    def called(self, function: FunctionKey, at: float) -> None:
        function_state = self._of(function)
        if at - function_state.period_at >= PERIOD_S:
            if len(function_state.arrivals) >= LEAST_ARRIVALS:
                function_state.zygote_s = max(SHORTEST_S, _percentile(function_state.arrivals))
            function_state.arrivals.clear()
            function_state.period_at = at
        function_state.arrivals.append(at)

    def idle(self, use: Use) -> Idle:
        if use.owner is None:
            return Idle(use.at + self.lifetime_s)
        maker = self._makers.setdefault(use.container, use.owner)
        if maker != use.owner:
            self._take_back(use.container)
            return Idle(use.at + self.lifetime_s)
        function_state = self._of(maker)
        if function_state.lent not in (None, use.container) or function_state.zygote_s >= self.lifetime_s:
            return Idle(use.at + self.lifetime_s)
        function_state.lent = use.container
        shared_at = use.at + function_state.zygote_s
        return Idle(shared_at + self.lifetime_s, shared_at)

    def evicted(self, container: KeptContainer) -> None:
        self.ended(container)

    def ended(self, container: KeptContainer) -> None:
        self._take_back(container.id)
        self._makers.pop(container.id, None)

    def forget(self, function: FunctionKey) -> None:
        self._functions.pop(function, None)

    def remembered(self) -> Remembered:
        # Containers that were made for a function may outlive it.
        return Remembered(self._functions.keys(), self._makers.keys())

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle

    def _take_back(self, container: ContainerId) -> None:
        """Note that a container is no longer the zygote of the function that it was created for."""
        maker = self._makers.get(container)
        state = self._functions.get(maker) if maker is not None else None
        if state is not None and state.lent == container:
            state.lent = None

    def _of(self, function: FunctionKey) -> _FunctionState:
        function_state = self._functions.get(function)
        if function_state is None:
            function_state = self._functions[function] = _FunctionState(self.zygote_s)
        return function_state


def _percentile(arrivals: Sequence[float]) -> float:
    gaps_s = sorted(b - a for a, b in pairwise(arrivals))
    return gaps_s[math.ceil(PERCENTILE * len(gaps_s)) - 1]
