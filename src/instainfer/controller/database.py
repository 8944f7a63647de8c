"""Opens the database file of the records: locks it, sets it up, and converts a file of an older layout."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from ..environments.folders import announced_weights
from ..errors import HostError
from . import schema
from .batches import in_short

RECORDS = "records.sqlite"
"""The file's name in its home."""
_WAL_BYTES = 64 * 1024 * 1024
"""Size to which SQLite truncates the file of the write-ahead log after it has grown."""


class HomeInUse(HostError):
    """Another platform is running on this home."""


def open_database(path: Path) -> tuple[sa.Engine, int]:
    """Open the records at `path` and convert them to the current layout.

    Returns the engine, and the file descriptor that holds the lock of the home. Raises `HomeInUse` when another process
    has the lock, and `HostError` when the records cannot be opened.
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
    """Take the lock of a home, a file beside the records at `path`, and return its descriptor.

    The kernel frees the lock when its holder ends. Raises `HomeInUse`, or `HostError` when the folder is unusable.
    """
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
    """An engine whose commits are durable, and in which every read and write is part of a SQLAlchemy transaction."""
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
    """Create the tables or convert them in one transaction, so that a kill in between leaves the old layout intact."""
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
    """Convert layout 2 to 3, where deleting a function deletes its profile. Profiles without a function are dropped."""
    connection.exec_driver_sql("ALTER TABLE profiles RENAME TO profiles_2")
    schema.profiles.create(connection)
    columns = ", ".join(column["name"] for column in sa.inspect(connection).get_columns("profiles_2"))
    connection.exec_driver_sql(
        f"INSERT INTO profiles ({columns}) SELECT {columns} FROM profiles_2 WHERE function IN (SELECT key FROM actions)"
    )
    connection.exec_driver_sql("DROP TABLE profiles_2")


def _add_verdicts(connection: sa.Connection) -> None:
    """Convert layout 3 to 4, which has a table of the verdicts on forking."""
    schema.verdicts.create(connection)


def _add_peaks(connection: sa.Connection) -> None:
    """Convert layout 4 to 5, where a profile has the most memory that its function had."""
    known = {column["name"] for column in sa.inspect(connection).get_columns("profiles")}
    if "peak_bytes" not in known:  # a table that `_bind_profiles` has just made has it
        connection.exec_driver_sql("ALTER TABLE profiles ADD COLUMN peak_bytes BIGINT NOT NULL DEFAULT 0")


def _add_secrets(connection: sa.Connection) -> None:
    """Convert layout 5 to 6, which has a table of the functions' secrets."""
    schema.secrets.create(connection)


def _add_uploads(connection: sa.Connection) -> None:
    """Convert layout 6 to 7, which says who has sent which weights: whoever has a function that uses them."""
    schema.uploads.create(connection)
    rows = connection.execute(sa.select(schema.actions.c.namespace, schema.actions.c.code_digest).distinct()).all()
    found = set()
    for namespace, digest in rows:
        data = connection.scalar(sa.select(schema.code.c.data).where(schema.code.c.digest == digest))
        found |= {(namespace, weights) for weights in announced_weights(data or b"")}
    for namespace, weights in sorted(found):
        connection.execute(sa.insert(schema.uploads), {"namespace": namespace, "digest": weights})


def _add_packages(connection: sa.Connection) -> None:
    """Convert layout 7 to 8, which has packages, sequences, triggers and rules. What there was is in no package."""
    for added in (schema.packages, schema.triggers, schema.rules):
        added.create(connection)
    known = {column["name"] for column in sa.inspect(connection).get_columns("secrets")}
    if "package" not in known:  # a table that `_add_secrets` has just made has it
        _made_anew(connection, schema.secrets, package="''")
    connection.exec_driver_sql("ALTER TABLE activations ADD COLUMN package VARCHAR(256) NOT NULL DEFAULT ''")
    connection.exec_driver_sql("ALTER TABLE activations ADD COLUMN cause VARCHAR(32)")
    connection.exec_driver_sql("DROP INDEX activations_by_name")
    next(index for index in schema.activations.indexes if index.name == "activations_by_name").create(connection)
    # A deleted row of `actions` takes those that refer to it along. So these tables refer to the new one first.
    old = _set_aside(connection, schema.actions)
    _filled(connection, schema.actions, old, package="''")
    for table in (schema.profiles, schema.verdicts):
        _made_anew(connection, table)
    connection.exec_driver_sql(f"DROP TABLE {old}")


def _made_anew(connection: sa.Connection, table: sa.Table, **added: str) -> None:
    """Make a table again as the schema has it now, with its rows. `added` are SQL values of new columns."""
    old = _set_aside(connection, table)
    _filled(connection, table, old, **added)
    connection.exec_driver_sql(f"DROP TABLE {old}")


def _set_aside(connection: sa.Connection, table: sa.Table) -> str:
    """Rename a table, and free the names of its indexes. Returns its new name."""
    for index in table.indexes:
        connection.exec_driver_sql(f"DROP INDEX IF EXISTS {index.name}")
    old = f"{table.name}_old"
    connection.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO {old}")
    return old


def _filled(connection: sa.Connection, table: sa.Table, old: str, **added: str) -> None:
    table.create(connection)
    kept = ", ".join(f'"{column["name"]}"' for column in sa.inspect(connection).get_columns(old))
    into, values = ", ".join([kept, *added]), ", ".join([kept, *added.values()])
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({into}) SELECT {values} FROM {old}")


_RENEWALS: Mapping[int, Callable[[sa.Connection], None]] = {
    2: _bind_profiles,
    3: _add_verdicts,
    4: _add_peaks,
    5: _add_secrets,
    6: _add_uploads,
    7: _add_packages,
}
"""By layout, the function that converts it to the next one. It is kept as long as files of that layout may exist."""
