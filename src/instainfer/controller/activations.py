"""Reads the records of activations: those on disk, and those in memory that have ended and are not yet on disk."""

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
"""Approximate size of the groups in which whole records are read, because a list of them may need gigabytes."""


class Activations:
    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, namespace: str, activation: str) -> ActivationRecord:
        """The record of an activation. Raises `NotFound` also for a record of another namespace."""
        record = self._store.find_unflushed(activation)
        if record is None:
            record = await self._store.read(lambda connection: queries.find_activation(connection, activation))
        if record is None or record.namespace != namespace:
            raise NotFound(f"{UNKNOWN} There is no activation {activation} in the namespace {namespace}.")
        return record

    async def get_ended(self, namespace: str, activation: str) -> ActivationRecord:
        """The record of an activation that has ended. While the activation runs, this raises `NotFound`."""
        record = await self.get(namespace, activation)
        if record.status_code is None:
            raise NotFound(f"{UNKNOWN} The activation {activation} has not ended yet.")
        return record

    async def list(self, wanted: Filter, page: Page) -> list[ActivationSummary]:
        """One page of the matching activations, newest first."""
        # These are taken before the tables are read. So a record that is committed in between is found twice, which
        # `_page` handles, and is never missed.
        unflushed = {
            record.id: ActivationSummary.of(record) for record in self._store.unflushed() if wanted.matches(record)
        }
        return await self._store.read(lambda connection: _page(connection, wanted, page, unflushed))

    async def whole(self, listed: Sequence[ActivationSummary]) -> AsyncIterator[ActivationRecord]:
        """The whole records of a list. At most `GROUP_BYTES` or one record of them are in memory at a time."""
        for ids in _groups(listed):
            # Memory is asked before the disk, because a record leaves memory only after it is on disk.
            kept = {id_: self._store.find_unflushed(id_) for id_ in ids}
            missing = [id_ for id_, record in kept.items() if record is None]
            stored = await self._stored(missing) if missing else {}
            for id_ in ids:
                record = kept[id_] or stored.get(id_)
                if record is not None:  # None: retention has removed the record meanwhile
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
    """One page of the stored and the unflushed records together. Only the stored records around the page are read.

    A record that is both stored and unflushed counts in its unflushed form. At most ``len(unflushed)`` of the `skip`
    newest records are unflushed. So the first ``skip - len(unflushed)`` stored records lie before the page in any case.
    """
    end = page.skip + page.limit
    both = queries.starts_of(connection, wanted, list(unflushed))
    unseen = max(0, page.skip - len(unflushed))
    window = queries.newest_activations(connection, wanted, end - unseen + len(both), unseen)
    if unseen and not window:
        return []
    # A record before the window that counts in its unflushed form must not count as an unseen stored record as well.
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
