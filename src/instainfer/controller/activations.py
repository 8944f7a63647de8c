"""The collection of activations: what is on disk, and what has ended but is not there yet."""

from __future__ import annotations

from ..errors import NotFound
from . import queries
from .catalog import UNKNOWN
from .parameters import Page
from .queries import Filter
from .records import ActivationRecord
from .store import Store


class Activations:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, namespace: str, activation: str) -> ActivationRecord:
        """Raises `NotFound`."""
        record = self._store.find_unflushed(activation)
        if record is None:
            record = await self._store.read(lambda connection: queries.find_activation(connection, activation))
        if record is None or record.namespace != namespace:
            raise NotFound(UNKNOWN)
        return record

    async def get_ended(self, namespace: str, activation: str) -> ActivationRecord:
        """Raises `NotFound` also while it runs: there is no result yet."""
        record = await self.get(namespace, activation)
        if record.status_code is None:
            raise NotFound(UNKNOWN)
        return record

    async def list(self, wanted: Filter, page: Page) -> list[ActivationRecord]:
        """Newest first."""
        # Taken before the tables are read: what is committed in between is found twice, and never not at all.
        unflushed = {record.id: record for record in self._store.unflushed() if wanted.matches(record)}
        end = page.skip + page.limit
        stored = await self._store.read(lambda connection: queries.newest_activations(connection, wanted, end))
        found = {record.id: record for record in stored} | unflushed
        newest = sorted(found.values(), key=lambda record: (record.start_ms, record.id), reverse=True)
        return newest[page.skip : end]

    async def count(self, wanted: Filter) -> int:
        unflushed = [record.id for record in self._store.unflushed() if wanted.matches(record)]
        stored = await self._store.read(
            lambda connection: queries.count_activations(connection, wanted, besides=unflushed)
        )
        return stored + len(unflushed)
