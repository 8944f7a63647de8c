"""The SQL queries of the controller, as functions of a connection. They run in the threads of `store.Store`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from ..core.model import FunctionKey, Profile, Verdict
from ..environments.manifest import AUTO
from .paths import EntityPath
from .profiles import unsound
from .records import (
    SEQUENCE,
    WHISK_ERROR,
    Action,
    ActionLimits,
    ActivationRecord,
    AskedLimits,
    Package,
)
from .schema import actions, activations, code, namespaces, packages, profiles, secrets, uploads, verdicts
from .verdicts import KnownVerdict

CHUNK = 500
"""Most ids in one statement, because databases limit the number of parameters."""

_AUTO_MB = 0
"""What is stored for a memory limit that is to be learned."""

_encode = msgspec.json.encode

log = logging.getLogger(__name__)


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Selects activations of a namespace: those of one action, those that started within [since_ms, upto_ms], or those
    that have ended at `ended_since_ms` or later.

    Times are in milliseconds since the epoch. None sets no condition.
    """

    namespace: str
    package: str = ""
    """That of the action in `name`. Empty: it is in none."""
    name: str | None = None
    since_ms: int | None = None
    upto_ms: int | None = None
    ended_since_ms: int | None = None

    def matches(self, record: ActivationRecord) -> bool:
        return (
            record.namespace == self.namespace
            and (self.name is None or (record.package, record.name) == (self.package, self.name))
            and (self.since_ms is None or record.start_ms >= self.since_ms)
            and (self.upto_ms is None or record.start_ms <= self.upto_ms)
            and (self.ended_since_ms is None or (record.end_ms or 0) >= self.ended_since_ms)
        )

    def clauses(self) -> Iterator[sa.ColumnElement[bool]]:
        yield activations.c.namespace == self.namespace
        if self.name is not None:
            yield activations.c.package == self.package
            yield activations.c.name == self.name
        if self.since_ms is not None:
            yield activations.c.start_ms >= self.since_ms
        if self.upto_ms is not None:
            yield activations.c.start_ms <= self.upto_ms
        if self.ended_since_ms is not None:
            yield activations.c.end_ms >= self.ended_since_ms


class ActivationSummary(NamedTuple):
    """The part of a record that a list shows, and the size of the rest."""

    id: str
    namespace: str
    name: str
    version: str
    cause: str | None
    start_ms: int
    end_ms: int | None
    duration_ms: int | None
    status_code: int | None
    annotations: bytes
    rest_bytes: int
    """Size of the result and the logs together."""

    @classmethod
    def of(cls, record: ActivationRecord) -> ActivationSummary:
        values = (getattr(record, name) for name in cls._fields[:-1])
        return cls._make((*values, len(record.result or b"") + len(record.logs)))


_SUMMARY = (
    *(activations.c[name] for name in ActivationSummary._fields[:-1]),
    sa.func.coalesce(sa.func.length(activations.c.result), 0) + sa.func.length(activations.c.logs),
)


def find_activation(connection: sa.Connection, activation: str) -> ActivationRecord | None:
    row = connection.execute(sa.select(activations).where(activations.c.id == activation)).one_or_none()
    return None if row is None else ActivationRecord(**row._mapping)


def newest_activations(connection: sa.Connection, wanted: Filter, count: int, skip: int = 0) -> list[ActivationSummary]:
    """The matching activations, newest first, without the first `skip` and at most `count`.

    Results and logs are not read.
    """
    statement = (
        sa.select(*_SUMMARY)
        .where(*wanted.clauses())
        .order_by(activations.c.start_ms.desc(), activations.c.id.desc())
        .offset(skip)
        .limit(count)
    )
    return [ActivationSummary(*row) for row in connection.execute(statement)]


