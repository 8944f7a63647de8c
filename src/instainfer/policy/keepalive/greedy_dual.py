"""FaasCache: keeping containers is caching. Nothing expires; when room is needed, what is worth least goes.

Algorithm (Greedy-Dual-Size-Frequency). When a container falls idle after a call, its function's containers get

    priority = clock + frequency x cost / size

where frequency is the number of calls that the function's live containers have served, cost the seconds that a cold
start takes, and size the container's memory limit in GiB. Containers are given up in the order of their priorities, of
equals the longest idle first. The clock begins at 0; whenever a container is given up it moves up to that one's
priority, so that what was worth much long ago does not stay for ever. Calls that a container has served count no
longer once it is gone, given up, or another function's.

Worked example. Clock 0. A costs 2 s, 0.5 GiB, three calls: 3 x 2 / 0.5 = 12. B costs 5 s, 1 GiB, one call: 5. Room is
needed: B goes, the clock is 5. C costs 1 s, 0.5 GiB, one call: 5 + 1 x 1 / 0.5 = 7; C goes before A now, and the clock
is 7 then. A new B has 7 + 5 = 12: as much as A, which is longer idle and goes before it.

Sources. Fuerst and Sharma, "FaasCache", ASPLOS 2021, section 4; aFuerst/faascache-sim for the details: priorities are
computed at each use and for all containers of the function, and not when the clock moves. Cherkasova, "Improving WWW
proxies performance with Greedy-Dual-Size-Frequency caching" (1998).

Caveats. Cost is the mean measured by the node (container and load). This policy says in which order containers are
given up; the core prefers, among those that could be taken over instead of stopped, the one whose residents are worth
least, and asks the order where that does not tell (see `core.options`). FaasCache's provisioning by hit-ratio curves is
not a matter of keep-alive and not here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...core.model import GIB, ContainerId, FunctionKey
from ...core.ports import Idle, KeptContainer, Remembered, Use


@dataclass(slots=True)
class _FunctionUse:
    """A function with live containers."""

    served: dict[ContainerId, int] = field(default_factory=dict)
    """Calls that each of them has served."""
    clock: float = 0.0
    """As it was at the latest use."""
    worth_gib_s: float = 0.0
    """Frequency x cost, as they were then."""


class GreedyDual:
    def __init__(self) -> None:
        self.clock = 0.0
        self._uses: dict[FunctionKey, _FunctionUse] = {}
        self._owners: dict[ContainerId, FunctionKey] = {}

    def called(self, function: FunctionKey, at: float) -> None:
        pass

    def idle(self, use: Use) -> Idle:
        if use.owner is not None:
            if self._owners.get(use.container) != use.owner:
                self._forget(use.container)
                self._owners[use.container] = use.owner
            function_use = self._uses.setdefault(use.owner, _FunctionUse())
            function_use.served[use.container] = function_use.served.get(use.container, 0) + use.after_call
            function_use.clock = self.clock
            function_use.worth_gib_s = sum(function_use.served.values()) * use.cost_s
        return Idle(math.inf)

    def evicted(self, container: KeptContainer) -> None:
        self.clock = max(self.clock, self.priority(container))
        self._forget(container.id)

    def ended(self, container: KeptContainer) -> None:
        self._forget(container.id)

    def forget(self, function: FunctionKey) -> None:
        for container in list(self._uses.pop(function, _FunctionUse()).served):
            self._owners.pop(container, None)

    def remembered(self) -> Remembered:
        return Remembered(self._uses.keys(), self._owners.keys())

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return sorted(idle, key=self.priority)

    def priority(self, container: KeptContainer) -> float:
        """Of an idle container; one that nobody owns goes first."""
        function_use = self._uses.get(container.owner) if container.owner is not None else None
        return (
            0.0 if function_use is None else function_use.clock + function_use.worth_gib_s * GIB / container.limit_bytes
        )

    def _forget(self, container: ContainerId) -> None:
        owner = self._owners.pop(container, None)
        if owner is None:
            return
        function_use = self._uses[owner]
        del function_use.served[container]
        if not function_use.served:
            del self._uses[owner]
