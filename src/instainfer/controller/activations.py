"""The collection of activations: what is on disk, and what has ended but is not there yet."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

import sqlalchemy as sa

from ..errors import NotFound
from . import queries
from .catalog import UNKNOWN
from .parameters import Page
from .queries import ActivationSummary, Filter
from .records import ActivationRecord
from .store import Store

GROUP_BYTES = 1024 * 1024
"""Records are read from the disk in groups of about this size: a list of whole ones may be of gigabytes."""


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

    async def list(self, wanted: Filter, page: Page) -> list[ActivationSummary]:
        """Newest first."""
        # Taken before the tables are read: what is committed in between is found twice, and never not at all.
        unflushed = {
            record.id: ActivationSummary.of(record) for record in self._store.unflushed() if wanted.matches(record)
        }
        return await self._store.read(lambda connection: _page(connection, wanted, page, unflushed))

    async def whole(self, listed: Sequence[ActivationSummary]) -> AsyncIterator[ActivationRecord]:
        """The records of a list, never more of them in memory than `GROUP_BYTES` and one."""
        for ids in _groups(listed):
            # In this order: a record is on the disk before it leaves memory.
            kept = {id_: self._store.find_unflushed(id_) for id_ in ids}
            missing = [id_ for id_, record in kept.items() if record is None]
            stored = await self._stored(missing) if missing else {}
            for id_ in ids:
                record = kept[id_] or stored.get(id_)
                if record is not None:  # else it was removed meanwhile
                    yield record

    async def _stored(self, ids: Sequence[str]) -> dict[str, ActivationRecord]:
        return await self._store.read(lambda connection: queries.whole_activations(connection, ids))

    async def count(self, wanted: Filter) -> int:
        unflushed = [record.id for record in self._store.unflushed() if wanted.matches(record)]
        stored = await self._store.read(
            lambda connection: queries.count_activations(connection, wanted, besides=unflushed)
        )
        return stored + len(unflushed)


def _page(
    connection: sa.Connection, wanted: Filter, page: Page, unflushed: dict[str, ActivationSummary]
) -> list[ActivationSummary]:
    """A page of stored and unflushed records together, of which only a window around it is read.

    A record may be among both; then the unflushed form counts. Of the `skip` newest at most all the unflushed are not
    among the stored, so the page lies behind the first ``skip - len(unflushed)`` stored ones, whichever they are.
    """
    end = page.skip + page.limit
    both = queries.starts_of(connection, wanted, list(unflushed))
    unseen = max(0, page.skip - len(unflushed))
    window = queries.newest_activations(connection, wanted, end - unseen + len(both), unseen)
    if unseen and not window:
        return []
    # Those of before the window that count in their unflushed form are not among the unseen.
    if unseen:
        first = (window[0].start_ms, window[0].id)
        unseen -= sum((start_ms, id_) > first for id_, start_ms in both.items())
    found = [record for record in window if record.id not in both]
    newest = sorted((*found, *unflushed.values()), key=lambda record: (record.start_ms, record.id), reverse=True)
    return newest[page.skip - unseen : end - unseen]


def _groups(listed: Sequence[ActivationSummary]) -> Iterator[list[str]]:
    ids: list[str] = []
    size = 0
    for record in listed:
        if ids and (size + record.rest_bytes > GROUP_BYTES or len(ids) == queries.CHUNK):
            yield ids
            ids, size = [], 0
        ids.append(record.id)
        size += record.rest_bytes
    if ids:
        yield ids
