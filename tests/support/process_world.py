"""Real containers of the process backend, and what they reported, for the tests of this folder."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from instainfer.backends.base import Answer, Call, ContainerSpec, FunctionSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.managed import ManagedContainer
from instainfer.backends.managed_backend import ManagedBackend
from instainfer.backends.process import ProcessBackend
from instainfer.core.events import ContainerGone, ContainerStarted, Event, MemoryMeasured, RunFinished
from instainfer.core.model import MIB
from instainfer.runtime.memory import children, family

PATIENCE_S = 30.0

E = TypeVar("E")


def oldest_python() -> Path | None:
    """An interpreter of the oldest version that functions may have, if this machine has one."""
    found = shutil.which("python3.9")
    if found is None:
        return None
    # What is on PATH may be a script that picks a version and need not work: ask it for the interpreter itself.
    asked = subprocess.run(
        [found, "-c", "import sys; print(sys.executable)"],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYENV_VERSION": "3.9"},
    )
    return Path(asked.stdout.strip()) if asked.returncode == 0 else None


class World:
    """A backend, its containers, and all events so far in the order in which they came."""

    def __init__(self, folder: Path, python: Path, backend: ManagedBackend | None = None, **options: Any) -> None:
        self.folder = folder
        self.python = python
        self.backend: ManagedBackend = (
            ProcessBackend(LoopClock(), scratch=folder / "scratch", python=python, **options)
            if backend is None
            else backend
        )
        self.events: list[Event] = []
        self.answers: dict[str, Answer] = {}
        self._news = asyncio.Event()
        self._count = 0

    def report(self, event: Event, answer: Answer | None) -> None:
        self.events.append(event)
        if isinstance(event, RunFinished):
            assert answer is not None
            self.answers[event.activation] = answer
        self._news.set()

    def function(self, code: str, name: str = "f", **fields: Any) -> FunctionSpec:
        folder = self.folder / "functions" / name
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(textwrap.dedent(code))
        given = {"python": self.python, "handler": "handler", "timeout_s": 20.0, **fields}
        return FunctionSpec(f"guest/{name}@0.0.1", folder, **given)

    def start(self, limit_bytes: int = 512 * MIB) -> ManagedContainer:
        self._count += 1
        return self.backend.start(ContainerSpec(f"c{self._count}", "guest", limit_bytes), self.report)

    async def container(self, limit_bytes: int = 512 * MIB) -> ManagedContainer:
        container = self.start(limit_bytes)
        await self.wait_for(ContainerStarted, lambda event: event.container == container.id)
        return container

    async def wait_for(self, kind: type[E], matches: Callable[[E], bool] = lambda event: True) -> E:
        """The first event of this kind that matches, come or to come."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and matches(event):
                        return event
                self._news.clear()
                await self._news.wait()

    def ask(
        self,
        container: ManagedContainer,
        spec: FunctionSpec,
        activation: str = "a1",
        args: Any = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        container.run(spec, Call(activation, spec.key, json.dumps(args or {}).encode(), env or {}))

    async def run(
        self,
        container: ManagedContainer,
        spec: FunctionSpec,
        activation: str = "a1",
        args: Any = None,
        env: Mapping[str, str] | None = None,
    ) -> tuple[RunFinished, Any]:
        """Run and wait; the result decoded."""
        self.ask(container, spec, activation, args, env)
        return await self.ran(activation), self.result(activation)

    async def ran(self, activation: str = "a1") -> RunFinished:
        return await self.wait_for(RunFinished, lambda event: event.activation == activation)

    def result(self, activation: str = "a1") -> Any:
        result = self.answers[activation].result
        return None if result is None else json.loads(result)

    async def stop(self, container: ManagedContainer) -> ContainerGone:
        container.stop()
        return await self.wait_for(ContainerGone, lambda event: event.container == container.id)

    @property
    def told(self) -> list[Event]:
        """The events but for measurements, which may come at any time."""
        return [event for event in self.events if not isinstance(event, MemoryMeasured)]

    def kinds(self, start: int = 1) -> list[str]:
        """What was told from a place on, by name; by default all after the container's start."""
        return [type(event).__name__ for event in self.told[start:]]

    def texts(self, activation: str = "a1") -> list[tuple[str, str]]:
        """An activation's logs as (stream, text)."""
        lines = (line[31:].split(": ", 1) for line in self.answers[activation].logs)
        return [(stream, text) for stream, text in lines]


def asynchronous(test: Callable[..., Any]) -> Callable[..., None]:
    """A test that is a coroutine, as a test that pytest runs."""

    @functools.wraps(test)
    def run(*args: Any, **named: Any) -> None:
        asyncio.run(test(*args, **named))

    return run


def managers() -> list[int]:
    """The managers of this process's containers, by the ids that they have out here. Each is the child of a keeper."""
    return [manager for keeper in children(os.getpid()) for manager in children(keeper)]


def outside(manager: int, *pids: int) -> list[int]:
    """The ids that processes of a container have out here. `pids` are those that they have inside. 0 for one that has
    ended.
    """
    known = {_ids(pid)[-1]: pid for pid in family([manager])}
    return [known.get(pid, 0) for pid in pids]


def inside(pid: int) -> int:
    """The id that a process of a container has inside. `pid` is the one that it has out here."""
    return _ids(pid)[-1]


def _ids(pid: int) -> list[int]:
    """A process's ids, from that of our namespace to that of its own."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return [int(word) for word in line.split()[1:]]
    return [0]


def alive(pids: Sequence[int]) -> list[int]:
    """Those of the processes that have not ended. An ended one may wait for its parent, the host's first process."""
    return [pid for pid in pids if _state(pid) not in "ZX"]


def _state(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    return "X"


@contextlib.asynccontextmanager
async def world(folder: Path, python: Path = Path(sys.executable), **options: Any) -> AsyncIterator[World]:
    made = World(folder, python, **options)
    try:
        yield made
    finally:
        await made.backend.close()


class Gate:
    """A place where a function's code waits, by reading the file ``NAME`` in its folder, until the test opens it."""

    def __init__(self, spec: FunctionSpec, name: str = "gate") -> None:
        self._path = spec.folder / name
        os.mkfifo(self._path)
        self._fd = -1

    async def reached(self) -> None:
        """Return when the function waits there."""
        opening = asyncio.ensure_future(asyncio.to_thread(os.open, self._path, os.O_WRONLY))
        try:
            self._fd = await asyncio.wait_for(asyncio.shield(opening), PATIENCE_S)
        except TimeoutError:
            reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)  # lets the thread go
            os.close(await opening)
            os.close(reader)
            raise

    def open(self) -> None:
        os.close(self._fd)


async def ended(pid: int) -> None:
    """Return when a process, not a child of ours, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()
    loop.add_reader(pidfd, seen.set)
    try:
        await asyncio.wait_for(seen.wait(), PATIENCE_S)
    finally:
        loop.remove_reader(pidfd)
        os.close(pidfd)
