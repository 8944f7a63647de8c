"""Knows which weights a namespace may use: those that it has sent itself, and those that the operator shares.

Weights are stored once for all namespaces, by their content. A digest is no secret, so to know one is not enough:
whoever names weights must have had them. A namespace that sends what another one has sent before sends all of it.
"""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa

from . import queries
from .store import Store


class Uploads:
    """The digests of the weights that the namespaces of one home may use."""

    def __init__(self, store: Store, shared: Collection[str]) -> None:
        """`shared` are the digests that every namespace may use."""
        self._store = store
        self._shared = frozenset(shared)

    async def of(self, namespace: str) -> frozenset[str]:
        """The digests that a namespace may use. Their content need not be stored any more."""
        return self._shared | await self._store.read(lambda connection: queries.uploads_of(connection, namespace))

    async def may_use(self, namespace: str, digest: str) -> bool:
        return digest in await self.of(namespace)

    async def note(self, namespace: str, digest: str) -> None:
        """Record that a namespace has sent these weights."""

        def save(connection: sa.Connection) -> None:
            if digest not in queries.uploads_of(connection, namespace):
                queries.save_upload(connection, namespace, digest)

        await self._store.write(save)
