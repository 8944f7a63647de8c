"""The database tables of the records, with plain SQL types that not only SQLite has.

Times are integers in milliseconds since the epoch, as in the API. JSON is stored as UTF-8 bytes, exactly as the API
sends it. An entity in no package has an empty text for its package, since a primary key has no nulls.
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

SCHEMA_VERSION = 8

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
    Column("package", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("key", String(900), nullable=False, unique=True),
    Column("updated_ms", BigInteger, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("kind", String(64), nullable=False),
    Column("main", String(256)),
    Column("binary", Boolean, nullable=False),
    Column("code_digest", String(64), nullable=False, index=True),
    Column("parameters", LargeBinary, nullable=False),
    Column("annotations", LargeBinary, nullable=False),
    # The limits in the PUT. For a limit that is null, the function's manifest decides, or else the platform's default.
    Column("timeout_ms", Integer),
    Column("memory_mb", Integer),  # 0: it is learned
    Column("logs_mb", Integer),
    # The limits in force, completed by the manifest and the platform's defaults.
    Column("limits", LargeBinary, nullable=False),
    # The parts of a sequence, a JSON array of texts. Null: it is a function.
    Column("components", LargeBinary),
    PrimaryKeyConstraint("namespace", "package", "name"),
)

packages = Table(
    "packages",
    metadata,
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("parameters", LargeBinary, nullable=False),
    Column("annotations", LargeBinary, nullable=False),
    # The package that a binding stands for. Null: it is a package itself.
    Column("binding_namespace", String(256)),
    Column("binding_name", String(256)),
    PrimaryKeyConstraint("namespace", "name"),
)

triggers = Table(
    "triggers",
    metadata,
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("parameters", LargeBinary, nullable=False),
    Column("annotations", LargeBinary, nullable=False),
    PrimaryKeyConstraint("namespace", "name"),
)

rules = Table(
    "rules",
    metadata,
    Column("namespace", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    Column("publish", Boolean, nullable=False),
    Column("annotations", LargeBinary, nullable=False),
    # The two paths as texts. Neither needs to exist: a rule outlives both.
    Column("trigger", String(800), nullable=False),
    Column("action", String(800), nullable=False),
    Column("is_active", Boolean, nullable=False),
    PrimaryKeyConstraint("namespace", "name"),
)

secrets = Table(
    "secrets",
    metadata,
    # Secrets belong to a name, which may have no function yet. So replacing a function leaves them as they are.
    Column("namespace", String(256), nullable=False),
    Column("package", String(256), nullable=False),
    Column("name", String(256), nullable=False),
    Column("key", String(128), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    Column("updated_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("namespace", "package", "name", "key"),
)

uploads = Table(
    "uploads",
    metadata,
    # Which weights a namespace has sent, and so may use. A row stays when the weights are removed from the disk.
    Column("namespace", String(256), nullable=False),
    Column("digest", String(80), nullable=False),
    PrimaryKeyConstraint("namespace", "digest"),
)

activations = Table(
    "activations",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("namespace", String(256), nullable=False),
    Column("package", String(256), nullable=False, server_default=text("''")),
    Column("name", String(256), nullable=False),
    Column("version", String(64), nullable=False),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger),
    Column("duration_ms", BigInteger),
    Column("status_code", Integer),
    Column("annotations", LargeBinary, nullable=False),
    Column("result", LargeBinary),
    Column("logs", LargeBinary, nullable=False),
    # The activation of the sequence that this one is a part of.
    Column("cause", String(32)),
    Index("activations_by_start", "namespace", "start_ms"),
    Index("activations_by_name", "namespace", "package", "name", "start_ms"),
    # With this index the activations that a crash interrupted are found without reading every record.
    Index("activations_unfinished", "id", sqlite_where=text("end_ms IS NULL"), postgresql_where=text("end_ms IS NULL")),
)

profiles = Table(
    "profiles",
    metadata,
    # A profile is deleted with its function, so that a later function with the same key does not inherit the profile.
    Column("function", String(900), ForeignKey("actions.key", ondelete="CASCADE"), primary_key=True),
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
    Column("peak_bytes", BigInteger, nullable=False, server_default=text("0")),
)

verdicts = Table(
    "verdicts",
    metadata,
    # Like a profile, a verdict on forking is deleted with its function.
    Column("function", String(900), ForeignKey("actions.key", ondelete="CASCADE"), primary_key=True),
    # What the verdict is true for.
    Column("host", String(300), nullable=False),
    Column("environment", String(256), nullable=False),
    Column("fit", Boolean, nullable=False),
    Column("reason", String(1000), nullable=False),
)
