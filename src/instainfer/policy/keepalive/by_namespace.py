"""A keep-alive policy for each namespace: some have their own, all others share the default.

A namespace's policy hears of its own functions and containers only, and decides on them as if it were alone. What they
share is the node's memory: when room is needed, containers of all namespaces stand in one line.

The rule for that line. Its places are given out by idleness, longest idle first, as if there were no policies: the
place of a container belongs to that container's policy. Each policy then fills its own places in its own order. So a
policy says *which* container of its namespace goes, and has no say in how many go or when: no namespace loses more, or
less, because of what it or another one has chosen. With one policy for all, the line is that policy's own.

Worked example. Idle containers, longest idle first: a1, b1, a2, b2. The policy of namespace b would give up b2 before
b1; that of a goes by idleness. The line is a1, b2, a2, b1: b gives up one of its two at the same moments as before, and
the other one first.

All namespaces without a policy of their own count as one here: the default policy orders their containers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...core.model import FunctionKey
from ...core.ports import Idle, KeepAlive, KeptContainer, Remembered, Use


class ByNamespace:
    """`policies`: by namespace, an object for each; `default`: for all other namespaces."""

    def __init__(self, default: KeepAlive, policies: Mapping[str, KeepAlive]) -> None:
        self.default = default
        self.policies = dict(policies)

    def of(self, namespace: str) -> KeepAlive:
        """The policy that decides on a namespace's containers."""
        return self.policies.get(namespace, self.default)

    def called(self, function: FunctionKey, at: float) -> None:
        self._for(function).called(function, at)

    def idle(self, use: Use) -> Idle:
        # Without an owner nobody knows whose it is; the node never asks that.
        return (self.default if use.owner is None else self._for(use.owner)).idle(use)

    def evicted(self, container: KeptContainer) -> None:
        self.of(container.namespace).evicted(container)

    def ended(self, container: KeptContainer) -> None:
        self.of(container.namespace).ended(container)

    def forget(self, function: FunctionKey) -> None:
        self._for(function).forget(function)

    def remembered(self) -> Remembered:
        each = [policy.remembered() for policy in (self.default, *self.policies.values())]
        return Remembered(
            [function for remembered in each for function in remembered.functions],
            [container for remembered in each for container in remembered.containers],
        )

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        own: dict[str | None, list[KeptContainer]] = {}
        for container in idle:
            own.setdefault(self._named(container), []).append(container)
        orders: dict[str | None, Iterator[KeptContainer]] = {
            name: iter((self.default if name is None else self.policies[name]).eviction_order(containers))
            for name, containers in own.items()
        }
        return [next(orders[self._named(container)]) for container in idle]

    def _named(self, container: KeptContainer) -> str | None:
        """Its namespace; None where that has no policy of its own."""
        return container.namespace if container.namespace in self.policies else None

    def _for(self, function: FunctionKey) -> KeepAlive:
        return self.of(function.partition("/")[0])
