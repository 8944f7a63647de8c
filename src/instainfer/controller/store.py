"""Stores the records on disk. One writer thread commits them in groups; finished ones can be found before that.

There are three ways to write:

`Store.accepted`   returns when the row is on disk; many callers share one commit
`Store.write`      makes any other change in a transaction of its own, which is on disk when the call returns
`Store.finished`   returns at once; the record is committed together with others after at most `LINGER_S`. Until it is
                   on disk it stays in memory, where it can be found. While the disk refuses it, it is tried again

All state changes in the event loop's thread. The writer thread only gets batches that no one else changes.
`instainfer.controller.batches` describes how it treats a batch that the database refuses.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from ..core.model import FunctionKey, Profile
from ..errors import HostError, InternalError
from ..links.base import Measures
from .batches import Accepted, Finished, Judged, Measured, Result, Row, in_short, is_refusal, write
from .counts import Distribution
from .database import open_database
from .profiles import unsound
from .records import ActivationRecord
from .verdicts import KnownVerdict

LINGER_S = 0.05
"""Longest time in seconds that a finished record waits for others to share its commit."""
RETRY_S = (0.2, 1.0, 5.0)
"""Pauses in seconds after refused commits in a row. The last one repeats."""
MOST_AT_ONCE = 1000
"""Most finished records in one commit. So after an outage a new call need not wait until all old ones are written."""
MOST_UNFLUSHED_BYTES = 256 * 1024 * 1024
"""Most bytes of finished records that are kept while the disk refuses. Above it, records of blocking calls are dropped,
because their callers already have the answer."""
READERS = 2

T = TypeVar("T")
log = logging.getLogger(__name__)


class Store:
    """The records of one home. Use `open_store` in a running event loop to make one, and `close` to end it."""

    def __init__(self, engine: sa.Engine, path: Path, lock_fd: int) -> None:
        self._engine = engine
        self.path = path
        self._lock_fd = lock_fd
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "records-writer")
        self._readers = ThreadPoolExecutor(READERS, "records-reader")
        self._accepted: list[ActivationRecord] = []
        self._finished: list[ActivationRecord] = []
        self._profiles: dict[FunctionKey, Profile] = {}
        self._verdicts: dict[FunctionKey, KnownVerdict] = {}
        self._told: dict[str, asyncio.Future[None]] = {}
        """For each accepted activation that is not on disk yet, the future that `accepted` waits for."""
        self._unflushed: dict[str, ActivationRecord] = {}
        self._on_disk: set[str] = set()
        """Accepted activations whose row on disk is not finished."""
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._failures = 0
        """Commits that were refused one after the other."""
        self._refused = 0
        """Commits that were refused in all."""
        self._commits_s = Distribution()
        self._last_error: str | None = None
        self._put_aside = 0
        self._dropped = 0
        self._dead: HostError | None = None
        self._task = self._loop.create_task(self._write_forever())
        self._task.add_done_callback(self._writer_ended)

    async def accepted(self, record: ActivationRecord) -> None:
        """Return once `record` is on disk.

        Raises `HostError` when the disk refuses, and `InternalError` when the database cannot store the record. In both
        cases the record is not kept.
        """
        if self._dead is not None:
            raise self._dead
        if record.id in self._told:
            raise InternalError(f"activation {record.id} was accepted twice; this is a bug, please report it")
        done = self._told[record.id] = self._loop.create_future()
        self._accepted.append(record)
        self._wake.set()
        await done

    def finished(self, record: ActivationRecord) -> None:
        """Store the final record of an activation, whether or not the activation was `accepted` before."""
        self._unflushed[record.id] = record
        self._finished.append(record)
        self._wake_within(LINGER_S)

    def remember(self, function: FunctionKey, profile: Profile) -> bool:
        """Store the profile of a function for the next start. Returns False, and stores nothing, if it cannot be true.

        If the function is deleted before the profile is written, the profile is dropped.
        """
        if problem := unsound(profile):
            log.warning("what was measured of %s is not kept: %s", function, problem)
            return False
        self._profiles[function] = profile
        self._wake_within(LINGER_S)
        return True

    def judged(self, function: FunctionKey, known: KnownVerdict) -> None:
        """Store whether a function can be forked, for the next start, unless it is deleted before that is written."""
        self._verdicts[function] = known
        self._wake_within(LINGER_S)

    def unflushed(self) -> Sequence[ActivationRecord]:
        """Finished records that may not be on disk yet, oldest first."""
        return tuple(self._unflushed.values())

    def find_unflushed(self, activation: str) -> ActivationRecord | None:
        return self._unflushed.get(activation)

    def status(self) -> dict[str, Any]:
        return {
            "unflushed": len(self._unflushed),
            "last_error": str(self._dead) if self._dead is not None else self._last_error,
            "put_aside": self._put_aside,
            "dropped": self._dropped,
            "size_bytes": _size_bytes(self.path),
        }

    def measures(self) -> Measures:
        """The figures of the records for ``/metrics``."""
        return {
            "records_waiting": {(): len(self._unflushed)},
            "records_bytes": {(): _size_bytes(self.path)},
            "records_commit_seconds": {(): self._commits_s},
            "records_commits_refused": {(): self._refused},
            "records_put_aside": {(): self._put_aside},
            "records_dropped": {(): self._dropped},
        }

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` in a thread, on one consistent view of the tables."""

        def run() -> T:
            with self._engine.connect() as connection:
                return query(connection)

        return await self._loop.run_in_executor(self._readers, run)

    async def write(self, change: Callable[[sa.Connection], T]) -> T:
        """Run `change` in the writer thread and commit it. Raises `HostError` when the disk refuses."""

        def run() -> T:
            with self._engine.begin() as connection:
                return change(connection)

        try:
            return await self._loop.run_in_executor(self._writer, run)
        except Exception as error:  # whatever it is, `is_refusal` knows whether the disk or the machine caused it
            if is_refusal(error):
                raise _disk_error(error) from error
            raise

    async def close(self) -> None:
        """Write all remaining records and end the threads. Raises `HostError` when records could not be written."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        await asyncio.wait((self._task,))
        if self._timer is not None:
            self._timer.cancel()
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        os.close(self._lock_fd)
        if self._unflushed:
            why = self._dead or self._last_error
            raise HostError(f"{len(self._unflushed)} activation records could not be written: {why}")

    def _wake_within(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._wake.set)

    @property
    def _pending(self) -> bool:
        return bool(self._accepted or self._finished or self._profiles or self._verdicts)

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._pending:
                await self._write_batch(self._take_batch())
            if self._closing and (self._failures or not self._pending):
                return

    def _take_batch(self) -> list[Row]:
        rows: list[Row] = [Accepted(record) for record in self._accepted]
        # `_on_disk` covers the activations that earlier batches accepted. The writer itself looks for those that this
        # batch accepts.
        rows += (Finished(record, record.id in self._on_disk) for record in self._finished[:MOST_AT_ONCE])
        rows += (Measured(*pair) for pair in self._profiles.items())
        rows += (Judged(*pair) for pair in self._verdicts.items())
        self._accepted, self._profiles, self._verdicts = [], {}, {}
        del self._finished[:MOST_AT_ONCE]
        return rows

    async def _write_batch(self, rows: list[Row]) -> None:
        began_s = time.perf_counter()
        try:
            result = await self._loop.run_in_executor(self._writer, write, self._engine, rows)
        except Exception as error:  # a bug in `write` must lose no record, so all rows are tried again
            log.exception("writing records failed in an unexpected way")
            result = Result(left=rows, refusal=error)
        self._commits_s.add(time.perf_counter() - began_s)
        self._note_written(result.written)
        for row, reason in result.put_aside:
            self._note_put_aside(row, reason)
        if result.refusal is not None:
            self._note_refused(result.left, result.refusal)
            return
        if self._failures:
            log.warning("records are written again; %d are still waiting", len(self._unflushed))
        self._failures, self._last_error = 0, None
        if self._pending and self._timer is None:
            self._wake.set()

    def _note_written(self, rows: Sequence[Row]) -> None:
        for row in rows:
            match row:
                case Accepted(record):
                    self._on_disk.add(record.id)
                    self._tell(record.id, None)
                case Finished(record):
                    self._no_longer_unflushed(record)

    def _note_put_aside(self, row: Row, error: Exception) -> None:
        self._put_aside += 1
        log.error("%s is put aside, since no table takes it: %s", row, in_short(error))
        match row:
            case Accepted(record):
                text = f"activation {record.id} cannot be recorded: {in_short(error)}; this is a bug, please report it"
                self._tell(record.id, InternalError(text))
            case Finished(record):
                self._no_longer_unflushed(record)

    def _note_refused(self, rows: Sequence[Row], error: Exception) -> None:
        """Handle rows that the disk refused: waiting callers of `accepted` get an error, other rows are kept."""
        told = _disk_error(error)
        self._last_error = str(told)
        pause = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        self._refused += 1
        self._finished[:0] = [row.record for row in rows if isinstance(row, Finished)]
        self._profiles = {row.function: row.profile for row in rows if isinstance(row, Measured)} | self._profiles
        self._verdicts = {row.function: row.known for row in rows if isinstance(row, Judged)} | self._verdicts
        self._drop_what_is_too_much()
        log.error("%d records are not written yet, next attempt in %g s: %s", len(self._unflushed), pause, told)
        for row in rows:
            if isinstance(row, Accepted):
                self._tell(row.record.id, told)
        if self._pending:
            self._wake_within(pause)

    def _drop_what_is_too_much(self) -> None:
        """Drop records of blocking calls, oldest first, while the records in memory exceed their limit."""
        too_much = sum(map(_weight_bytes, self._finished)) - MOST_UNFLUSHED_BYTES
        kept = []
        dropped = 0
        for record in self._finished:
            if too_much > 0 and record.id not in self._on_disk:
                too_much -= _weight_bytes(record)
                dropped += 1
                self._unflushed.pop(record.id, None)
            else:
                kept.append(record)
        if dropped:
            self._finished = kept
            self._dropped += dropped
            log.error("the records of %d blocking calls are given up: the disk refuses, and memory is bounded", dropped)

    def _no_longer_unflushed(self, record: ActivationRecord) -> None:
        self._on_disk.discard(record.id)
        if self._unflushed.get(record.id) is record:
            del self._unflushed[record.id]

    def _tell(self, activation: str, error: Exception | None) -> None:
        done = self._told.pop(activation, None)
        if done is None or done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def _writer_ended(self, task: asyncio.Task[None]) -> None:
        """If the writing task has failed, give its error to all who wait for it, because they would wait for ever."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            return
        self._dead = HostError(f"records are not written any more ({error!r}); stop the platform and start it again")
        log.critical("%s", self._dead, exc_info=error)
        for activation in list(self._told):
            self._tell(activation, self._dead)


def open_store(path: Path) -> Store:
    """Open the records at `path`, and create or convert the file if needed. Raises `HostError` when that fails.

    A lock beside the file prevents a second platform from using the same home.
    """
    engine, lock_fd = open_database(path)
    return Store(engine, path, lock_fd)


def _disk_error(error: BaseException) -> HostError:
    cause = getattr(error, "orig", None) or error
    return HostError(f"the records cannot be written: {cause}; free disk space or check the home folder")


def _weight_bytes(record: ActivationRecord) -> int:
    """Approximate size of a record in memory."""
    return 500 + len(record.annotations) + len(record.logs) + len(record.result or b"")


def _size_bytes(path: Path) -> int:
    """Size of the database file and its write-ahead log together."""
    total = 0
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            total += file.stat().st_size
        except OSError:
            continue
    return total
