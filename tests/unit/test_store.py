"""Records on disk: what is promised when, and what happens when the disk refuses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from support.records import action, ended, on_disk, opened, running

from instainfer.controller import queries, schema
from instainfer.controller import store as store_module
from instainfer.controller.database import sqlite_engine
from instainfer.controller.queries import Filter
from instainfer.controller.records import SUCCESS, WHISK_ERROR
from instainfer.controller.store import Store, open_store
from instainfer.core.model import Profile
from instainfer.errors import HostError


def refuse(store: Store) -> None:
    """Every new connection may not let the file grow: SQLite then says that the disk is full."""
    sa.event.listen(store._engine, "connect", _no_growth)
    store._engine.dispose()


def relent(store: Store) -> None:
    sa.event.remove(store._engine, "connect", _no_growth)
    store._engine.dispose()


def _no_growth(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA max_page_count = 1")


def test_an_accepted_activation_is_on_disk_when_the_call_returns(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.accepted(running(1))
            assert on_disk(tmp_path) == {1: None}

    asyncio.run(run())


def test_many_accepted_at_once_share_their_commits(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            commits = 0

            @sa.event.listens_for(store._engine, "commit")
            def count(_: sa.Connection) -> None:
                nonlocal commits
                commits += 1

            await asyncio.gather(*(store.accepted(running(number)) for number in range(200)))
            assert on_disk(tmp_path) == dict.fromkeys(range(200))
            assert commits <= 2

    asyncio.run(run())


def test_a_finished_record_replaces_the_accepted_one(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.accepted(running(1))
            store.finished(ended(1))
        assert on_disk(tmp_path) == {1: SUCCESS}

    asyncio.run(run())


def test_accepted_and_finished_in_one_batch_is_one_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            accepting = asyncio.ensure_future(store.accepted(running(1)))
            await asyncio.sleep(0)  # it is in the queue now
            store.finished(ended(1))
            await accepting
        assert on_disk(tmp_path) == {1: SUCCESS}

    asyncio.run(run())


def test_what_was_never_accepted_is_written_by_itself_soon(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            store.finished(ended(1))
            assert [record.id for record in store.unflushed()] == [ended(1).id]
            committed = asyncio.Event()
            loop = asyncio.get_running_loop()
            sa.event.listen(store._engine, "commit", lambda _: loop.call_soon_threadsafe(committed.set))
            await committed.wait()
            await store.write(lambda _: None)  # the writer is past that commit
            assert on_disk(tmp_path) == {1: SUCCESS}

    asyncio.run(run())


def test_reads_find_what_is_not_written_yet(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            store.finished(ended(1))
            assert store.find_unflushed(ended(1).id) == ended(1)
        assert store.find_unflushed(ended(1).id) is None
        assert on_disk(tmp_path) == {1: SUCCESS}

    asyncio.run(run())


def test_a_full_disk_loses_no_finished_record_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "RETRY_S", (0.01,))

    async def run() -> None:
        async with opened(tmp_path) as store:
            refuse(store)
            for number in range(50):
                store.finished(ended(number))
            with pytest.raises(HostError, match="disk is full"):
                await store.accepted(running(99))
            status = store.status()
            assert status["unflushed"] == 50
            assert "disk is full" in status["last_error"]
            assert on_disk(tmp_path) == {}
            store.finished(ended(50))
            relent(store)
            await store.accepted(running(100))
            assert (store.status()["unflushed"], store.status()["last_error"]) == (0, None)
            measured = store.measures()
            commits, refused = measured["records_commit_seconds"][()], measured["records_commits_refused"][()]
            assert sum(commits.counts) > refused >= 1
            assert on_disk(tmp_path) == {**dict.fromkeys(range(51), SUCCESS), 100: None}

    asyncio.run(run())
    assert "50 records are not written yet" in caplog.text
    assert "records are written again" in caplog.text


@pytest.mark.parametrize(
    "error",
    [OSError("no space left"), MemoryError("no memory"), sa.exc.DatabaseError("write", None, Exception("malformed"))],
)
def test_a_write_that_the_machine_refuses_is_a_host_error(tmp_path: Path, error: Exception) -> None:
    def refused(connection: sa.Connection) -> None:
        raise error

    async def run() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(HostError, match="cannot be written"):
                await store.write(refused)

    asyncio.run(run())


def test_a_refused_acceptance_ends_in_the_record_that_follows(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            refuse(store)
            with pytest.raises(HostError):
                await store.accepted(running(1))
            relent(store)
            store.finished(ended(1))
        assert on_disk(tmp_path) == {1: SUCCESS}

    asyncio.run(run())


def test_closing_on_a_full_disk_says_how_many_records_are_lost(tmp_path: Path) -> None:
    async def run() -> None:
        store = open_store(tmp_path / "records.sqlite")
        refuse(store)
        for number in range(50):
            store.finished(ended(number))
        with pytest.raises(HostError, match="50 activation records could not be written"):
            await store.close()

    asyncio.run(run())


def test_a_failed_change_is_undone_and_raises(tmp_path: Path) -> None:
    def change(connection: sa.Connection) -> None:
        queries.save_namespace(connection, "guest", "u", b"h")
        raise LookupError

    async def run() -> None:
        async with opened(tmp_path) as store:
            with pytest.raises(LookupError):
                await store.write(change)
            assert await store.read(queries.all_namespaces) == []

    asyncio.run(run())


def test_the_end_of_the_platform_gives_what_was_open_its_record(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.accepted(running(1))
            store.finished(ended(2))
        async with opened(tmp_path) as store:
            assert await store.write(lambda connection: queries.conclude_unfinished(connection, b'{"error":"x"}')) == 1
            found = await store.read(lambda connection: queries.find_activation(connection, running(1).id))
        assert found is not None
        assert (found.status_code, found.result, found.duration_ms) == (WHISK_ERROR, b'{"error":"x"}', 0)
        assert on_disk(tmp_path) == {1: WHISK_ERROR, 2: SUCCESS}

    asyncio.run(run())


def test_profiles_are_kept_and_the_latest_counts(tmp_path: Path) -> None:
    latest = Profile().with_load(1.0, 2.0, 300).with_load(0.1, 2.5, 40, forked=True).with_run(0.5, 340)

    async def run() -> None:
        async with opened(tmp_path) as store:
            await store.write(lambda connection: queries.save_action(connection, action(), b"code", None))
            store.remember("guest/f@0.0.1", Profile())
            await store.accepted(running(1))
            store.remember("guest/f@0.0.1", latest)
        async with opened(tmp_path) as store:
            assert await store.read(queries.all_profiles) == {"guest/f@0.0.1": latest}

    asyncio.run(run())


def test_lists_are_filtered_sorted_and_bounded(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path) as store:
            for number in range(6):
                store.finished(ended(number, name="even" if number % 2 == 0 else "odd"))
            await store.accepted(running(99, start_ms=0))

            async def numbers(count: int = 10, **wanted: Any) -> list[int]:
                chosen = Filter(namespace="guest", **wanted)
                found = await store.read(lambda connection: queries.newest_activations(connection, chosen, count))
                return [int(record.id, 16) for record in found]

            assert await numbers() == [5, 4, 3, 2, 1, 0, 99]
            assert await numbers(2) == [5, 4]
            assert await numbers(name="even") == [4, 2, 0]
            assert await numbers(since_ms=1002, upto_ms=1004) == [4, 3, 2]
            chosen = Filter(namespace="guest", name="odd")
            besides = [ended(number).id for number in (1, 2)] + [f"{number:032x}" for number in range(1000, 1700)]
            counted = await store.read(lambda connection: queries.count_activations(connection, chosen, besides))
            assert counted == 2

    asyncio.run(run())


def test_one_home_has_one_platform(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path):
            with pytest.raises(HostError, match="another InstaInfer is running"):
                open_store(tmp_path / "records.sqlite")
        async with opened(tmp_path):
            pass

    asyncio.run(run())


def test_records_of_a_newer_layout_are_refused(tmp_path: Path) -> None:
    async def run() -> None:
        async with opened(tmp_path):
            pass
        engine = sqlite_engine(tmp_path / "records.sqlite")
        with engine.begin() as connection:
            connection.execute(sa.update(schema.meta).values(schema_version=schema.SCHEMA_VERSION + 1))
        engine.dispose()
        with pytest.raises(
            HostError, match=f"layout {schema.SCHEMA_VERSION + 1}, this InstaInfer reads {schema.SCHEMA_VERSION}"
        ):
            open_store(tmp_path / "records.sqlite")

    asyncio.run(run())


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "records.sqlite").write_bytes(b"this is not a database, whatever its name says" * 50)

    async def run() -> None:
        with pytest.raises(HostError, match="file is not a database"):
            open_store(tmp_path / "records.sqlite")

    asyncio.run(run())


def test_commits_survive_a_power_cut(tmp_path: Path) -> None:
    """Durable at commit: synchronous=FULL (2) on a write-ahead log."""

    async def run() -> None:
        async with opened(tmp_path) as store:
            pragmas = await store.write(
                lambda connection: (
                    connection.exec_driver_sql("PRAGMA synchronous").scalar(),
                    connection.exec_driver_sql("PRAGMA journal_mode").scalar(),
                )
            )
            assert pragmas == (2, "wal")

    asyncio.run(run())
