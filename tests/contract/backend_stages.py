"""One stage for each backend: functions that behave as asked, and a world that a test can wait for.

A backend of your own joins the suite with a `Stage` of its own in `STAGES`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

from support import docker
from support.gates import GATE, WAIT, Gate, Visitor
from support.process_world import managers

from instainfer.backends.base import Answer, Backend, Call, Container, ContainerSpec, FunctionSpec
from instainfer.backends.clock import LoopClock, ManualClock
from instainfer.backends.docker.backend import DockerBackend
from instainfer.backends.docker.settings import Mount
from instainfer.backends.managed import ManagedContainer
from instainfer.backends.managed_backend import ManagedBackend
from instainfer.backends.memory import Costs, MemoryBackend, MemoryContainer
from instainfer.backends.process import ProcessBackend
from instainfer.core.events import (
    Event,
    LoadFailed,
    LoadFinished,
    MemoryMeasured,
    ResidentGone,
    RunFinished,
)
from instainfer.core.model import MIB, Failure, FailureKind
from instainfer.runtime.memory import children

PATIENCE_S = 30.0
LARGE_VALUE = b'"' + b"x" * (100 << 10) + b'"'
_FENCE = "fence"


class Does(Enum):
    """What a function does."""

    ANSWER = "answers with what it got, and prints"
    WAIT_IN_LOAD = "loads only when it is let go"
    WAIT_IN_RUN = "answers only when it is let go"
    FAIL_TO_LOAD = "cannot be imported"
    RAISE = "main raises"
    CRASH = "its process ends during a run"
    TAKE_MEMORY = "takes 200 MiB in a run, answers when it is let go, and gives them back"
    STREAM = "yields what it got, and then yields ten values of 100 KiB"
    STREAM_AND_WAIT = "yields, yields again when it is let go, and goes on for ever"
    STREAM_AND_RAISE = "yields, then raises"
    LEAVE_A_THREAD = "starts a thread when it is imported, and so cannot have a function template"


C = TypeVar("C", bound=Container)


class Stage(ABC, Generic[C]):
    """A backend, and everything that it has reported."""

    backend: Backend

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.answers: dict[str, Answer] = {}
        self.values: dict[str, list[bytes]] = defaultdict(list)
        """What the calls that were made by `stream` have yielded."""
        self._containers = 0
        self._news = asyncio.Event()

    # -- what differs ----------------------------------------------------------------------------------------------

    @abstractmethod
    def function(self, name: str, does: Does = Does.ANSWER) -> FunctionSpec: ...

    @abstractmethod
    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds`, which is asked again after every report; fail when that takes too long."""

    @abstractmethod
    async def settle(self, container: C) -> None:
        """Return when all that was asked of the container until now has been reported."""

    @abstractmethod
    async def reached(self, function: FunctionSpec) -> None:
        """Return when the function has come to where it waits."""

    @abstractmethod
    def let_go(self, function: FunctionSpec) -> None: ...

    @abstractmethod
    def refuse_containers(self) -> None:
        """From now on no container can be created."""

    @abstractmethod
    async def lose(self, container: C) -> None:
        """The container dies, and not by us."""

    @abstractmethod
    async def kill(self, container: C, function: FunctionSpec) -> None:
        """An idle resident dies, and not by us."""

    # -- what does not ---------------------------------------------------------------------------------------------

    def report(self, event: Event, answer: Answer | None) -> None:
        self.events.append(event)
        if answer is not None:
            assert isinstance(event, RunFinished)
            self.answers[event.activation] = answer
        self._news.set()

    def start(self) -> Any:
        self._containers += 1
        return self.backend.start(ContainerSpec(f"c{self._containers}", "t", 1024 * MIB), self.report)

    async def started(self) -> Any:
        container = self.start()
        await self.until_told(f"ContainerStarted {container.id}")
        return container

    async def loaded(self, container: C, *functions: FunctionSpec) -> None:
        for function in functions:
            container.load(function)
            await self.until_told(f"LoadFinished {function.key}")

    def run(self, container: C, function: FunctionSpec, activation: str) -> None:
        container.run(function, Call(activation, function.key, b'{"n":1}'))

    def stream(self, container: C, function: FunctionSpec, activation: str) -> None:
        """Run it for a caller that wants values one by one, and takes none before the test does."""

        def on_value(value: bytes) -> None:
            self.values[activation].append(value)
            self._news.set()

        container.run(function, Call(activation, function.key, b'{"n":1}', on_value=on_value))

    async def ran(self, container: C, function: FunctionSpec, activation: str) -> RunFinished:
        self.run(container, function, activation)
        await self.until_told(f"RunFinished {activation}")
        ran: RunFinished = self.one(RunFinished, activation)
        return ran

    async def until_told(self, words: str) -> None:
        await self.until(lambda: words in self.told())

    def told(self, start: int = 0) -> list[str]:
        """The reports from a place on, in their order and in short; measurements come when they like."""
        return [words for event in self.events if (words := in_short(event)) and f"/{_FENCE}" not in words][start:]

    def told_in_order(self, start: int = 0, *, beside: Sequence[str]) -> list[str]:
        """The same, without the ends of those functions, which come once each and when they like."""
        told = self.told(start)
        for key in beside:
            told.remove(f"ResidentGone {key}")
        return told

    async def until_gone(self, *keys: str) -> None:
        await self.until(lambda: all(f"ResidentGone {key}" in self.told() for key in keys))

    def one(self, kind: type[Event], about: str) -> Any:
        """The only event of a kind about something."""
        (found,) = [e for e in self.events if isinstance(e, kind) and in_short(e).endswith(f" {about}")]
        return found