def starts_of(connection: sa.Connection, wanted: Filter, ids: Sequence[str]) -> dict[str, int]:
    """The start times, in milliseconds since the epoch, of those activations in `ids` that are stored and match."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), CHUNK):
        chunk = activations.c.id.in_(ids[start : start + CHUNK])
        rows = connection.execute(sa.select(activations.c.id, activations.c.start_ms).where(*wanted.clauses(), chunk))
        found.update((row.id, row.start_ms) for row in rows)
    return found


def whole_activations(connection: sa.Connection, ids: Sequence[str]) -> dict[str, ActivationRecord]:
    """The stored records of these activations, by id. At most `CHUNK` ids may be given."""
    rows = connection.execute(sa.select(activations).where(activations.c.id.in_(ids)))
    return {row.id: ActivationRecord(**row._mapping) for row in rows}


def count_activations(connection: sa.Connection, wanted: Filter, besides: Sequence[str]) -> int:
    """Number of stored records that match, without those in `besides`."""
    counted = sa.select(sa.func.count()).select_from(activations).where(*wanted.clauses())
    total = connection.scalar(counted) or 0
    for start in range(0, len(besides), CHUNK):
        chunk = besides[start : start + CHUNK]
        total -= connection.scalar(counted.where(activations.c.id.in_(chunk))) or 0
    return total


def conclude_unfinished(connection: sa.Connection, result: bytes) -> int:
    """End all unfinished records, which the stop or crash of an earlier platform left. Returns their number."""
    done = connection.execute(
        sa.update(activations)
        .where(activations.c.end_ms.is_(None))
        .values(end_ms=activations.c.start_ms, duration_ms=0, status_code=WHISK_ERROR, result=result)
    )
    return done.rowcount


def latest_starts(connection: sa.Connection, path: EntityPath, count: int) -> list[int]:
    """When the latest `count` activations of an action began, in milliseconds since the epoch, oldest first."""
    chosen = sa.select(activations.c.start_ms).where(*_at(activations, path))
    rows = connection.execute(chosen.order_by(activations.c.start_ms.desc()).limit(count))
    return sorted(row.start_ms for row in rows)


def all_actions(connection: sa.Connection) -> list[Action]:
    return [_action(row) for row in connection.execute(sa.select(actions))]


def all_code(connection: sa.Connection) -> list[tuple[str, bool]]:
    """The digest of each stored function's code, and whether that code is an archive."""
    chosen = sa.select(actions.c.code_digest, actions.c.binary).where(actions.c.kind != SEQUENCE).distinct()
    return [(row.code_digest, row.binary) for row in connection.execute(chosen)]


def find_code(connection: sa.Connection, digest: str) -> bytes | None:
    return connection.scalar(sa.select(code.c.data).where(code.c.digest == digest))


def code_size(connection: sa.Connection, digest: str) -> int | None:
    return connection.scalar(sa.select(sa.func.length(code.c.data)).where(code.c.digest == digest))


def code_piece(connection: sa.Connection, digest: str, start: int, count: int) -> bytes:
    """`count` bytes of some code from offset `start` on. Fewer at its end, and none if the code is not stored."""
    piece = sa.func.substr(code.c.data, start + 1, count, type_=sa.LargeBinary)
    return connection.scalar(sa.select(piece).where(code.c.digest == digest)) or b""


def save_action(connection: sa.Connection, action: Action, source: bytes | None, replaced: Action | None) -> None:
    """Store `action` in place of `replaced`. `source` is its code, and may be None if the code is stored already."""
    if source is not None and find_code(connection, action.code_digest) is None:
        connection.execute(sa.insert(code), {"digest": action.code_digest, "data": source})
    if replaced is not None:
        _remove_row(connection, replaced)
    connection.execute(sa.insert(actions), _row(action))
    if replaced is not None:
        _remove_unused_code(connection, replaced.code_digest)


def delete_action(connection: sa.Connection, action: Action) -> None:
    """Delete an action and its secrets."""
    _remove_row(connection, action)
    _remove_unused_code(connection, action.code_digest)
    connection.execute(sa.delete(secrets).where(*_at(secrets, action.path)))


def all_packages(connection: sa.Connection) -> list[Package]:
    return [_package(row) for row in connection.execute(sa.select(packages))]


def save_package(connection: sa.Connection, package: Package) -> None:
    """Store a package in place of one at the same path."""
    delete_package(connection, package.path)
    binding = package.binding
    row = {
        "namespace": package.path.namespace,
        "name": package.path.name,
        "version": package.version,
        "updated_ms": package.updated_ms,
        "publish": package.publish,
        "parameters": _encode(package.parameters),
        "annotations": _encode(package.annotations),
        "binding_namespace": binding.namespace if binding is not None else None,
        "binding_name": binding.name if binding is not None else None,
    }
    connection.execute(sa.insert(packages), row)


def delete_package(connection: sa.Connection, path: EntityPath) -> None:
    own = (packages.c.namespace == path.namespace, packages.c.name == path.name)
    connection.execute(sa.delete(packages).where(*own))


class SealedSecret(NamedTuple):
    """A secret as it is stored: the name of its variable, its encrypted value, and when it was set."""

    key: str
    sealed: bytes
    updated_ms: int


def secrets_of(connection: sa.Connection, path: EntityPath) -> list[SealedSecret]:
    """The secrets of the function at this path, whether there is one or not, in the order of their keys."""
    chosen = sa.select(secrets.c.key, secrets.c.sealed, secrets.c.updated_ms)
    rows = connection.execute(chosen.where(*_at(secrets, path)).order_by(secrets.c.key))
    return [SealedSecret(*row) for row in rows]


def all_secrets(connection: sa.Connection) -> list[tuple[EntityPath, SealedSecret]]:
    """Every secret with the path of its function."""
    return [
        (_path(row), SealedSecret(row.key, row.sealed, row.updated_ms))
        for row in connection.execute(sa.select(secrets))
    ]


def save_secret(connection: sa.Connection, path: EntityPath, secret: SealedSecret) -> None:
    delete_secret(connection, path, secret.key)
    connection.execute(sa.insert(secrets), {**_columns(path), **secret._asdict()})


