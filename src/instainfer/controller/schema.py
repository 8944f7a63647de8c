"""The tables of the records: one schema, plain SQL types, nothing that only SQLite has.

Times are integers in milliseconds since the epoch, because the API speaks in them; JSON is kept as UTF-8 bytes exactly
as it is sent out.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    text,
)

SCHEMA_VERSION = 3

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("schema_version", Integer, primary_key=True),
)

namespaces = Table(
    "namespaces",
    metadata,
    Column("name", String(256), primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("key_hash", LargeBinary, nullable=False),
)

code = Table(
    "code",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

actions = Table(
    "actions",
    metadata,
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("key", String(600), nullable=False, unique=True),
    Column("updated_ms", BigInteger, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("main", String(256)),
    Column("binary", Boolean, nullable=False),
    Column("code_digest", String(64), nullable=False, index=True),
    Column("parameters", LargeBinary, nullable=False),
    Column("annotations", LargeBinary, nullable=False),
    # The limits of the PUT; what it left open is null, and the function's own manifest or the platform decides.
    Column("timeout_ms", Integer),
    Column("memory_mb", Integer),
    Column("logs_mb", Integer),
    # The limits in force, as the manifest and the platform completed them.
    Column("limits", LargeBinary, nullable=False),
    PrimaryKeyConstraint("namespace", "name"),
)

activations = Table(
    "activations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
    Column("duration_ms", BigInteger),
    Column("status_code", Integer),
    Column("annotations", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    Column("logs", LargeBinary, nullable=False),
    Index("activations_by_start", "namespace", "start_ms"),
    Index("activations_by_name", "namespace", "name", "start_ms"),
    # Finds what was cut short by a crash without reading every record.
    Index("activations_unfinished", "id", sqlite_where=text("end_ms IS NULL"), postgresql_where=text("end_ms IS NULL")),
)

profiles = Table(
    "profiles",
    metadata,
    # What is known of a function goes with it: a later one of the same name and version must not take it for its own.
    Column("function", String(600), ForeignKey("actions.key", ondelete="CASCADE"), primary_key=True),
    Column("loads", Integer, nullable=False),
    Column("library_s", Float, nullable=False),
    Column("resident_bytes", BigInteger, nullable=False),
    Column("forks", Integer, nullable=False),
    Column("fork_s", Float, nullable=False),
    Column("forked_bytes", BigInteger, nullable=False),
    Column("models", Integer, nullable=False),
    Column("model_s", Float, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("compute_s", Float, nullable=False),
)