def in_short(event: Event) -> str:
    match event:
        case MemoryMeasured():
            return ""
        case RunFinished():
            return f"RunFinished {event.activation}"
        case LoadFinished() | LoadFailed() | ResidentGone():
            return f"{type(event).__name__} {event.function}"
        case _:
            return f"{type(event).__name__} {getattr(event, 'container', '')}"


class MemoryStage(Stage[MemoryContainer]):
    """Everything happens when `until` moves the clock."""

    _LONG_S = 1000.0
    _UNFIT = Failure(FailureKind.LOAD_FAILED, "a thread is left after warmup()")
    _BOOM = Failure(FailureKind.LOAD_FAILED, "handler.py raised ImportError")

    def __init__(self, **how_it_ends: Any) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.backend: MemoryBackend = MemoryBackend(self.clock, start_s=0.4, stop_s=0.1, **how_it_ends)

    def function(self, name: str, does: Does = Does.ANSWER) -> FunctionSpec:
        key = f"t/{name}@1"
        usual = Costs(library_s=0.1, model_s=0.1, compute_s=0.1, result=b'{"got":{"n":1}}', logs=("hello",))
        raised = Failure(FailureKind.RAISED, "main raised ValueError")
        crashed = Failure(FailureKind.CRASHED, "ended by itself with exit code 3")
        costs = {
            Does.ANSWER: usual,
            Does.WAIT_IN_LOAD: replace(usual, library_s=self._LONG_S),
            Does.WAIT_IN_RUN: replace(usual, compute_s=self._LONG_S),
            Does.FAIL_TO_LOAD: replace(usual, load_failure=self._BOOM),
            Does.RAISE: replace(usual, run_failure=raised),
            Does.CRASH: replace(usual, run_failure=crashed, survives=False),
            Does.TAKE_MEMORY: replace(usual, compute_s=self._LONG_S, run_bytes=200 * MIB),
            Does.STREAM: replace(usual, values=(b'{"n":1}', *[LARGE_VALUE] * 10)),
            Does.STREAM_AND_WAIT: replace(usual, values=[b"%d" % n for n in range(100_000)], value_s=self._LONG_S),
            Does.STREAM_AND_RAISE: replace(usual, values=(b"1",), value_s=0.1, run_failure=raised),
            Does.LEAVE_A_THREAD: replace(usual, unfit=self._UNFIT),
        }
        self.backend.costs[key] = costs[does]
        return FunctionSpec(key, Path("/nonexistent"), Path(sys.executable), "handler")

    async def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            due = self.clock.next_at()
            assert due is not None, f"nothing more will happen after {self.told()}"
            self.clock.advance_to(max(due, self.clock.now()))

    async def settle(self, container: MemoryContainer) -> None:
        self.clock.run()

    async def reached(self, function: FunctionSpec) -> None:
        # As long as a test does not wait for its end, it goes on.
        self.clock.advance(self._LONG_S / 10)

    def let_go(self, function: FunctionSpec) -> None:
        pass

    def refuse_containers(self) -> None:
        self.backend.start_failure = Failure(FailureKind.CONTAINER_START_FAILED, "no room for it")

    async def lose(self, container: MemoryContainer) -> None:
        container.lose(Failure(FailureKind.CONTAINER_LOST, "was killed"))

    async def kill(self, container: MemoryContainer, function: FunctionSpec) -> None:
        container.kill(function.key, Failure(FailureKind.CRASHED, "was killed"))


_CODE = {
    Does.ANSWER: "def main(args):\n    print('hello')\n    return {'got': args}\n",
    Does.WAIT_IN_LOAD: WAIT + "def load(): wait_at_gate(PORT)\ndef main(args): return {}\n",
    Does.WAIT_IN_RUN: WAIT + "def main(args): return {'let go': wait_at_gate(PORT)}\n",
    Does.FAIL_TO_LOAD: "import nowhere\n",
    Does.RAISE: "def main(args): raise ValueError('no')\n",
    Does.CRASH: "import os\ndef main(args): os._exit(3)\n",
    Does.TAKE_MEMORY: WAIT
    + (
        "def main(args):\n"
        "    held = bytearray(b'x') * (200 << 20)\n"
        "    wait_at_gate(PORT)\n"
        "    return {'held': len(held)}\n"
    ),
    Does.STREAM: "def main(args):\n    yield args\n    yield from ['x' * (100 << 10)] * 10\n",
    Does.STREAM_AND_WAIT: WAIT
    + (
        "def main(args):\n"
        "    yield 0\n"
        "    wait_at_gate(PORT)\n"
        "    n = 0\n"
        "    while True:\n"
        "        n += 1\n"
        "        yield n\n"
    ),
    Does.STREAM_AND_RAISE: "def main(args):\n    yield 1\n    raise ValueError('no')\n",
    Does.LEAVE_A_THREAD: (
        "import threading, time\n"
        "threading.Thread(target=time.sleep, args=(1000.0,), daemon=True).start()\n"
        "def main(args): return {'got': args}\n"
    ),
}


