"""Background loads yield the processor, and get it back when a call joins them or they are done."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from support.process_world import Gate, managers, world

from instainfer.core.events import LoadFinished, ResidentGone
from instainfer.runtime.linux import CAP_SYS_NICE, has_capability
from instainfer.runtime.memory import children
from instainfer.wire.messages import COMMANDS, Run

LOW, NORMAL = 19, 0

CODE = """
import threading
started, done = threading.Event(), threading.Event()
def wait():
    started.set()
    done.wait()
thread = threading.Thread(target=wait, daemon=True)
thread.start()
started.wait()
open("gate").read()
def main(args): return {}
"""


def nice_of_all(pids: list[int]) -> set[int]:
    """The priorities of all threads of these processes."""
    return {os.getpriority(os.PRIO_PROCESS, int(tid)) for pid in pids for tid in os.listdir(f"/proc/{pid}/task")}


def nice_of_session(manager: int) -> int:
    """What the scheduler weighs the session with, where it groups sessions."""
    try:
        return int(Path(f"/proc/{manager}/autogroup").read_text().split()[-1])
    except FileNotFoundError:
        pytest.skip("this kernel does not group sessions")


@pytest.fixture(autouse=True)
def _able_to_raise() -> None:
    if not has_capability(CAP_SYS_NICE):
        pytest.skip("needs CAP_SYS_NICE: without it nothing is lowered")


@pytest.mark.parametrize("joined", [True, False])
def test_a_background_load_is_low_until_it_is_joined_or_done(tmp_path: Path, joined: bool) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (manager,) = managers()
            other = w.function("def main(args): return {}\n", "other")
            await w.run(container, other)
            (other_pid,) = children(manager)
            f = w.function(CODE)
            gate = Gate(f)
            container.load(f)
            await gate.reached()
            (loading,) = set(children(manager)) - {other_pid}
            assert nice_of_all([loading]) == {LOW}
            assert nice_of_all([other_pid, manager]) == {NORMAL}
            if joined:
                w.ask(container, f, "a2")
                await w.wait_for(ResidentGone)
                assert nice_of_all([loading]) == {NORMAL}
            gate.open()
            await w.wait_for(LoadFinished, lambda event: event.function == f.key)
            assert nice_of_all([loading]) == {NORMAL}

    asyncio.run(scenario())


def test_a_container_that_only_loads_in_the_background_yields_as_a_whole(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (manager,) = managers()
            assert nice_of_session(manager) == NORMAL
            f = w.function(CODE)
            gate = Gate(f)
            container.load(f)
            await gate.reached()
            assert nice_of_session(manager) == LOW
            gate.open()
            await w.run(container, f)
            assert nice_of_session(manager) == NORMAL

    asyncio.run(scenario())


def test_a_container_does_not_yield_while_a_call_is_on_its_way_to_it(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (manager,) = managers()
            f = w.function(CODE)
            gate = Gate(f)
            container.load(f)
            await gate.reached()
            assert nice_of_session(manager) == LOW
            frame = COMMANDS.encode(Run(f.key, "a1", {}, b"{" + b" " * 200_000 + b"}"))
            container._transport.write(frame[:100_000])  # type: ignore[attr-defined]
            async with asyncio.timeout(30):
                while nice_of_session(manager) != NORMAL:  # noqa: ASYNC110 - the manager tells nobody
                    await asyncio.sleep(0)
            gate.open()

    asyncio.run(scenario())


def test_a_load_for_a_call_is_never_low(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (manager,) = managers()
            f = w.function(CODE)
            gate = Gate(f)
            w.ask(container, f)
            await gate.reached()
            assert nice_of_all(children(manager)) == {NORMAL}
            gate.open()
            await w.ran()

    asyncio.run(scenario())


WARMING = """
done = []
def warmup():
    open("gate").read()
    done.append("warm")
def main(args): return done
"""


@pytest.mark.parametrize("joined", [True, False])
def test_a_warmup_is_part_of_a_background_load_and_low_until_it_is_joined(tmp_path: Path, joined: bool) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            (manager,) = managers()
            other = w.function("def main(args): return {}\n", "other")
            await w.run(container, other)
            (other_pid,) = children(manager)
            f = w.function(WARMING)
            gate = Gate(f)
            container.load(f)
            await gate.reached()
            assert w.kinds() == ["LoadFinished", "RunFinished"]
            (loading,) = set(children(manager)) - {other_pid}
            assert nice_of_all([loading]) == {LOW}
            if joined:
                w.ask(container, f, "a2")
                await w.wait_for(ResidentGone)
                assert nice_of_all([loading]) == {NORMAL}
            gate.open()
            await w.wait_for(LoadFinished, lambda event: event.function == f.key)
            assert nice_of_all([loading]) == {NORMAL}
            if not joined:
                w.ask(container, f, "a2")
            await w.ran("a2")
            assert w.result("a2") == ["warm"]

    asyncio.run(scenario())


def test_a_load_for_a_call_is_not_warmed_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with world(tmp_path) as w:
            container = await w.container()
            _, result = await w.run(container, w.function(WARMING))
            assert result == []

    asyncio.run(scenario())
