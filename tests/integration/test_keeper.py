"""The keeper: nothing in a container outlives its manager, whatever it did to leave, and however the manager ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from support.process_world import alive, asynchronous, ended, outside, world

from instainfer.backends import process_manager
from instainfer.backends.layers import layers
from instainfer.backends.managed import ManagedContainer
from instainfer.core.events import ContainerGone
from instainfer.runtime.layers import NAMESPACES
from instainfer.runtime.memory import children, family

DESERTERS = """
import subprocess
programs = ["sleep 1000", "setsid sleep 1000 & wait"]
left = [subprocess.Popen(["/bin/sh", "-c", p], start_new_session=True, env={}, cwd="/") for p in programs]
def main(args):
    return {"pids": [process.pid for process in left]}
"""
"""Its processes have sessions of their own, and nothing in them says to which container they belong."""


def kill_manager(keeper: int, container: ManagedContainer) -> None:
    (manager,) = children(keeper)
    os.kill(manager, signal.SIGKILL)


def kill_stopped(keeper: int, container: ManagedContainer) -> None:
    """The platform ends a container whose manager and keeper do nothing any more."""
    for pid in (keeper, *children(keeper)):
        os.kill(pid, signal.SIGSTOP)
    container.kill()


def tell_keeper(keeper: int, container: ManagedContainer) -> None:
    """As the kernel does when the platform has died."""
    os.kill(keeper, signal.SIGTERM)


@pytest.fixture(params=["own namespaces", "as it is"])
def closing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How a container is closed off, where the host gives it what it takes."""
    if request.param == "as it is":
        monkeypatch.setattr(process_manager, "layers", lambda: {NAMESPACES: "not wanted in this test"})
    elif reason := layers()[NAMESPACES]:
        pytest.skip(reason)
    how: str = request.param
    return how


@pytest.mark.usefixtures("closing")
@pytest.mark.parametrize(
    ("end", "how"),
    [
        (kill_manager, "was killed by SIGKILL"),
        (kill_stopped, "was killed by SIGKILL"),
        (tell_keeper, "ended with exit code 0"),
    ],
)
@asynchronous
async def test_nothing_outlives_the_manager(
    tmp_path: Path, end: Callable[[int, ManagedContainer], None], how: str
) -> None:
    async with world(tmp_path, allow_shared_uid=True) as w:
        container = await w.container()
        _, result = await w.run(container, w.function(DESERTERS))
        (keeper,) = children(os.getpid())
        below = set(family([keeper])) - {keeper}
        (manager,) = children(keeper)
        assert below > set(outside(manager, *result["pids"]))
        end(keeper, container)
        gone = await w.wait_for(ContainerGone)
        assert gone.failure is not None
        assert how in gone.failure.message
        assert alive([keeper, *below]) == []
        assert children(os.getpid()) == []


@asynchronous
async def test_a_neighbour_is_left_alone(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        container, other = await w.container(), await w.container()
        keeper, _ = sorted(children(os.getpid()))
        f = w.function("import os\ndef main(args): return {'pid': os.getpid()}", "f")
        _, before = await w.run(other, f, "a1")
        kill_manager(keeper, container)
        assert (await w.wait_for(ContainerGone)).container == container.id
        await ended(keeper)
        _, after = await w.run(other, f, "a2")
        assert after == before
