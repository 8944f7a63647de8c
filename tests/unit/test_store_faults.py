"""What no row may do to the others: bad content is put aside, a dead writer is no secret, old layouts are taken up."""

from __future__ import annotations

import asyncio
import json
import math
import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from support.records import action, ended, on_disk, opened, running

from instainfer.controller import batches, queries, schema
from instainfer.controller import store as store_module
from instainfer.controller.batches import Accepted, Finished, write
from instainfer.controller.database import open_database, sqlite_engine
from instainfer.controller.profiles import unsound
from instainfer.controller.records import SUCCESS, WHISK_ERROR, ActivationRecord
from instainfer.controller.store import open_store
from instainfer.controller.verdicts import KnownVerdict
from instainfer.core.model import Profile, Verdict
from instainfer.errors import HostError, InternalError

SOUND = Profile().with_load(1.0, 2.0, 300).with_run(0.5)
BAD_CONTENT: dict[str, dict[str, Any]] = {
    "a lone surrogate": {"version": "\ud800"},
    "more than 64 bits": {"duration_ms": 1 << 70},
    "nothing where something must be": {"annotations": None},
    "text where bytes must be": {"result": "text"},
    "something that is no value at all": {"status_code": object()},
    "a list": {"logs": ["a"]},
}


def bad(number: int, change: dict[str, Any]) -> ActivationRecord:
    return msgspec.structs.replace(ended(number), **change)


@pytest.mark.parametrize("change", BAD_CONTENT.values(), ids=BAD_CONTENT)
def test_a_bad_record_keeps_nobody_waiting_and_is_replaced_by_one_that_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, change: dict[str, Any]
) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.accepted(running(3))
            for number in range(8):
                store.finished(bad(number, change) if number in (3, 5) else ended(number))
            await asyncio.wait_for(store.accepted(running(99)), 30)
            assert (store.status()["unflushed"], store.status()["put_aside"]) == (0, 2)
            for number in (3, 5):
                id_ = ended(number).id
                found = await store.read(lambda connection, id_=id_: queries.find_activation(connection, id_))
                assert found is not None
                assert "could not be written as it was" in json.loads(found.result or b"")["error"]
        status = {**dict.fromkeys(range(8), SUCCESS), 3: WHISK_ERROR, 5: WHISK_ERROR, 99: None}
        assert on_disk(tmp_path) == status

    asyncio.run(run())
    assert f"the record of activation {ended(3).id} is put aside" in caplog.text


@pytest.mark.parametrize("change", BAD_CONTENT.values(), ids=BAD_CONTENT)
def test_an_acceptance_that_no_table_takes_is_refused_alone(tmp_path: Path, change: dict[str, Any]) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            wrong = msgspec.structs.replace(running(1), **change)
            answers = await asyncio.wait_for(
                asyncio.gather(
                    *(store.accepted(record) for record in (running(0), wrong, running(2))), return_exceptions=True
                ),
                30,
            )
            assert [type(answer) for answer in answers] == [type(None), InternalError, type(None)]
            assert "report it" in str(answers[1])
        assert on_disk(tmp_path) == {0: None, 2: None}

    asyncio.run(run())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([None, *BAD_CONTENT])), max_size=30))
