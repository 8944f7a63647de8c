"""Makes one run of a comparison on a live platform: deploys functions, replays calls, and reads the memory books."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rich.console import Console

from ..deployment import deploy
from ..report.records import CallRecord
from ..report.results import Run
from .live import ReplayView, Steps
from .platform import Books, Platform, Setting
from .replay import PlannedCall, replay
from .setup import Prepared

CONTAINER_MB = 2048
"""Enough for every example function: with one size for all, any container can take any function."""

_LOOK_EVERY_S = 1.0


def deploy_all(platform: Platform, functions: Sequence[Prepared], console: Console) -> None:
    """Deploy functions with containers of `CONTAINER_MB`. Raises `BadFunction` for a function that is refused."""
    with platform.client() as client:
        for each in functions:
            with Steps(console, f"deploying {each.name}") as steps:
                deploy(client, each.folder, each.weights_dir, steps, name=each.name, memory_mb=CONTAINER_MB)


def measure(
    platform: Platform, setting: Setting, calls: Sequence[PlannedCall], duration_s: float, console: Console
) -> Run:
    """Replay calls for at least `duration_s`, with progress on `console`; return records and the books' increase."""
    view = ReplayView(len(calls), duration_s)
    with platform.client() as client, view.shown(console):
        before = Books.of(client.status())

        async def look() -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            while True:
                view.books(Books.of(await asyncio.to_thread(client.status)))
                view.tick(console, loop.time() - began)
                await asyncio.sleep(_LOOK_EVERY_S)

        async def both() -> list[CallRecord]:
            looking = asyncio.create_task(look())
            try:
                return await replay(calls, platform.api_host, platform.auth, duration_s, view)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

        records = asyncio.run(both())
        books = Books.of(client.status()).since(before)
    return Run(
        setting.label,
        setting.keepalive,
        setting.preload,
        setting.templates,
        records,
        books.committed_gb_s,
        books.used_gb_s,
        books.preloads,
        setting.function_templates,
    )
