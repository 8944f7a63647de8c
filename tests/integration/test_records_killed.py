"""A platform is killed in the middle of writing: what it had accepted ends in exactly one record."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.records import on_disk, opened

from instainfer.controller import queries
from instainfer.controller.records import SUCCESS, WHISK_ERROR

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("lines", [1, 4, 9, 25])
def test_whatever_was_accepted_ends_in_one_record(tmp_path: Path, lines: int) -> None:
    writing = subprocess.Popen(
        [sys.executable, str(TESTS / "support" / "writes_until_killed.py"), str(tmp_path / "records.sqlite")],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        stdout=subprocess.PIPE,
        text=True,
    )
    promised: list[int] = []
    assert writing.stdout is not None
    with writing.stdout:
        try:
            for _ in range(lines):
                promised += map(int, writing.stdout.readline().split())
        finally:
            writing.kill()
        promised += map(int, writing.stdout.read().split())
    writing.wait()
    assert len(promised) >= 7 * lines

    async def conclude() -> int:
        async with opened(tmp_path) as store:
            return await store.write(lambda connection: queries.conclude_unfinished(connection, b'{"error":"x"}'))

    before = on_disk(tmp_path)
    concluded = asyncio.run(conclude())
    after = on_disk(tmp_path)  # the id is the primary key: none can have two
    assert set(promised) <= set(after)
    assert concluded == sum(status is None for status in before.values())
    assert set(after.values()) <= {SUCCESS, WHISK_ERROR}
    assert all(status == SUCCESS for number, status in after.items() if before[number] == SUCCESS)
    assert all(after[number] == WHISK_ERROR for number in promised if number % 3 == 0)
