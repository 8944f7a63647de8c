"""The records on disk: one writer thread that commits in groups, and readers that also see what is not written yet.

Three promises, from strong to cheap:

`Store.accepted`   the caller goes on when the row is on disk; many callers share one commit
`Store.write`      any other change, in a transaction of its own, on disk when the call returns
`Store.finished`   never waits: the record is committed with its neighbours within `LINGER_S`, and until then lives in
                   memory, where reads find it. It is kept and tried again for as long as the disk refuses it

All bookkeeping happens in the event loop's thread; the writer thread only ever sees a batch that nobody changes.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from ..core.model import FunctionKey, Profile
from ..errors import HostError
from . import schema
from .records import ActivationRecord

LINGER_S = 0.05
"""Longest time that a finished record waits for company before it is written."""
RETRY_S = (0.2, 1.0, 5.0)
"""Pauses after a refused commit; the last one repeats."""
READERS = 2

T = TypeVar("T")
log = logging.getLogger(__name__)

_insert = sa.insert(schema.activations)
_finish = (
    sa.update(schema.activations)
    .where(schema.activations.c.id == sa.bindparam("id_"))
    .values({name: sa.bindparam(name) for name in ActivationRecord.__struct_fields__ if name != "id"})
)
_forget_profile = sa.delete(schema.profiles).where(schema.profiles.c.function == sa.bindparam("function_"))
_remember_profile = sa.insert(schema.profiles)


class _Batch(msgspec.Struct):
    """What one commit writes."""

    accepted: list[tuple[ActivationRecord, asyncio.Future[None]]]
    finished: list[ActivationRecord]
    profiles: dict[FunctionKey, Profile]

    def __bool__(self) -> bool:
        return bool(self.accepted or self.finished or self.profiles)


class Store:
    """The records of one home. Make it with `open_store`, inside a running event loop; end it with `close`."""

    def __init__(self, engine: sa.Engine, lock_fd: int) -> None:
        self._engine = engine
        self._lock_fd = lock_fd
        self._loop = asyncio.get_running_loop()
        self._writer = ThreadPoolExecutor(1, "records-writer")
        self._readers = ThreadPoolExecutor(READERS, "records-reader")
        self._pending = _Batch([], [], {})
        self._unflushed: dict[str, ActivationRecord] = {}
        self._on_disk: set[str] = set()
        """Accepted activations whose row is there and unfinished."""
        self._timer: asyncio.TimerHandle | None = None
        self._wake = asyncio.Event()
        self._closing = False
        self._failures = 0
        self._last_error: str | None = None
        self._task = self._loop.create_task(self._write_forever())

    async def accepted(self, record: ActivationRecord) -> None:
        """Return once `record` is on disk; `HostError` when it cannot be, and then it is not kept at all."""
        done: asyncio.Future[None] = self._loop.create_future()
        self._pending.accepted.append((record, done))
        self._wake.set()
        await done

    def finished(self, record: ActivationRecord) -> None:
        """Keep the final record of an activation, whether or not it was `accepted` before."""
        self._unflushed[record.id] = record
        self._pending.finished.append(record)
        self._wake_within(LINGER_S)

    def remember(self, function: FunctionKey, profile: Profile) -> None:
        """Keep what has been measured of a function for the next start."""
        self._pending.profiles[function] = profile
        self._wake_within(LINGER_S)

    def unflushed(self) -> Sequence[ActivationRecord]:
        """Finished records that may not be on disk yet, oldest first."""
        return tuple(self._unflushed.values())

    def find_unflushed(self, activation: str) -> ActivationRecord | None:
        return self._unflushed.get(activation)

    def status(self) -> dict[str, Any]:
        return {"unflushed": len(self._unflushed), "last_error": self._last_error}

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` in a thread, on one consistent view of the tables."""

        def run() -> T:
            with self._engine.connect() as connection:
                return query(connection)

        return await self._loop.run_in_executor(self._readers, run)

    async def write(self, change: Callable[[sa.Connection], T]) -> T:
        """Run `change` in the writer thread and commit it; `HostError` when the disk refuses."""

        def run() -> T:
            with self._engine.begin() as connection:
                return change(connection)

        try:
            return await self._loop.run_in_executor(self._writer, run)
        except sa.exc.OperationalError as error:
            raise _disk_error(error) from error

    async def close(self) -> None:
        """Write what is left and end the threads; `HostError` when records could not be written."""
        if self._closing:
            return
        self._closing = True
        self._wake.set()
        await self._task
        if self._timer is not None:
            self._timer.cancel()
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
        os.close(self._lock_fd)
        if self._unflushed:
            raise HostError(f"{len(self._unflushed)} activation records could not be written: {self._last_error}")

    def _wake_within(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(seconds, self._wake.set)

    async def _write_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._pending:
                await self._write_pending()
            if self._closing and (self._failures or not self._pending):
                return

    async def _write_pending(self) -> None:
        batch, self._pending = self._pending, _Batch([], [], {})
        try:
            await self._loop.run_in_executor(self._writer, self._commit, batch, frozenset(self._on_disk))
        except SQLAlchemyError as error:
            self._refused(batch, error)
        else:
            self._committed(batch)

    def _committed(self, batch: _Batch) -> None:
        if self._failures:
            log.warning("records are written again; %d were waiting", len(batch.finished))
        self._failures, self._last_error = 0, None
        for record, done in batch.accepted:
            self._on_disk.add(record.id)
            if not done.done():
                done.set_result(None)
        for record in batch.finished:
            self._on_disk.discard(record.id)
            del self._unflushed[record.id]

    def _refused(self, batch: _Batch, error: SQLAlchemyError) -> None:
        """Nothing of `batch` is on disk: tell those who wait, keep the rest for the next attempt."""
        told = _disk_error(error)
        self._last_error = str(told)
        pause = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        log.error("%d records are not written yet, next attempt in %g s: %s", len(batch.finished), pause, told)
        for _, done in batch.accepted:
            if not done.done():
                done.set_exception(told)
        self._pending.finished[:0] = batch.finished
        self._pending.profiles = batch.profiles | self._pending.profiles
        if self._pending:
            self._wake_within(pause)

    def _commit(self, batch: _Batch, on_disk: frozenset[str]) -> None:
        """In the writer thread."""
        on_disk |= {record.id for record, _ in batch.accepted}
        inserts = [msgspec.structs.asdict(record) for record, _ in batch.accepted]
        inserts += [msgspec.structs.asdict(record) for record in batch.finished if record.id not in on_disk]
        updates = [_as_update(record) for record in batch.finished if record.id in on_disk]
        with self._engine.begin() as connection:
            if inserts:
                connection.execute(_insert, inserts)
            if updates:
                connection.execute(_finish, updates)
            if batch.profiles:
                connection.execute(_forget_profile, [{"function_": function} for function in batch.profiles])
                connection.execute(_remember_profile, [_as_row(*pair) for pair in batch.profiles.items()])


def open_store(path: Path) -> Store:
    """Open the records at `path`, creating them if needed; `HostError` when that is not possible.

    The lock beside the file keeps a second platform away from the same home.
    """
    lock_fd = _lock(path)
    engine = sqlite_engine(path)
    try:
        _create(engine, path)
        return Store(engine, lock_fd)
    except BaseException as error:
        engine.dispose()
        os.close(lock_fd)
        if isinstance(error, SQLAlchemyError):
            raise HostError(f"the records at {path} cannot be opened: {_cause(error)}") from error
        raise


def _lock(path: Path) -> int:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"the home {path.parent} cannot be used: {error.strerror}; choose another home") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        raise HostError(f"another InstaInfer is running on {path.parent}; stop it or choose another home") from None
    return lock_fd


def sqlite_engine(path: Path) -> sa.Engine:
    """SQLite that is durable at commit, and whose transactions are SQLAlchemy's, reads included."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "busy_timeout = 10000"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _create(engine: sa.Engine, path: Path) -> None:
    with engine.begin() as connection:
        schema.metadata.create_all(connection)
        version = connection.scalar(sa.select(schema.meta.c.schema_version))
        if version is None:
            connection.execute(sa.insert(schema.meta), {"schema_version": schema.SCHEMA_VERSION})
        elif version != schema.SCHEMA_VERSION:
            raise HostError(
                f"the records at {path} have layout {version}, this InstaInfer reads {schema.SCHEMA_VERSION}; "
                "use the InstaInfer that wrote them, or another home"
            )


def _as_update(record: ActivationRecord) -> dict[str, Any]:
    row = msgspec.structs.asdict(record)
    row["id_"] = row.pop("id")
    return row


def _as_row(function: FunctionKey, profile: Profile) -> dict[str, Any]:
    return {"function": function, **asdict(profile)}


def _disk_error(error: SQLAlchemyError) -> HostError:
    return HostError(f"the records cannot be written: {_cause(error)}; free disk space or check the home folder")


def _cause(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error)
