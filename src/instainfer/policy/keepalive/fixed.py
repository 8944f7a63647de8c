"""OpenWhisk's keep-alive policy: an idle container is kept for a fixed time, ten minutes by default.

A container is kept for the function that it served last. When its memory is needed, the container that is longest idle
is given up first (`ContainerPool.remove` of Apache OpenWhisk evicts the one with the oldest ``lastUsed``).

Worked example. The time is 600 s, and a call ends at 12:00:00. The container is stopped at 12:10:00 unless a call comes
before. Each call starts the ten minutes again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.model import FunctionKey
from ...core.ports import Idle, KeptContainer, Use
from ..memoryless import Memoryless


class Fixed(Memoryless):
    """Keeps every idle container for `ttl_s` seconds."""

    def __init__(self, ttl_s: float = 600.0) -> None:
        self.ttl_s = ttl_s

    def spends(self, namespace: str) -> bool:
        return False

    def called(self, function: FunctionKey, at: float) -> None:
        pass

    def idle(self, use: Use) -> Idle:
        return Idle(use.at + self.ttl_s)

    def evicted(self, container: KeptContainer) -> None:
        pass

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle
