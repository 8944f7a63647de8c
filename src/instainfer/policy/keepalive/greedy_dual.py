"""FaasCache's keep-alive policy, which treats idle containers like entries of a cache.

Containers do not expire. When memory is needed, the container with the lowest priority is given up.

Algorithm (Greedy-Dual-Size-Frequency). When a container falls idle, all containers of its function get the priority

    priority = clock + frequency x cost / size

Here frequency is the number of calls that the function's live containers have served, cost is the duration of a cold
start in seconds, and size is the memory limit of the container in GiB. Containers are given up in the order of their
priorities; of equal ones the longest idle goes first. The clock begins at 0. Whenever a container is given up, the
clock rises to that container's priority. So a function that was called often long ago does not keep its containers for
ever. The calls of a container no longer count when it has ended, was given up, or serves another function.

Worked example. The clock is 0. A costs 2 s, has 0.5 GiB and three calls: priority 3 x 2 / 0.5 = 12. B costs 5 s, has
1 GiB and one call: priority 5. Memory is needed: B is given up, and the clock rises to 5. C costs 1 s, has 0.5 GiB and
one call: priority 5 + 1 x 1 / 0.5 = 7. So C is given up before A, and the clock rises to 7. A new container of B gets
7 + 5 = 12. That equals the priority of A; A is longer idle and is given up first.

Sources. Fuerst and Sharma, "FaasCache", ASPLOS 2021, section 4. The details are those of aFuerst/faascache-sim:
priorities are computed at each use, for all containers of the function, and not when the clock moves.
Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching" (1998).

Caveats. The cost is the mean that the node has measured for creating a container and loading the function. Where a
container can be taken over instead of stopped, the core prefers the one whose residents are worth least, and uses the
order of this policy only between equals (see `core.options`). FaasCache also chooses the size of a server by hit-ratio
curves; that is not part of a keep-alive policy and is not implemented.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from ...core.model import GIB, ContainerId, FunctionKey
from ...core.ports import Idle, KeptContainer, Remembered, Use


@dataclass(slots=True)
class _FunctionUse:
    """What is remembered of a function with live containers."""

    served: dict[ContainerId, int] = field(default_factory=dict)
    """Number of calls that each container has served."""
    clock: float = 0.0
    """The policy's clock at the latest use of the function."""
    worth_gib_s: float = 0.0
    """Frequency x cost at that time, in seconds; divided by a size in GiB it is a part of the priority."""


class GreedyDual:
    """Keeps idle containers until their memory is needed."""

    def __init__(self) -> None:
        self.clock = 0.0
        self._uses: dict[FunctionKey, _FunctionUse] = {}
        self._owners: dict[ContainerId, FunctionKey] = {}

    def spends(self, namespace: str) -> bool:
        return False

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
        """The priority of an idle container. 0 (given up first) if it is kept for no function."""
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
