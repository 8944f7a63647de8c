"""Pagurus: an idle container becomes a zygote, which may help other functions before it goes.

Algorithm. A container is its function's own at first. When it has been idle for T it becomes a zygote: the function
and its data are ended in it, and any function of the namespace may take it (in place of a cold start), which makes it
that function's helper. Own containers, zygotes and helpers each live for 900 s of idleness; a helper does not become a
zygote again. A function has at most one zygote, its container that fell idle first; its other containers stay its own.

T is 60 s at first. At the end of each period of 900 s in which a function was called at least 21 times it becomes the
95th percentile (nearest rank) of the times between its calls in that period, at least 2 s.

Worked example. A call of A ends at 12:00:00: its container is a zygote from 12:01:00, and is stopped at 12:16:00. At
12:05:00 a call of B takes it, and ends at 12:05:02: it is B's helper until 12:20:02. Meanwhile A was called every
30 s from 13:00:00 to 13:10:00, 21 times; at its first call after 13:15:00 its T becomes 30 s.

Sources. Li et al., "Help Rather Than Recycle", ATC 2022; lzjzx1122/Pagurus, ``intraaction_controller/action.py``, for
the numbers: lifetimes of 900 s each, T of 60 s, 21 arrivals, one lender at a time, a look at it all every 2 s (hence
the least T). The zygote is a new container there, hence its lifetime begins anew.

What the port cannot express, and is therefore not here:

- A zygote is rebuilt from an image with the packages of those that it may help, which are chosen by the likeness of
  their requirements. Here nothing is installed ahead: any function of the namespace may take any zygote, and brings
  its own environment.
- After a zygote was lent, or used by its own function, a new one is made within 0.1 s. Policies create containers for
  an owner only, after an idle time.
- A request prefers its function's own zygote to another's; the core takes the zygote that has been idle longest.
- When a function's zygote has gone, its next idle container becomes one when it is used again, not at once.
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
"""Arrivals of one period at most; the latest of a busier one speak for it."""


@dataclass(slots=True)
class _FunctionState:
    zygote_s: float
    arrivals: deque[float] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """In this period."""
    period_at: float = -math.inf
    lent: ContainerId | None = None
    """Its container that is a zygote, or becomes one if it stays idle."""


class Pagurus:
    """`zygote_s`: idle seconds after which a container is for others, until enough calls were seen; `lifetime_s`:
    idle seconds of an own container, a zygote and a helper each."""

    def __init__(self, zygote_s: float = 60.0, lifetime_s: float = 900.0) -> None:
        self.zygote_s = zygote_s
        self.lifetime_s = lifetime_s
        self._functions: dict[FunctionKey, _FunctionState] = {}
        self._makers: dict[ContainerId, FunctionKey] = {}
        """For which function each container was made, or taken over."""

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
        # Containers that a function has lent may outlive it.
        return Remembered(self._functions.keys(), self._makers.keys())

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle

    def _take_back(self, container: ContainerId) -> None:
        """It is its maker's zygote no longer."""
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
