"""Records for tests of the store: activations and actions by number, and what another process sees of them."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from instainfer.controller.paths import EntityPath
from instainfer.controller.records import SUCCESS, Action, ActionLimits, ActivationRecord, AskedLimits
from instainfer.controller.store import Store, open_store

BULKY = b'["%b"]' % (b"x" * 8192)
"""Annotations that need pages of their own."""


def running(number: int, name: str = "f", start_ms: int | None = None) -> ActivationRecord:
    return ActivationRecord(
        id=f"{number:032x}",
        namespace="guest",
        name=name,
        version="0.0.1",
        start_ms=1000 + number if start_ms is None else start_ms,
        annotations=BULKY,
    )


def ended(number: int, name: str = "f") -> ActivationRecord:
    return ActivationRecord(
        id=f"{number:032x}",
        namespace="guest",
        name=name,
        version="0.0.1",
        start_ms=1000 + number,
        end_ms=1010 + number,
        duration_ms=10,
        status_code=SUCCESS,
        annotations=BULKY,
        result=b'{"n":%d}' % number,
    )


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = open_store(folder / "records.sqlite")
    try:
        yield store
    finally:
        await store.close()


def on_disk(folder: Path) -> dict[int, int | None]:
    """Number and status of each activation, as another process sees them now."""
    connection = sqlite3.connect(folder / "records.sqlite")
    try:
        return {int(id_, 16): status for id_, status in connection.execute("SELECT id, status_code FROM activations")}
    finally:
        connection.close()


def action(name: str = "f", version: str = "0.0.1", updated_ms: int = 1, code_digest: str = "d") -> Action:
    return Action(
        path=EntityPath("guest", None, name),
        version=version,
        key=f"guest/{name}@{version}",
        updated_ms=updated_ms,
        publish=False,
        kind="python:3",
        main=None,
        binary=False,
        code_digest=code_digest,
        parameters=[],
        annotations=[],
        asked=AskedLimits(),
        limits=ActionLimits(timeout=1000, memory=256, logs=1),
    )
