"""The routing policy of OpenWhisk (`ShardingContainerPoolBalancer`): each function has a home node, found by a hash.

The home of a function is slot ``hash(namespace, function) mod n`` of the n node slots. So its calls reach the node that
has their warm containers. While the home is not healthy, the search goes on in steps. The step size is coprime to n and
also chosen by the hash. So the search visits every slot once, and functions with the same home can move on to different
nodes.

Worked example with n = 4. The step sizes up to 4 that are coprime to 4 and to each other are 1 and 3. A function with
hash 7 has the home 7 mod 4 = 3 and the step [1, 3][7 mod 2] = 3. So it tries the slots 3, 2, 1, 0.

Source: apache/openwhisk, core/controller/.../loadBalancer/ShardingContainerPoolBalancer.scala (`generateHash`,
`pairwiseCoprimeNumbersUntil`, `schedule`). The hash is Java's `String.hashCode`, so homes are the same as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import gcd

from ...core.cluster import NodeView, Route
from ...core.errors import InternalError
from ...core.model import FunctionKey


class HomeRouting:
    """Chooses the home node of a function, or the next healthy node in the function's own order."""

    def route(self, namespace: str, function: FunctionKey, nodes: Sequence[NodeView]) -> Route:
        slots = len(nodes)
        hashed = home_hash(namespace, function)
        home = hashed % slots
        steps = coprime_steps(slots)
        step = steps[hashed % len(steps)]
        for tries in range(slots):
            node = nodes[(home + tries * step) % slots]
            if node.healthy:
                return Route(node.name, "home" if tries == 0 else f"home {nodes[home].name} is away")
        raise InternalError("asked for a route although no node is healthy")


@lru_cache(maxsize=4096)
def home_hash(namespace: str, function: FunctionKey) -> int:
    """A hash >= 0 that is the same in every process and on every machine."""
    mixed = _java_hash(namespace) ^ _java_hash(function)
    return abs(mixed - (1 << 32) if mixed >= 1 << 31 else mixed)


@lru_cache(maxsize=64)
def coprime_steps(slots: int) -> tuple[int, ...]:
    """The step sizes for `slots` >= 1 slots: numbers coprime to `slots` and to each other, ascending."""
    steps: list[int] = []
    for candidate in range(1, slots + 1):
        if gcd(candidate, slots) == 1 and all(gcd(candidate, step) == 1 for step in steps):
            steps.append(candidate)
    return tuple(steps)


def _java_hash(text: str) -> int:
    """Java's ``String.hashCode`` as an unsigned 32-bit number."""
    value = 0
    units = text.encode("utf-16-le")
    for low, high in zip(units[::2], units[1::2], strict=True):
        value = (31 * value + (high << 8 | low)) & 0xFFFFFFFF
    return value
