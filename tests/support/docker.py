"""Docker for the tests: it is installed and started, and images are made, once in a session.

Where that is not possible, the tests that need it are skipped and say why. With ``INSTAINFER_REQUIRE_DOCKER=1``, as in
CI, they fail.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from instainfer.backends.clock import LoopClock
from instainfer.backends.docker import images
from instainfer.backends.docker.backend import DockerBackend
from instainfer.backends.docker.engine import Engine
from instainfer.backends.docker.images import Image
from instainfer.backends.docker.settings import Mount

_SCRIPT = Path(__file__).parents[2] / "scripts" / "docker_for_tests.sh"
_BASE = "instainfer-test-base:latest"
_IMAGE = "instainfer-test:latest"
_SET_UP_S = 900.0


@functools.cache
def _set_up() -> Image | str:
    """The image of the tests, or the reason why there is none."""
    if os.geteuid() != 0:
        return "Docker is set up for tests by root only"
    done = subprocess.run(
        [_SCRIPT, _BASE],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_SET_UP_S,
    )
    if done.returncode != 0:
        return f"Docker cannot be set up: {done.stdout[-500:]}"

    async def building() -> Image:
        engine = Engine("tests")
        try:
            return await images.build(engine, _IMAGE, base=_BASE, tell=lambda text: None)
        finally:
            await engine.close()

    return asyncio.run(building())


def image() -> Image:
    """The image of the tests. Must be called outside of an event loop the first time."""
    found = _set_up()
    if isinstance(found, Image):
        return found
    if os.environ.get("INSTAINFER_REQUIRE_DOCKER") == "1":
        pytest.fail(found)
    pytest.skip(found)


def backend(*, scratch: Path, mounts: Sequence[Mount] = (), **options: Any) -> DockerBackend:
    """A backend with a node of its own, without network. Must be called in an event loop."""
    engine = Engine(f"test-{uuid.uuid4().hex[:12]}")
    return DockerBackend(LoopClock(), engine=engine, image=image(), scratch=scratch, mounts=mounts, **options)


def managers(scratch: Path) -> list[int]:
    """The process ids, on this host, of the managers of a backend's containers."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"joining" in words and any(word.startswith(os.fsencode(scratch)) for word in words):
                found.append(int(name))
    return found
