"""Plays the scenes of the backends' contract on a stage of each backend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from backend_stages import STAGES, Play, Stage
from support import docker


@pytest.fixture(params=STAGES)
def play(request: pytest.FixtureRequest, tmp_path: Path) -> Play:
    """Play a scene on a stage of each backend."""
    if request.param == "docker":
        docker.image()

    def playing(scene: Callable[[Stage[Any]], Awaitable[None]]) -> None:
        async def performance() -> None:
            async with STAGES[request.param](tmp_path) as stage:
                await scene(stage)
            moments = [event.at for event in stage.events]
            assert moments == sorted(moments)

        asyncio.run(performance())

    return playing
