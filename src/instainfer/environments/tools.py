"""Runs a tool such as pip, passes its output on line by line and into a log, and leaves no process behind."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TextIO

from ..errors import HostError
from .jailed import Cell
from .usage import Usage

TAIL_LINES = 30
"""Number of the last lines of output that an error carries."""
_READ_BYTES = 8192
# How lines that explain a failure begin, the best first: those of pip, of uv (new and old form), of their helpers.
_MARKS = ("ERROR:", "cause:", "╰─▶", "error:")
_LONGEST_LINE = 65_536
_MOST_CHARACTERS = 32 * 1024 * 1024
"""Most output that is kept. Output beyond that is read and thrown away."""
_CLOSING_S = 5.0
"""Longest wait for the pipe to close after the tool's process group was killed, in seconds."""
_LOOK_S = 1.0
"""Time between two looks at what a tool uses, in seconds."""
_LINE_END = re.compile(r"\r\n|\r|\n")
# The platform's values of these variables would make the tools see the platform's own packages.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended, and what its output says about a failure."""

    returncode: int
    cause: str
    """The line of output that best explains a failure."""
    disk_full: bool
    stopped: str = ""
    """Which limit the tool exceeded, if it was ended for that."""


async def run_tool(
    argv: Sequence[str | Path],
    *,
    log: Path,
    on_line: Callable[[str], None],
    env: Mapping[str, str],
    cwd: Path,
    cell: Cell | None = None,
    usage: Usage | None = None,
) -> Finished:
    """Run a tool in a process group of its own and wait for its end.

    In a `cell` the tool has the variables of the cell; otherwise `env` is added to this process's. The output is
    appended to `log`. A cancellation kills the whole group before this function ends, and so does an exceeded limit of
    `usage`. Raises `HostError` when the tool cannot be started.
    """
    arguments = [os.fspath(argument) for argument in argv]
    with nullcontext() if cell is None else closing(cell):
        async with recorded(arguments, log, on_line) as output:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(arguments if cell is None else cell.argv),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    start_new_session=True,
                    cwd=cwd,
                    env=_inherited() | dict(env) if cell is None else {},
                    pass_fds=() if cell is None else (cell.fd,),
                )
            except OSError as error:
                raise HostError(f"{arguments[0]} cannot be started: {error.strerror}") from error
            assert process.stdout is not None

            def look() -> str | None:
                return usage.exceeded(process.pid) if usage is not None and process.returncode is None else None

            async def stop() -> None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

            watch = Watch(look, stop)
            try:
                async with nullcontext() if cell is None else cell.opened(), watch:
                    await output.read(_texts(process.stdout))
                    returncode = await process.wait()
            finally:
                await _end(process)
        return replace(output.finished(returncode), stopped=watch.exceeded)


@asynccontextmanager
async def recorded(arguments: Sequence[str], log: Path, on_line: Callable[[str], None]) -> AsyncIterator[Output]:
    """Append what the tool with these arguments says to `log`, and pass it on line by line."""
    file = await asyncio.to_thread(_open_log, log, f"$ {' '.join(arguments)}\n")
    try:
        yield Output(file, on_line)
    finally:
        file.close()


async def _texts(stream: asyncio.StreamReader) -> AsyncIterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while chunk := await stream.read(_READ_BYTES):
        yield decoder.decode(chunk)
    yield decoder.decode(b"", final=True)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}


class Watch:
    """Ends a tool that uses too much, as long as this context lasts."""

    def __init__(self, look: Callable[[], str | None], stop: Callable[[], Awaitable[None]]) -> None:
        """`look` says which limit is exceeded, and is called in a thread; `stop` ends the tool."""
        self.exceeded = ""
        self._look = look
        self._stop = stop
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait((self._task,))

    async def _watch(self) -> None:
        while True:
            if exceeded := await asyncio.to_thread(self._look):
                self.exceeded = exceeded
                await self._stop()
                return
            await asyncio.sleep(_LOOK_S)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the remaining processes of the group, and wait until the pipe is closed."""
    assert process.stdout is not None
    # After all its processes have ended, the group's number may already belong to another group.
    if process.returncode is None or not process.stdout.at_eof():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_CLOSING_S):
            while await process.stdout.read(_READ_BYTES):
                pass
    except TimeoutError:
        # A process that left the group still holds the pipe open. Nothing more is read from that process.
        process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


def _open_log(log: Path, first: str) -> TextIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.open("a", encoding="utf-8")
    file.write(first)
    return file


class Output:
    """Splits a tool's output into lines, and remembers the lines that explain a failure."""

    def __init__(self, log: TextIO, on_line: Callable[[str], None]) -> None:
        self._log = log
        self._on_line = on_line
        self._last = ""
        self._new: list[str] = []
        """Lines that are not in the log yet."""
        self._kept = 0
        self._errors: dict[str, str] = {}
        self._disk_full = False

    async def read(self, texts: AsyncIterable[str]) -> None:
        """Take everything that the tool writes, piece by piece."""
        rest = ""
        async for text in texts:
            *lines, rest = _LINE_END.split(rest + text)
            for line in lines:
                self._take(line)
            if len(rest) > _LONGEST_LINE:
                self._take(rest)
                rest = ""
            await self._write()
        self._take(rest)
        await self._write()

    async def _write(self) -> None:
        if self._new:
            text = "".join(self._new)
            self._new.clear()
            await asyncio.to_thread(self._log.write, text)

    def _take(self, line: str) -> None:
        line = line.rstrip()
        if not line or self._kept > _MOST_CHARACTERS:
            return
        self._kept += len(line)
        self._new.append(f"{line}\n")
        self._last = line
        for mark in _MARKS:
            if line.lstrip().startswith(mark):
                self._errors.setdefault(mark, line.strip())
        self._disk_full = self._disk_full or "No space left" in line or "Disk quota exceeded" in line
        self._on_line(line)

    def finished(self, returncode: int) -> Finished:
        """What its output says, once it has ended with this code, which is negative for a signal."""
        ended = f"it ended with exit code {returncode}" if returncode >= 0 else f"it was killed by signal {-returncode}"
        said = [self._errors[mark] for mark in _MARKS if mark in self._errors]
        cause = said[0] if said else self._last or ended
        return Finished(returncode, cause, self._disk_full)
