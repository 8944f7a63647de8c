"""A separate keep-alive policy for some namespaces. All other namespaces share the default policy.

The policy of a namespace is told only about the functions and containers of that namespace. But all namespaces share
the memory of the node, so there has to be one eviction order for the containers of all namespaces.

The rule for this order. Sort all containers by idleness, the longest idle first. Each position in this order belongs to
the policy of the container that stands there. Each policy then fills its own positions in its own order. So a policy
decides *which* container of its namespace is given up next, but not how many are given up or when. No namespace loses
more or fewer containers because of the policy that it or another namespace has chosen. If there is only one policy, the
result is the order of that policy.

Worked example. The idle containers, longest idle first, are a1, b1, a2, b2. The policy of namespace a orders by
idleness, and the policy of namespace b gives up b2 before b1. The result is a1, b2, a2, b1. Namespace b still has the
second and the fourth position, but b2 is given up first.

All namespaces without a policy of their own count as one: the default policy orders their containers together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ...core.model import FunctionKey
from ...core.ports import Idle, KeepAlive, KeptContainer, Remembered, Use


class ByNamespace:
    """`policies` holds one policy object for each namespace that has its own; `default` is for all others."""

    def __init__(self, default: KeepAlive, policies: Mapping[str, KeepAlive]) -> None:
        self.default = default
        self.policies = dict(policies)

    def of(self, namespace: str) -> KeepAlive:
        """The policy for the containers of a namespace."""
        return self.policies.get(namespace, self.default)

    def spends(self, namespace: str) -> bool:
        return self.of(namespace).spends(namespace)

    def called(self, function: FunctionKey, at: float) -> None:
        self._for(function).called(function, at)

    def idle(self, use: Use) -> Idle:
        # Without an owner the namespace is unknown. A node never asks about such a container.
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
        """The namespace of a container. None if that namespace has no policy of its own."""
        return container.namespace if container.namespace in self.policies else None

    def _for(self, function: FunctionKey) -> KeepAlive:
        return self.of(function.partition("/")[0])
