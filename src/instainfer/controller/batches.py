"""Commits one batch of rows, in the writer thread. A row that cannot be stored does not hold up the others.

A batch fails for one of two reasons, which need opposite reactions. If the *disk* refuses (it is full or broken, or the
file is locked), every row is good and must be tried again later. If a row's *content* is refused (no column takes a
value), trying again is useless, and all other rows of the batch would wait for ever. So a batch that the disk did not
refuse is split in halves, again and again, until each bad row is alone. A bad row is put aside. If it is the record of
an activation, a plain record that tells what happened replaces it, so that the activation still has exactly one record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import msgspec
import sqlalchemy as sa

from ..core.model import FunctionKey, Profile
from . import schema
from .records import WHISK_ERROR, ActivationRecord
from .responses import encode, printable
from .verdicts import KnownVerdict

_insert = sa.insert(schema.activations)
_finish = (
    sa.update(schema.activations)
    .where(schema.activations.c.id == sa.bindparam("id_"))
    .values({name: sa.bindparam(name) for name in ActivationRecord.__struct_fields__ if name != "id"})
)
_forget = sa.delete(schema.activations).where(schema.activations.c.id == sa.bindparam("id_"))
_forget_profile = sa.delete(schema.profiles).where(schema.profiles.c.function == sa.bindparam("function_"))
_forget_verdict = sa.delete(schema.verdicts).where(schema.verdicts.c.function == sa.bindparam("function_"))


def _remembering(table: sa.Table) -> sa.Insert:
    """Stores a row about a function, but only if the function still exists. Otherwise a later function with the same
    key would inherit the row of a deleted one."""
    columns = [column for column in table.columns if column.name != "function"]
    return sa.insert(table).from_select(
        ["function", *(column.name for column in columns)],
        sa.select(schema.actions.c.key, *(sa.bindparam(column.name, type_=column.type) for column in columns)).where(
            schema.actions.c.key == sa.bindparam("function_")
        ),
    )


_remember_profile, _remember_verdict = _remembering(schema.profiles), _remembering(schema.verdicts)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An activation that was accepted and has not ended."""

    record: ActivationRecord

    def __str__(self) -> str:
        return f"the accepted activation {self.record.id}"


@dataclass(frozen=True, slots=True)
class Finished:
    """An activation that has ended. If `accepted` is true, an earlier batch has already stored a row for it."""

    record: ActivationRecord
    accepted: bool

    def __str__(self) -> str:
        return f"the record of activation {self.record.id}"


