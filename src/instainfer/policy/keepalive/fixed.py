"""OpenWhisk's keep-alive: an idle container lives a fixed time, ten minutes by default.

A container is kept for the function that it served last. When room is needed for another, the longest idle goes
first (`ContainerPool.remove` of Apache OpenWhisk evicts by oldest ``lastUsed``).

Worked example. ttl 600 s; a call ends at 12:00:00. The container is stopped at 12:10:00 unless a call comes before;
each call starts the ten minutes anew.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.model import FunctionKey
from ...core.ports import Idle, KeptContainer, Use
from ..memoryless import Memoryless


class Fixed(Memoryless):
    def __init__(self, ttl_s: float = 600.0) -> None:
        self.ttl_s = ttl_s

    def called(self, function: FunctionKey, at: float) -> None:
        pass

    def idle(self, use: Use) -> Idle:
        return Idle(use.at + self.ttl_s)

    def evicted(self, container: KeptContainer) -> None:
        pass

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return idle