def delete_secret(connection: sa.Connection, path: EntityPath, key: str) -> None:
    connection.execute(sa.delete(secrets).where(*_at(secrets, path), secrets.c.key == key))


def uploads_of(connection: sa.Connection, namespace: str) -> frozenset[str]:
    """The digests of the weights that a namespace has sent."""
    rows = connection.execute(sa.select(uploads.c.digest).where(uploads.c.namespace == namespace))
    return frozenset(row.digest for row in rows)


def save_upload(connection: sa.Connection, namespace: str, digest: str) -> None:
    connection.execute(sa.insert(uploads), {"namespace": namespace, "digest": digest})


def all_profiles(connection: sa.Connection) -> dict[FunctionKey, Profile]:
    """The stored profile of each function. A profile that cannot be true is skipped; an older version may have it."""
    found = {}
    for row in connection.execute(sa.select(profiles)).mappings():
        profile = Profile(**{name: row[name] for name in row if name != "function"})
        if problem := unsound(profile):
            log.warning("what is stored of %s is measured anew: %s", row["function"], problem)
        else:
            found[row["function"]] = profile
    return found


def all_verdicts(connection: sa.Connection) -> dict[FunctionKey, KnownVerdict]:
    """The stored verdict on each function, wherever it was given."""
    return {
        row.function: KnownVerdict(Verdict(row.fit, row.reason), row.host, row.environment)
        for row in connection.execute(sa.select(verdicts))
    }


def all_namespaces(connection: sa.Connection) -> list[tuple[str, str, bytes]]:
    """The name, uuid and hash of the key of each namespace."""
    return [(row.name, row.uuid, row.key_hash) for row in connection.execute(sa.select(namespaces))]


def save_namespace(connection: sa.Connection, name: str, uuid: str, key_hash: bytes) -> None:
    connection.execute(sa.delete(namespaces).where(namespaces.c.name == name))
    connection.execute(sa.insert(namespaces), {"name": name, "uuid": uuid, "key_hash": key_hash})


def _columns(path: EntityPath) -> dict[str, str]:
    """A path in the columns of a row, where no package is an empty text."""
    return {"namespace": path.namespace, "package": path.package or "", "name": path.name}


def _at(table: sa.Table, path: EntityPath) -> Iterator[sa.ColumnElement[bool]]:
    """The conditions that choose what a table has of a path."""
    return (table.c[column] == value for column, value in _columns(path).items())


def _path(row: sa.Row[Any]) -> EntityPath:
    return EntityPath(row.namespace, row.package or None, row.name)


def _remove_row(connection: sa.Connection, action: Action) -> None:
    connection.execute(sa.delete(actions).where(*_at(actions, action.path)))


def _remove_unused_code(connection: sa.Connection, digest: str) -> None:
    used = sa.exists().where(actions.c.code_digest == digest)
    connection.execute(sa.delete(code).where(code.c.digest == digest, ~used))


def _row(action: Action) -> dict[str, Any]:
    return {
        **_columns(action.path),
        "version": action.version,
        "key": action.key,
        "updated_ms": action.updated_ms,
        "publish": action.publish,
        "kind": action.kind,
        "main": action.main,
        "binary": action.binary,
        "code_digest": action.code_digest,
        "parameters": _encode(action.parameters),
        "annotations": _encode(action.annotations),
        "timeout_ms": action.asked.timeout,
        "memory_mb": _AUTO_MB if action.asked.memory == AUTO else action.asked.memory,
        "logs_mb": action.asked.logs,
        "limits": _encode(action.limits),
        "components": None if action.components is None else _encode(action.components),
    }


def _action(row: sa.Row[Any]) -> Action:
    return Action(
        path=_path(row),
        version=row.version,
        key=row.key,
        updated_ms=row.updated_ms,
        publish=row.publish,
        kind=row.kind,
        main=row.main,
        binary=row.binary,
        code_digest=row.code_digest,
        parameters=msgspec.json.decode(row.parameters),
        annotations=msgspec.json.decode(row.annotations),
        asked=AskedLimits(
            timeout=row.timeout_ms, memory=AUTO if row.memory_mb == _AUTO_MB else row.memory_mb, logs=row.logs_mb
        ),
        limits=msgspec.json.decode(row.limits, type=ActionLimits),
        components=None if row.components is None else msgspec.json.decode(row.components),
    )


def _package(row: sa.Row[Any]) -> Package:
    is_binding = row.binding_name is not None
    return Package(
        path=EntityPath(row.namespace, None, row.name),
        version=row.version,
        updated_ms=row.updated_ms,
        publish=row.publish,
        parameters=msgspec.json.decode(row.parameters),
        annotations=msgspec.json.decode(row.annotations),
        binding=EntityPath(row.binding_namespace, None, row.binding_name) if is_binding else None,
    )
