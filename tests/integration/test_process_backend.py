"""Containers of the process backend: their beginnings and their ends, wanted or not."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import uvloop
from support.process_world import PATIENCE_S, Gate, alive, ended, managers, outside, world

from instainfer.backends.clock import ManualClock
from instainfer.core.events import ContainerGone, ContainerStarted, ContainerStartFailed, LoadFinished
from instainfer.core.model import MIB, FailureKind
from instainfer.runtime.memory import children

PIDS = """
import os, subprocess
follower = subprocess.Popen(["sleep", "1000"])
deserter = subprocess.Popen(["sleep", "1000"], start_new_session=True)
def main(args):
    if args: open("gate").read()
    return [os.getpid(), follower.pid, deserter.pid]
"""


def keepers() -> list[int]:
    return children(os.getpid())


def script(path: Path, text: str) -> Path:
    """An executable that stands in for an interpreter."""
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_container_starts_serves_and_stops(tmp_path: Path, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            assert w.backend.used_bytes() > 1 * MIB
            (manager,) = managers()
            _, result = await w.run(container, w.function(PIDS))
            pids = outside(manager, *result)
            assert alive([manager, *pids]) == [manager, *pids]
            gone = await w.stop(container)
            assert gone.failure is None
            assert alive([manager, *pids]) == []
            assert w.backend.used_bytes() == 0
            await container.ended.wait()
            assert os.listdir(tmp_path / "scratch") == []
            container.stop()
        assert w.kinds(start=0) == ["ContainerStarted", "LoadFinished", "RunFinished", "ContainerGone"]

    run(scenario())


def test_stopping_ends_work_in_progress_without_another_word(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(PIDS)
            gate = Gate(f)
            _, result = await w.run(container, f)
            pids = outside(*managers(), *result)
            w.ask(container, f, "a2", {"wait": True})
            await gate.reached()
            assert (await w.stop(container)).failure is None
            gate.open()
            assert alive(pids) == []
            assert w.kinds(start=3) == ["ContainerGone"]

    asyncio.run(scenario())


def test_a_container_can_be_stopped_before_it_has_started(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            at_once = w.start()
            at_once.stop()
            await w.wait_for(ContainerGone)
            assert w.kinds(start=0) == ["ContainerGone"]
            assert keepers() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("stand_in", "says"),
    [
        ("#!/bin/sh\necho no interpreter here >&2\nexit 3\n", "ended with exit code 3: no interpreter here"),
        ("#!/bin/sh\nkill -ABRT $$\n", "was killed by SIGABRT"),
        ("#!/no/such/shell\n", "cannot be started"),
        (None, "cannot be started"),
    ],
)
def test_a_container_that_cannot_start_says_why_and_leaves_nothing(
    tmp_path: Path, stand_in: str | None, says: str
) -> None:
    python = tmp_path / "python"
    if stand_in is not None:
        script(python, stand_in)

    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            container = w.start()
            failed = await w.wait_for(ContainerStartFailed)
            assert failed.container == container.id
            assert failed.failure.kind is FailureKind.CONTAINER_START_FAILED
            assert says in failed.failure.message
            await container.ended.wait()
            assert keepers() == []
            assert os.listdir(tmp_path / "scratch") == []
            assert w.kinds(start=0) == ["ContainerStartFailed"]

    asyncio.run(scenario())


def test_a_container_that_does_not_report_in_time_is_ended_with_all_it_started(tmp_path: Path) -> None:
    python = script(tmp_path / "python", "#!/bin/sh\nsleep 1000 &\necho $! > ../../pid\nsleep 1000\n")
    os.mkfifo(tmp_path / "pid")

    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            clock = ManualClock()
            w.backend.clock = clock
            w.start()
            pid = int(await asyncio.to_thread((tmp_path / "pid").read_text))
            (manager,) = keepers()
            assert alive([pid]) == [pid]
            clock.advance(w.backend.start_timeout_s)
            failed = await w.wait_for(ContainerStartFailed)
            assert "did not report within 30 s" in failed.failure.message
            assert alive([manager]) == []
            await ended(pid)

    asyncio.run(scenario())


def test_what_is_no_manager_is_ended(tmp_path: Path) -> None:
    talk = (
        "import os, sys; os.write(int(sys.argv[5]), b'HTTP/1.1 200 OK'); sys.stdin.read(); import time; time.sleep(99)"
    )
    python = script(tmp_path / "python", f"#!{sys.executable}\n{talk}\n")

    async def scenario() -> None:
        async with world(tmp_path, python) as w:
            w.start()
            failed = await w.wait_for(ContainerStartFailed)
            assert "does not keep to the protocol: a header of 791752241 bytes" in failed.failure.message

    asyncio.run(scenario())


def test_a_container_whose_manager_dies_is_lost_and_nothing_of_it_survives(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            f = w.function(PIDS)
            gate = Gate(f)
            _, result = await w.run(container, f)
            (manager,) = managers()
            pids = outside(manager, *result)
            w.ask(container, f, "a2", {"wait": True})
            await gate.reached()
            os.kill(manager, signal.SIGKILL)
            gone = await w.wait_for(ContainerGone)
            assert gone.failure is not None
            assert gone.failure.kind is FailureKind.CONTAINER_LOST
            assert "was killed by SIGKILL" in gone.failure.message
            for pid in pids:
                await ended(pid)
            assert alive([manager]) == []
            gate.open()
            assert w.kinds() == ["LoadFinished", "RunFinished", "ContainerGone"]
            container.load(f)
            container.stop()

    asyncio.run(scenario())


def test_a_manager_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            clock = ManualClock()
            w.backend.clock = clock
            container = await w.container()
            (manager,) = managers()
            os.kill(manager, signal.SIGSTOP)
            container.stop()
            clock.advance(4.9)
            assert alive([manager]) == [manager]
            clock.advance(0.2)
            assert (await w.wait_for(ContainerGone)).failure is None
            assert alive([manager]) == []

    asyncio.run(scenario())


def test_closing_ends_everything_and_reports_nothing_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            first, second = w.start(), w.start()
            for container in (first, second):
                await w.wait_for(ContainerStarted, lambda event, c=container: event.container == c.id)
            starting = w.start()
            first.load(w.function(PIDS))
            await w.wait_for(LoadFinished)
            told = w.told
            await w.backend.close()
            assert keepers() == []
            assert w.told == told
            assert starting.ended.is_set()
            await w.backend.close()

    asyncio.run(scenario())


INVOKER = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from support.process_world import managers, outside, world

async def main():
    async with world(Path({folder!r})) as w:
        container = await w.container()
        ran, pids = await w.run(container, w.function({pids!r}))
        print(*managers(), *outside(*managers(), *pids), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_when_the_invoker_dies_nothing_survives(tmp_path: Path) -> None:
    code = textwrap.dedent(INVOKER).format(here=str(Path(__file__).parents[1]), folder=str(tmp_path), pids=PIDS)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as invoker:
        assert invoker.stdout is not None
        pids = [int(pid) for pid in invoker.stdout.readline().split()]
        assert len(alive(pids)) == 4
        invoker.kill()

        async def scenario() -> None:
            async with asyncio.timeout(PATIENCE_S):
                for pid in pids:
                    await ended(pid)

        asyncio.run(scenario())
