"""The file of the records: its lock, its settings, and how a file of an older layout becomes one of today's."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..errors import HostError
from . import schema
from .batches import in_short

RECORDS = "records.sqlite"
"""The file's name in its home."""
_WAL_BYTES = 64 * 1024 * 1024
"""What the write-ahead log is cut back to after a busy time."""


class HomeInUse(HostError):
    """A platform is running there."""


def open_database(path: Path) -> tuple[sa.Engine, int]:
    """The records at `path`, in today's layout, and the descriptor that holds their home's lock.

    Raises `HostError` when another process has the home, or the records cannot be had.
    """
    lock_fd = lock_home(path)
    engine = sqlite_engine(path)
    try:
        _create_or_renew(engine, path)
    except BaseException as error:
        engine.dispose()
        os.close(lock_fd)
        if isinstance(error, sa.exc.SQLAlchemyError):
            raise HostError(f"the records at {path} cannot be opened: {in_short(error)}") from error
        raise
    return engine, lock_fd


def lock_home(path: Path) -> int:
    """Take the lock beside the records, which stands for the whole home. The kernel frees it when its holder ends."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock_fd = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise HostError(f"the home {path.parent} cannot be used: {error.strerror}; choose another home") from error
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock_fd)
        raise HomeInUse(f"another InstaInfer is running on {path.parent}; stop it or choose another home") from None
    return lock_fd


def sqlite_engine(path: Path) -> sa.Engine:
    """SQLite that is durable at commit, and whose transactions are SQLAlchemy's, reads included."""
    engine = sa.create_engine(f"sqlite:///{path}")

    @sa.event.listens_for(engine, "connect")
    def connect(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "busy_timeout = 10000",
            "foreign_keys = ON",
            f"journal_size_limit = {_WAL_BYTES}",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def _create_or_renew(engine: sa.Engine, path: Path) -> None:
    """One transaction: a process that is killed meanwhile leaves the old layout, whole."""
    with engine.begin() as connection:
        if not sa.inspect(connection).has_table(schema.meta.name):
            schema.metadata.create_all(connection)
        version = connection.scalar(sa.select(schema.meta.c.schema_version))
        if version is None:
            connection.execute(sa.insert(schema.meta), {"schema_version": schema.SCHEMA_VERSION})
            return
        found = version
        while version in _RENEWALS:
            _RENEWALS[version](connection)
            version += 1
        if version != schema.SCHEMA_VERSION:
            raise HostError(
                f"the records at {path} have layout {found}, this InstaInfer reads {schema.SCHEMA_VERSION}; "
                "use the InstaInfer that wrote them, or another home"
            )
        connection.execute(sa.update(schema.meta).values(schema_version=version))


def _bind_profiles(connection: sa.Connection) -> None:
    """2 to 3: a profile belongs to the row of its function and goes with it. Those of no function are dropped."""
    connection.exec_driver_sql("ALTER TABLE profiles RENAME TO profiles_2")
    schema.profiles.create(connection)
    columns = ", ".join(column.name for column in schema.profiles.columns)
    connection.exec_driver_sql(
        f"INSERT INTO profiles ({columns}) SELECT {columns} FROM profiles_2 WHERE function IN (SELECT key FROM actions)"
    )
    connection.exec_driver_sql("DROP TABLE profiles_2")


_RENEWALS: Mapping[int, Callable[[sa.Connection], None]] = {2: _bind_profiles}
"""From a layout to the next. Each is kept for as long as there may be files of it, and changes nothing but its part."""
