"""Finds and removes old records. Age, number and size of a namespace's records are limited; the oldest go first.

Old records are found in reader threads and removed a few at a time in the writer thread, between the commits of calls.
Activations that have not ended are never removed. SQLite keeps the freed space in its file for new records, so the file
never shrinks by itself. `compact` gives the space back to the disk, which is possible only while no platform runs.
"""

from __future__ import annotations

import sqlalchemy as sa

from ..config import RetentionConfig
from ..core.model import MIB
from .schema import activations

MOST_AT_ONCE = 200
"""Most records that one transaction removes."""

_bytes = (
    sa.func.length(activations.c.annotations)
    + sa.func.coalesce(sa.func.length(activations.c.result), 0)
    + sa.func.length(activations.c.logs)
)


def namespaces_with_records(connection: sa.Connection) -> list[str]:
    return list(connection.scalars(sa.select(activations.c.namespace).distinct()))


def oldest_to_keep_ms(connection: sa.Connection, namespace: str, rules: RetentionConfig, now_ms: int) -> int:
    """The time before which a namespace's records are too old, in milliseconds since the epoch. 0 if all are kept.

    The start of an activation decides. `now_ms` is the current time in the same unit.
    """
    own = activations.c.namespace == namespace
    bounds = [0]
    if rules.records_max_age_s:
        bounds.append(now_ms - int(rules.records_max_age_s * 1000))
    if rules.records_max_count:
        newest = sa.select(activations.c.start_ms).where(own).order_by(activations.c.start_ms.desc())
        bounds.append(connection.scalar(newest.offset(rules.records_max_count - 1).limit(1)) or 0)
    if rules.records_max_mb:
        summed = sa.func.sum(_bytes).over(order_by=(activations.c.start_ms.desc(), activations.c.id.desc()))
        sizes = sa.select(activations.c.start_ms, summed.label("sum")).where(own).subquery()
        too_old = sa.select(sa.func.max(sizes.c.start_ms)).where(sizes.c.sum > rules.records_max_mb * MIB)
        found = connection.scalar(too_old)
        bounds.append(0 if found is None else found + 1)
    return max(bounds)


def count_before(connection: sa.Connection, namespace: str, before_ms: int) -> tuple[int, int]:
    """Number and total bytes of the records that began before this time and have ended."""
    row = connection.execute(
        sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(_bytes), 0)).where(*_old(namespace, before_ms))
    ).one()
    return row[0], row[1]


def remove_some(connection: sa.Connection, namespace: str, before_ms: int) -> int:
    """Remove the oldest records that `count_before` counts, at most `MOST_AT_ONCE`. Returns their number."""
    oldest = sa.select(activations.c.id).where(*_old(namespace, before_ms)).order_by(activations.c.start_ms)
    chosen = oldest.limit(MOST_AT_ONCE).scalar_subquery()
    return connection.execute(sa.delete(activations).where(activations.c.id.in_(chosen))).rowcount


def compact(engine: sa.Engine) -> None:
    """Give the space of removed records back to the disk.

    Needs free disk space for a second copy of the file. Nothing else may use the file meanwhile.
    """
    with engine.connect() as connection:
        raw = connection.connection.driver_connection
        assert raw is not None
        connection.rollback()
        raw.execute("VACUUM")
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def free_bytes(connection: sa.Connection) -> int:
    """Free bytes inside the database file."""
    pages = connection.exec_driver_sql("PRAGMA freelist_count").scalar() or 0
    return pages * (connection.exec_driver_sql("PRAGMA page_size").scalar() or 0)


def _old(namespace: str, before_ms: int) -> tuple[sa.ColumnElement[bool], ...]:
    return (
        activations.c.namespace == namespace,
        activations.c.start_ms < before_ms,
        activations.c.end_ms.is_not(None),
    )