class ProcessStage(Stage[ManagedContainer]):
    """Real processes of this Python."""

    python = Path(sys.executable)
    """The Python of the functions."""
    backend: ManagedBackend

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self._gates: dict[str, Gate] = {}
        self._waiting: dict[str, Visitor] = {}
        self.backend = self.made_backend()

    def made_backend(self) -> ManagedBackend:
        return ProcessBackend(LoopClock(), scratch=self._folder / "scratch")

    def gate(self, folder: Path) -> tuple[Gate, int | str]:
        """A gate for the function in this folder, and where the function finds it."""
        gate = Gate()
        return gate, gate.port

    def manager(self) -> int:
        """The process id of the only container's manager."""
        (manager,) = managers()
        return manager

    def function(self, name: str, does: Does = Does.ANSWER) -> FunctionSpec:
        folder = self._folder / "functions" / name
        folder.mkdir(parents=True)
        code = _CODE[does]
        key = f"t/{name}@1"
        if "PORT" in code:
            self._gates[key], place = self.gate(folder)
            code = f"PORT = {place!r}\n{code}"
        (folder / "handler.py").write_text(code)
        return FunctionSpec(key, folder, self.python, "handler", timeout_s=PATIENCE_S)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not holds():
                self._news.clear()
                await self._news.wait()

    async def settle(self, container: ManagedContainer) -> None:
        if any(in_short(event) == f"ContainerGone {container.id}" for event in self.events):
            await container.ended.wait()
            return
        # What is loaded last is reported last.
        fence = self.function(f"{_FENCE}{len(self.events)}")
        container.load(fence)
        await self.until(lambda: any(getattr(event, "function", "") == fence.key for event in self.events))

    async def reached(self, function: FunctionSpec) -> None:
        self._waiting[function.key] = await asyncio.to_thread(self._gates[function.key].reached)

    def let_go(self, function: FunctionSpec) -> None:
        self._waiting[function.key].let_go()

    def refuse_containers(self) -> None:
        self.backend.scratch.parent.mkdir(parents=True, exist_ok=True)
        self.backend.scratch.write_text("a file where the folder should be")

    async def lose(self, container: ManagedContainer) -> None:
        os.kill(self.manager(), signal.SIGKILL)

    async def kill(self, container: ManagedContainer, function: FunctionSpec) -> None:
        (victim,) = [pid for pid in children(self.manager()) if _works_in(pid, function.folder)]
        os.kill(victim, signal.SIGKILL)

    async def close(self) -> None:
        await self.backend.close()
        for gate in self._gates.values():
            gate.__exit__(None, None, None)


class DockerStage(ProcessStage):
    """Containers of Docker, with the Python of their image. Its functions find their gates in their folders."""

    python = Path("/usr/bin/python3")

    def made_backend(self) -> DockerBackend:
        functions = self._folder / "functions"
        functions.mkdir()
        return docker.backend(scratch=self._folder / "scratch", mounts=[Mount(functions)])

    def gate(self, folder: Path) -> tuple[Gate, int | str]:
        return Gate(folder), GATE

    def manager(self) -> int:
        (manager,) = docker.managers(self.backend.scratch)
        return manager


def _works_in(pid: int, folder: Path) -> bool:
    return Path(f"/proc/{pid}/cwd").resolve() == folder.resolve()


@asynccontextmanager
async def memory_stage(folder: Path, **how_it_ends: Any) -> AsyncIterator[MemoryStage]:
    stage = MemoryStage(**how_it_ends)
    yield stage
    await stage.backend.close()
    before = len(stage.events)
    stage.clock.run()
    assert len(stage.events) == before, "a closed backend reports nothing"


@asynccontextmanager
async def process_stage(folder: Path, kind: type[ProcessStage] = ProcessStage) -> AsyncIterator[ProcessStage]:
    stage = kind(folder)
    try:
        yield stage
        before = len(stage.events)
        await stage.backend.close()
        assert len(stage.events) == before, "a closed backend reports nothing"
    finally:
        await stage.close()


STAGES: dict[str, Callable[[Path], AbstractAsyncContextManager[Stage[Any]]]] = {
    "memory": partial(memory_stage, end_s=0.01),
    "memory, slow ends": partial(memory_stage, end_s=7.0),
    "memory, ends awaited": partial(memory_stage, end_s=7.0, waits_for_ends=True),
    "process": process_stage,
    "docker": partial(process_stage, kind=DockerStage),
}
"""Every backend of ours."""

Play: TypeAlias = Callable[[Callable[[Stage[Any]], Awaitable[None]]], None]
"""Plays a scene on a stage."""