@dataclass(frozen=True, slots=True)
class Measured:
    """The measured costs of a function."""

    function: FunctionKey
    profile: Profile

    def __str__(self) -> str:
        return f"the profile of {self.function}"


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of whether a function can be forked."""

    function: FunctionKey
    known: KnownVerdict

    def __str__(self) -> str:
        return f"the verdict on {self.function}"


Row: TypeAlias = Accepted | Finished | Measured | Judged


@dataclass(slots=True)
class Result:
    """The outcome of a batch, row by row."""

    written: list[Row] = field(default_factory=list)
    put_aside: list[tuple[Row, Exception]] = field(default_factory=list)
    """Rows whose content no table takes, each with its error. For a `Finished` a plain record is stored instead."""
    left: list[Row] = field(default_factory=list)
    """Rows to be tried again, in order."""
    refusal: Exception | None = None
    """The error because of which rows are left."""


def write(engine: sa.Engine, rows: Sequence[Row]) -> Result:
    """Commit all rows in one transaction, or, when the content of some rows is refused, commit all others."""
    result = Result()
    parts = [list(rows)]
    there: set[str] = set()
    while parts:
        part = parts.pop()
        if result.refusal is not None:
            result.left += part
            continue
        try:
            with engine.begin() as connection:
                _commit(connection, part, there)
        except Exception as error:  # any error is due either to the disk or to one of these rows
            if is_refusal(error):
                result.refusal = error
                result.left += part
            elif len(part) == 1:
                _put_aside(engine, part[0], error, result)
            else:
                middle = len(part) // 2
                parts += (part[middle:], part[:middle])
        else:
            result.written += part
            there.update(row.record.id for row in part if isinstance(row, Accepted))
    return result


def is_refusal(error: BaseException) -> bool:
    """Whether the disk, the whole database or the machine caused an error, so that the rows are not to blame."""
    if isinstance(error, sa.exc.DBAPIError):
        # A plain `DatabaseError` means a damaged file. Its other subclasses than these two are about the rows.
        return isinstance(error, sa.exc.OperationalError | sa.exc.InternalError) or type(error) is sa.exc.DatabaseError
    return isinstance(error, sa.exc.TimeoutError | OSError | MemoryError)


def _commit(connection: sa.Connection, rows: Sequence[Row], there: set[str]) -> None:
    """Write some rows. `there` are the activations whose rows an earlier part of the same batch has written."""
    accepted = [row.record for row in rows if isinstance(row, Accepted)]
    finished = [row for row in rows if isinstance(row, Finished)]
    measured = {row.function: row.profile for row in rows if isinstance(row, Measured)}
    judged = {row.function: row.known for row in rows if isinstance(row, Judged)}
    there = there | {record.id for record in accepted}
    inserts = [msgspec.structs.asdict(record) for record in accepted]
    updates = []
    for row in finished:
        if row.accepted or row.record.id in there:
            updates.append(_as_update(row.record))
        else:
            inserts.append(msgspec.structs.asdict(row.record))
    if inserts:
        connection.execute(_insert, inserts)
    if updates:
        connection.execute(_finish, updates)
    if measured:
        connection.execute(_forget_profile, [{"function_": function} for function in measured])
        connection.execute(
            _remember_profile,
            [{"function_": function, **asdict(profile)} for function, profile in measured.items()],
        )
    if judged:
        connection.execute(_forget_verdict, [{"function_": function} for function in judged])
        connection.execute(
            _remember_verdict,
            [
                {
                    "function_": function,
                    "host": known.host,
                    "environment": known.environment,
                    "fit": known.verdict.fit,
                    "reason": known.verdict.reason,
                }
                for function, known in judged.items()
            ],
        )


def _put_aside(engine: sa.Engine, row: Row, error: Exception, result: Result) -> None:
    if not isinstance(row, Finished):
        result.put_aside.append((row, error))
        return
    # A row of this id may exist although the writer does not know of it, for example when a commit reported an error
    # after its last write. Then the record is sound and replaces that row. Otherwise a plain record is stored.
    for record in (row.record, _in_place_of(row.record, error)):
        try:
            with engine.begin() as connection:
                connection.execute(_forget, {"id_": record.id})
                connection.execute(_insert, msgspec.structs.asdict(record))
        except Exception as again:
            if not is_refusal(again) and record is row.record:
                continue
            # Any table takes the plain record, so a failure with the plain record cannot be about content.
            result.refusal = again
            result.left.append(row)
        else:
            if record is row.record:
                result.written.append(row)
            else:
                result.put_aside.append((row, error))
        return


def _in_place_of(record: ActivationRecord, error: Exception) -> ActivationRecord:
    """A plain record of the same activation, which any table takes and which says why the real one is missing."""
    text = f"The activation has ended, but its record could not be written as it was: {in_short(error)}."
    start_ms = record.start_ms if isinstance(record.start_ms, int) and 0 <= record.start_ms < 1 << 62 else 0
    path = printable(f"{record.namespace}/{record.name}")
    return ActivationRecord(
        id=printable(str(record.id)),
        namespace=printable(str(record.namespace)),
        name=printable(str(record.name)),
        version=printable(str(record.version)),
        start_ms=start_ms,
        end_ms=start_ms,
        duration_ms=0,
        status_code=WHISK_ERROR,
        annotations=encode([{"key": "path", "value": path}]),
        result=encode({"error": text}),
    )


def in_short(error: BaseException) -> str:
    """An error of the database in one line, without the SQL statement and its values."""
    cause = getattr(error, "orig", None) or error
    words = printable(str(cause)).partition("\n")[0][:300]
    return f"{type(cause).__name__}: {words}" if words else type(cause).__name__


def _as_update(record: ActivationRecord) -> dict[str, Any]:
    row = msgspec.structs.asdict(record)
    row["id_"] = row.pop("id")
    return row
