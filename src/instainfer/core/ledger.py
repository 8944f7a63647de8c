"""The memory accounts of a node, in bytes.

There are two levels. The node's budget is divided among the limits of its containers, and a container's limit is
divided among the charges of its residents. A resident is charged an estimated size when its load is asked for, and its
measured size once that is known. The charge is released only when the resident's end has been reported.
"""

from __future__ import annotations

from collections.abc import Mapping

from .errors import InternalError
from .model import ContainerId, ResidentKey


class Ledger:
    """The accounts of one node. `budget_bytes` is the most that all container limits may add up to."""

    def __init__(self, budget_bytes: int, at: float = 0.0) -> None:
        self.budget_bytes = budget_bytes
        self.committed_bytes = 0
        """Sum of the limits of all containers whose end has not been reported."""
        self._limits: dict[ContainerId, int] = {}
        self._charges: dict[ContainerId, dict[ResidentKey, int]] = {}
        self._totals: dict[ContainerId, int] = {}
        self._committed_byte_s = 0.0
        self._since = at

    @property
    def free_bytes(self) -> int:
        """The part of the budget that is left for new containers."""
        return self.budget_bytes - self.committed_bytes

    def open(self, container: ContainerId, limit_bytes: int, at: float) -> None:
        """Enter a new container. Raises `InternalError` if it is known already or does not fit in the budget."""
        if container in self._limits:
            raise InternalError(f"container {container} is in the book already")
        if limit_bytes > self.free_bytes:
            raise InternalError(
                f"container {container} of {limit_bytes} bytes does not fit in {self.free_bytes} free bytes"
            )
        self._advance(at)
        self._limits[container] = limit_bytes
        self._charges[container] = {}
        self._totals[container] = 0
        self.committed_bytes += limit_bytes

    def resize(self, container: ContainerId, limit_bytes: int, at: float) -> None:
        """Enter another limit of a container. Raises `InternalError` if the budget does not hold it."""
        more_bytes = limit_bytes - self._limits[container]
        if more_bytes > self.free_bytes:
            raise InternalError(f"container {container} cannot grow to {limit_bytes}: {self.free_bytes} bytes are free")
        self._advance(at)
        self._limits[container] = limit_bytes
        self.committed_bytes += more_bytes

    def close(self, container: ContainerId, at: float) -> None:
        """The end of a container was reported: free its limit and everything that was charged in it."""
        self._advance(at)
        self.committed_bytes -= self._limits.pop(container)
        del self._charges[container], self._totals[container]

    def charge(self, container: ContainerId, function: ResidentKey, size_bytes: int) -> int:
        """Enter or correct the size of a resident. Returns by how many bytes it grew (negative if it shrank)."""
        charges = self._charges[container]
        more_bytes = size_bytes - charges.get(function, 0)
        if more_bytes:
            self._totals[container] += more_bytes
        charges[function] = size_bytes
        return more_bytes

    def release(self, container: ContainerId, function: ResidentKey) -> None:
        self._totals[container] -= self._charges[container].pop(function)

    def charged(self, container: ContainerId, function: ResidentKey) -> int:
        return self._charges[container].get(function, 0)

    def charges_in(self, container: ContainerId) -> Mapping[ResidentKey, int]:
        return self._charges[container]

    def used_in(self, container: ContainerId) -> int:
        return self._totals[container]

    def free_in(self, container: ContainerId) -> int:
        """Uncharged bytes of a container. Negative when residents turned out to be larger than estimated."""
        return self._limits[container] - self._totals[container]

    def committed_byte_s(self, at: float) -> float:
        """The container limits integrated over time, in byte-seconds: the memory cost of the paper (SoCC 2024)."""
        return self._committed_byte_s + self.committed_bytes * (at - self._since)

    def entries(self) -> dict[ContainerId, tuple[int, dict[ResidentKey, int]]]:
        """The limit of each container, and the charges of its residents."""
        return {container: (limit, dict(self._charges[container])) for container, limit in self._limits.items()}

    def check(self) -> None:
        """Raise `InternalError` unless each total equals the sum of its parts and the budget holds."""
        if self.committed_bytes != sum(self._limits.values()):
            raise InternalError("committed bytes differ from the sum of the container limits")
        if self.committed_bytes > self.budget_bytes:
            raise InternalError(f"{self.committed_bytes} bytes committed above the budget of {self.budget_bytes}")
        for container, charges in self._charges.items():
            if self._totals[container] != sum(charges.values()):
                raise InternalError(f"total of container {container} differs from the sum of its charges")

    def _advance(self, at: float) -> None:
        self._committed_byte_s += self.committed_bytes * (at - self._since)
        self._since = at
