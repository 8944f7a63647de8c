"""The networks of containers: one for each namespace, and what its containers must not reach through it.

Our networks have their addresses from one pool, so a container can be kept from all of them, whether they exist yet or
not. What else it is kept from are link-local addresses, where clouds give credentials away, and all addresses of this
machine, but for the one at which the platform's API is.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from ...errors import HostError
from .engine import Engine

log = logging.getLogger(__name__)

NO_NETWORK = "none"
LINK_LOCAL = "169.254.0.0/16"
_PREFIX = 24
"""Bits of the address of a namespace's network. It has room for 253 containers."""
_NAME_DIGITS = 12
_TRIE = Path("/proc/net/fib_trie")
_EVERYWHERE = "0.0.0.0"


class Networks:
    """Makes the networks of namespaces when they are needed first, and removes them at the end."""

    def __init__(self, engine: Engine, pool: ipaddress.IPv4Network, api_host: str) -> None:
        """`pool` gives the addresses, and the platform's API listens at `api_host`."""
        self._engine = engine
        self._pool = pool
        self._api_host = api_host
        self._made: dict[str, asyncio.Task[tuple[str, ipaddress.IPv4Network]]] = {}
        """By namespace, the making of its network, which ends with its name and addresses."""

    async def of(self, namespace: str) -> tuple[str, list[str]]:
        """The network of a namespace, and the networks that its containers must not reach. Raises `HostError`."""
        making = self._made.get(namespace)
        if making is None or (making.done() and making.exception() is not None):
            making = self._made[namespace] = asyncio.ensure_future(self._make(namespace))
        name, subnet = await asyncio.shield(making)
        return name, await asyncio.to_thread(self._fences, subnet)

    async def _make(self, namespace: str) -> tuple[str, ipaddress.IPv4Network]:
        digest = hashlib.sha256(f"{self._engine.node}/{namespace}".encode()).hexdigest()
        name = f"instainfer-{digest[:_NAME_DIGITS]}"
        subnets = list(self._pool.subnets(new_prefix=_PREFIX))
        first = int(digest, 16) % len(subnets)
        for subnet in (*subnets[first:], *subnets[:first]):
            if await self._engine.create_network(name, str(subnet)):
                return name, subnet
        raise HostError(f"all {len(subnets)} networks of {self._pool} are taken; make docker.address_pool larger")

    def _fences(self, subnet: ipaddress.IPv4Network) -> list[str]:
        own = {f"{address}/32" for address in _own_addresses(_TRIE.read_text(encoding="ascii"))}
        if self._api_host == _EVERYWHERE:
            own.discard(f"{next(subnet.hosts())}/32")
        else:
            own.discard(f"{self._api_host}/32")
        return [LINK_LOCAL, str(self._pool), *sorted(own)]

    async def close(self) -> None:
        """Remove all networks. No container may be left in them."""
        for making in self._made.values():
            try:
                name, _ = await making
                await self._engine.remove_network(name)
            except HostError as error:
                log.warning("%s", error)
        self._made.clear()


def _own_addresses(trie: str) -> Iterator[str]:
    """The addresses of this machine, but for the loopback's, from the kernel's table of routes."""
    for leaf, kind in itertools.pairwise(trie.splitlines()):
        words = leaf.split()
        if kind.strip() == "/32 host LOCAL" and not words[-1].startswith("127."):
            yield words[-1]
