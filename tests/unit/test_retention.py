"""Which records are kept: by age, number and size, for each namespace, and never one that has not ended."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from support.records import ended, on_disk, opened, running

from instainfer.config import RetentionConfig
from instainfer.controller import retention
from instainfer.controller.database import open_database
from instainfer.core.model import MIB

KEEP_ALL = {"records_max_age_s": 0, "records_max_count": 0, "records_max_mb": 0}
NOW_MS = 10_000_000


def sized(number: int, size_bytes: int) -> Any:
    return msgspec.structs.replace(ended(number), logs=b"x" * size_bytes)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        ({}, range(20)),
        # `ended(n)` began at 1000 + n ms.
        ({"records_max_age_s": (NOW_MS - 1005) / 1000}, range(5, 20)),
        ({"records_max_count": 4}, range(16, 20)),
        ({"records_max_count": 20}, range(20)),
        ({"records_max_count": 21}, range(20)),
        ({"records_max_count": 4, "records_max_age_s": (NOW_MS - 1018) / 1000}, (18, 19)),
    ],
    ids=str,
)
def test_what_is_kept(tmp_path: Path, rules: dict[str, Any], kept: Any) -> None:
    chosen = RetentionConfig(**{**KEEP_ALL, **rules})

    async def run() -> None:
        async with opened(tmp_path) as store:
            for number in range(20):
                store.finished(ended(number))
            await store.accepted(running(1000, start_ms=1))
            (namespace,) = await store.read(retention.namespaces_with_records)
            before = await store.read(lambda c: retention.oldest_to_keep_ms(c, namespace, chosen, NOW_MS))
            count, _ = await store.read(lambda c: retention.count_before(c, namespace, before))
            assert count == 20 - len(kept)
            await store.write(lambda c: retention.remove_some(c, namespace, before))
        assert set(on_disk(tmp_path)) == {*kept, 1000}, "what has not ended stays, however old"

    asyncio.run(run())


def test_size_is_of_the_newest_with_their_logs(tmp_path: Path) -> None:
    chosen = RetentionConfig(**{**KEEP_ALL, "records_max_mb": 3})

    async def run() -> None:
        async with opened(tmp_path) as store:
            for number in range(6):
                store.finished(sized(number, MIB - 20_000))
            await store.accepted(running(99))
            before = await store.read(lambda c: retention.oldest_to_keep_ms(c, "guest", chosen, NOW_MS))
            await store.write(lambda c: retention.remove_some(c, "guest", before))
        assert set(on_disk(tmp_path)) == {4, 5, 99} | {3}

    asyncio.run(run())


def test_namespaces_are_counted_apart_and_a_few_go_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "MOST_AT_ONCE", 7)
    chosen = RetentionConfig(**{**KEEP_ALL, "records_max_count": 10})

    async def run() -> None:
        async with opened(tmp_path) as store:
            for number in range(40):
                record = ended(number)
                store.finished(record if number < 30 else msgspec.structs.replace(record, namespace="other"))
            await store.accepted(running(99))
            removed = []
            for namespace in await store.read(retention.namespaces_with_records):
                before = await store.read(
                    lambda c, name=namespace: retention.oldest_to_keep_ms(c, name, chosen, NOW_MS)
                )
                while some := await store.write(
                    lambda c, name=namespace, ms=before: retention.remove_some(c, name, ms)
                ):
                    removed.append(some)
            assert removed == [7, 7, 7]  # the running one counts as one of the ten newest
        assert set(on_disk(tmp_path)) == {*range(21, 40), 99}

    asyncio.run(run())


def test_room_is_used_again_and_given_back_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "records.sqlite"

    async def fill(numbers: range) -> None:
        async with opened(tmp_path) as store:
            for number in numbers:
                store.finished(sized(number, 50_000))

    async def empty() -> None:
        async with opened(tmp_path) as store:
            while await store.write(lambda c: retention.remove_some(c, "guest", NOW_MS)):
                pass

    asyncio.run(fill(range(100)))
    peak = path.stat().st_size
    for _ in range(3):
        asyncio.run(empty())
        asyncio.run(fill(range(100)))
    assert path.stat().st_size <= peak * 1.05
    asyncio.run(empty())
    engine, lock_fd = open_database(path)
    with engine.connect() as connection:
        assert retention.free_bytes(connection) > peak / 2
    retention.compact(engine)
    with engine.connect() as connection:
        assert retention.free_bytes(connection) == 0
        assert connection.execute(sa.text("PRAGMA integrity_check")).scalar() == "ok"
    engine.dispose()
    os.close(lock_fd)
    assert path.stat().st_size < peak / 10