def test_whatever_is_bad_each_activation_ends_in_exactly_one_record(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[bool, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    engine = sqlite_engine(folder / "records.sqlite")
    try:
        schema.metadata.create_all(engine)
        rows: list[batches.Row] = [Accepted(running(n)) for n, (accepted, _) in enumerate(drawn) if accepted]
        for number, (_, change) in enumerate(drawn):
            rows.append(Finished(bad(number, BAD_CONTENT[change]) if change else ended(number), False))
        result = write(engine, rows)
    finally:
        engine.dispose()
    assert (result.left, result.refusal) == ([], None)
    assert len(result.written) + len(result.put_aside) == len(rows)
    expected = {number: WHISK_ERROR if change else SUCCESS for number, (_, change) in enumerate(drawn)}
    assert on_disk(folder) == expected


def test_a_record_whose_row_is_there_already_takes_its_place(tmp_path: Path) -> None:
    """A commit can fail after all was written; then nobody knows of the row."""

    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.accepted(running(1))
            store._on_disk.clear()
            store.finished(ended(1))
            store.finished(ended(2))
            await store.accepted(running(3))
            assert store.status()["put_aside"] == 0
        assert on_disk(tmp_path) == {1: SUCCESS, 2: SUCCESS, 3: None}

    asyncio.run(run())


def test_a_record_that_is_finished_twice_does_not_end_the_writer(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            store.finished(ended(1))
            store.finished(ended(1))
            await asyncio.wait_for(store.accepted(running(2)), 30)
        assert on_disk(tmp_path) == {1: SUCCESS, 2: None}

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong",
    [
        {"compute_s": math.nan},
        {"library_s": math.inf},
        {"model_s": -1.0},
        {"resident_bytes": 1 << 63},
        {"runs": True},
        {"loads": 1.5},
        {"fork_s": "soon"},
        {"forked_bytes": None},
    ],
    ids=str,
)
def test_a_profile_that_cannot_be_true_is_not_kept_and_stops_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda connection: queries.save_action(connection, action(), b"code", None))
            assert store.remember(action().key, SOUND)
            assert not store.remember(action().key, replace(SOUND, **wrong))
            await asyncio.wait_for(store.accepted(running(1)), 30)
            assert await store.read(queries.all_profiles) == {action().key: SOUND}

    asyncio.run(run())
    assert f"what was measured of {action().key} is not kept" in caplog.text


def test_a_bad_profile_that_reaches_the_writer_is_put_aside(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda connection: queries.save_action(connection, action(), b"code", None))
            store._profiles[action().key] = replace(SOUND, compute_s=math.nan)
            await asyncio.wait_for(store.accepted(running(1)), 30)
            assert (store.status()["put_aside"], store.status()["last_error"]) == (1, None)

    asyncio.run(run())


def test_a_stored_profile_that_cannot_be_true_is_passed_over_at_start(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            for name in ("f", "g"):
                await store.write(lambda c, name=name: queries.save_action(c, action(name), b"code", None))
                store.remember(action(name).key, SOUND)
        connection = sqlite3.connect(tmp_path / "records.sqlite")
        connection.execute("UPDATE profiles SET model_s = 9e999 WHERE function = ?", (action("f").key,))
        connection.commit()
        connection.close()
        async with opened(tmp_path) as store:
            assert await store.read(queries.all_profiles) == {action("g").key: SOUND}

    asyncio.run(run())


def test_sound_profiles_are_sound() -> None:
    assert unsound(Profile()) is None
    assert unsound(SOUND.with_load(1e9, 0.0, 1 << 50, forked=True)) is None


# profiles and their functions


def test_what_is_measured_of_a_deleted_function_is_nobodys(tmp_path: Path) -> None:
    """A later function of the same key took an orphan's profile for its own."""

    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda connection: queries.save_action(connection, action(), b"code", None))
            store.remember(action().key, SOUND)
            await store.accepted(running(1))
            await store.write(lambda connection: queries.delete_action(connection, action()))
            store.remember(action().key, SOUND)
            await store.accepted(running(2))
        async with opened(tmp_path) as store:
            await store.write(lambda connection: queries.save_action(connection, action(), b"code", None))
            assert await store.read(queries.all_profiles) == {}
            assert store.status()["put_aside"] == 0

    asyncio.run(run())


def test_a_verdict_is_kept_until_its_function_goes_and_the_latest_counts(tmp_path: Path) -> None:
    fit, unfit = (KnownVerdict(Verdict(*values), "host 6.1", "env-1") for values in ((True,), (False, "a thread")))

    def save(connection: sa.Connection) -> None:
        for name in ("f", "g"):
            queries.save_action(connection, action(name), b"code", None)

    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.write(save)
            for key in (action("f").key, action("g").key, "guest/unknown@0.0.1"):
                store.judged(key, fit)
        async with opened(tmp_path) as store:
            store.judged(action("g").key, unfit)
            await store.write(lambda connection: queries.delete_action(connection, action("f")))
        async with opened(tmp_path) as store:
            assert await store.read(queries.all_verdicts) == {action("g").key: unfit}

    asyncio.run(run())


def test_a_profile_goes_with_its_function(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            for name in ("f", "g"):
                await store.write(lambda c, name=name: queries.save_action(c, action(name), b"code", None))
                store.remember(action(name).key, SOUND)
            await store.accepted(running(1))
            newer = action(version="0.0.2")
            await store.write(lambda connection: queries.save_action(connection, newer, None, action()))
            assert await store.read(queries.all_profiles) == {action("g").key: SOUND}

    asyncio.run(run())


# the writer


def test_a_writer_that_died_is_said_and_nobody_hangs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def run() -> None:
        store = open_store(tmp_path / "records.sqlite")
        await store.accepted(running(1))
        waiting = asyncio.ensure_future(store.accepted(running(2)))
        await asyncio.sleep(0)  # it is in the queue now
        store._task.cancel()
        with pytest.raises(HostError, match="not written any more"):
            await asyncio.wait_for(waiting, 30)
        with pytest.raises(HostError, match="start it again"):
            await store.accepted(running(3))
        assert "not written any more" in store.status()["last_error"]
        store.finished(ended(1))
        with pytest.raises(HostError, match="1 activation records could not be written"):
            await store.close()

    asyncio.run(run())
    assert "CRITICAL" in caplog.text


def test_a_bug_in_the_writer_is_like_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", (0.01,))
    luck = iter([True, False])

    def unlucky(engine: sa.Engine, rows: Any) -> Any:
        if next(luck, False):
            raise ZeroDivisionError
        return write(engine, rows)

    monkeypatch.setattr(store_module, "write", unlucky)

    async def run() -> None:
        async with opened(tmp_path) as store:
            store.finished(ended(1))
            with pytest.raises(HostError, match="cannot be written"):
                await store.accepted(running(2))
            await store.accepted(running(3))
        assert on_disk(tmp_path) == {1: SUCCESS, 3: None}

    asyncio.run(run())
    assert "failed in an unexpected way" in caplog.text


def test_memory_is_bounded_while_the_disk_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was promised is kept; the oldest records of calls that have had their answers go."""
    monkeypatch.setattr(store_module, "RETRY_S", (60.0,))
    monkeypatch.setattr(store_module, "MOST_UNFLUSHED_BYTES", 4 * store_module._weight_bytes(ended(1)))
    full = sa.exc.OperationalError("", None, sqlite3.OperationalError("database or disk is full"))

    async def run() -> None:
        store = open_store(tmp_path / "records.sqlite")
        await store.accepted(running(0))
        monkeypatch.setattr(store_module, "write", lambda _, rows: batches.Result(left=list(rows), refusal=full))
        for number in range(10):
            store.finished(ended(number))
        with pytest.raises(HostError, match="disk is full"):
            await store.accepted(running(99))
        assert store.status()["dropped"] == 6
        assert [int(record.id, 16) for record in store.unflushed()] == [0, 7, 8, 9]
        monkeypatch.setattr(store_module, "write", write)
        await store.accepted(running(100))
        await store.close()
        assert on_disk(tmp_path) == {0: SUCCESS, 7: SUCCESS, 8: SUCCESS, 9: SUCCESS, 100: None}

    asyncio.run(run())


def test_after_an_outage_new_calls_do_not_wait_for_all_that_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "MOST_AT_ONCE", 10)
    sizes: list[int] = []

    def counting(engine: sa.Engine, rows: Any) -> Any:
        sizes.append(len(rows))
        return write(engine, rows)

    monkeypatch.setattr(store_module, "write", counting)

    async def run() -> None:
        async with opened(tmp_path) as store:
            for number in range(95):
                store.finished(ended(number))
        assert len(on_disk(tmp_path)) == 95
        assert max(sizes) == 10

    asyncio.run(run())


# layouts

OLD = Path(__file__).parent


@pytest.mark.parametrize(("layout", "profiles"), [(2, 2), (3, 1), (4, 1), (5, 1), (6, 1), (7, 1)])
def test_records_of_older_layouts_are_taken_over(tmp_path: Path, layout: int, profiles: int) -> None:
    """The file was written by the platform of that layout, and dumped."""
    path = tmp_path / "records.sqlite"
    old = sqlite3.connect(path)
    old.executescript((OLD / f"records_layout_{layout}.sql").read_text(encoding="utf-8"))
    tables = ("namespaces", "code", "actions", "activations", *(("secrets",) if layout >= 6 else ()))
    rows = {table: _rows(old, table) for table in tables}
    profile = old.execute("SELECT * FROM profiles WHERE function = 'guest/kept@0.0.2'").fetchall()
    assert old.execute("SELECT count(*) FROM profiles").fetchone() == (profiles,)
    old.close()

    engine, lock_fd = open_database(path)
    engine.dispose()
    os.close(lock_fd)

    new = sqlite3.connect(path)
    assert new.execute("SELECT schema_version FROM meta").fetchall() == [(schema.SCHEMA_VERSION,)]
    for table, expected in rows.items():
        assert expected
        # What there was before layout 8 is in no package, and no sequence or part of one.
        none = {"actions": {"components": None}, "activations": {"cause": None}}.get(table, {})
        added = {"package": "", **none} if table in ("actions", "activations", "secrets") else {}
        assert _rows(new, table) == [{**row, **added} for row in expected]
    # The orphan must be gone, the other not. Before layout 5 nothing is known of its peak.
    peak = () if layout >= 5 else (0,)
    assert new.execute("SELECT * FROM profiles").fetchall() == [(*row, *peak) for row in profile]
    verdict = [("guest/kept@0.0.2", "host 6.1", "env-1", 1, "")]
    assert new.execute("SELECT * FROM verdicts").fetchall() == (verdict if layout >= 7 else [])
    assert new.execute("SELECT count(*) FROM secrets").fetchone() == (1 if layout >= 6 else 0,)
    # Only the function of layout 6 has weights. Its namespace may go on using them.
    weights = [("guest", "sha256:" + "ab" * 32)] if layout >= 6 else []
    assert new.execute("SELECT * FROM uploads").fetchall() == weights
    assert new.execute("PRAGMA foreign_key_check").fetchall() == []
    assert new.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    fresh = sqlite3.connect(":memory:")
    for statement in _made_anew(tmp_path / "fresh.sqlite"):
        fresh.execute(statement)
    assert _structure(new) == _structure(fresh)
    new.close()
    fresh.close()


def _rows(connection: sqlite3.Connection, table: str) -> list[dict[str, Any]]:
    """The rows of a table, each with its columns by name."""
    found = connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _made_anew(path: Path) -> list[str]:
    engine = sqlite_engine(path)
    schema.metadata.create_all(engine)
    with engine.connect() as connection:
        statements = [row[0] for row in connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE sql NOT NULL")]
    engine.dispose()
    return statements


def _structure(connection: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """Columns, foreign keys and indexes of every table."""
    found: set[tuple[Any, ...]] = set()
    for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        for pragma in ("table_info", "foreign_key_list", "index_list"):
            rows = connection.execute(f"PRAGMA {pragma}({table})").fetchall()
            found.update((table, pragma, *row[1:]) for row in rows)
    return found
