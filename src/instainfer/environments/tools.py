"""Running a tool: its output line by line to whoever watches and into a log, and no process left behind."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from ..errors import HostError

TAIL_LINES = 30
"""How much of the output an error carries."""
_READ_BYTES = 8192
# How telling lines begin, the most telling first: pip's own findings, uv's (new and old form), those of their helpers.
_MARKS = ("ERROR:", "cause:", "╰─▶", "error:")
_LONGEST_LINE = 65_536
_MOST_CHARACTERS = 32 * 1024 * 1024
"""Of output that is kept; what a tool says beyond that is read and thrown away."""
_CLOSING_S = 5.0
"""Longest wait for the pipe to close once the tool's group has been killed."""
_LINE_END = re.compile(r"\r\n|\r|\n")
# Ours would lead the tools to the platform's own packages.
_NOT_INHERITED = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_REQUIRE_VIRTUALENV", "__PYVENV_LAUNCHER__")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a tool ended and what it said."""

    returncode: int
    cause: str
    """The line that says best what went wrong."""
    disk_full: bool


async def run_tool(
    argv: Sequence[str | Path], *, log: Path, on_line: Callable[[str], None], env: Mapping[str, str], cwd: Path
) -> Finished:
    """Run a tool in a process group of its own and wait for its end.

    `env` is added to this process's environment; the output is appended to `log`. When this is cancelled, the whole
    group is killed before it returns. Raises `HostError` when the tool cannot be started.
    """
    arguments = [os.fspath(argument) for argument in argv]
    file = await asyncio.to_thread(_open_log, log, f"$ {' '.join(arguments)}\n")
    try:
        try:
            process = await asyncio.create_subprocess_exec(
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                cwd=cwd,
                env={name: value for name, value in os.environ.items() if name not in _NOT_INHERITED} | dict(env),
            )
        except OSError as error:
            raise HostError(f"{arguments[0]} cannot be started: {error.strerror}") from error
        assert process.stdout is not None
        output = _Output(file, on_line)
        try:
            await output.read(process.stdout)
            returncode = await process.wait()
        finally:
            await _end(process)
    finally:
        file.close()
    return output.finished(returncode)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the group, and wait until its pipe is closed."""
    assert process.stdout is not None
    # Once all have ended, the group's number may already be somebody else's.
    if process.returncode is None or not process.stdout.at_eof():
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    try:
        async with asyncio.timeout(_CLOSING_S):
            while await process.stdout.read(_READ_BYTES):
                pass
    except TimeoutError:
        # One that left the group holds the pipe. It is not waited for, and reads as little as it is read from.
        process._transport.close()  # type: ignore[attr-defined]
    await process.wait()


def _open_log(log: Path, first: str) -> TextIO:
    log.parent.mkdir(parents=True, exist_ok=True)
    file = log.open("a", encoding="utf-8")
    file.write(first)
    return file


class _Output:
    """Splits a tool's output into lines, remembers the telling ones."""

    def __init__(self, log: TextIO, on_line: Callable[[str], None]) -> None:
        self._log = log
        self._on_line = on_line
        self._last = ""
        self._new: list[str] = []
        """Lines that are not in the log yet."""
        self._kept = 0
        self._errors: dict[str, str] = {}
        self._disk_full = False

    async def read(self, stream: asyncio.StreamReader) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        rest = ""
        while chunk := await stream.read(_READ_BYTES):
            *lines, rest = _LINE_END.split(rest + decoder.decode(chunk))
            for line in lines:
                self._take(line)
            if len(rest) > _LONGEST_LINE:
                self._take(rest)
                rest = ""
            await self._write()
        self._take(rest + decoder.decode(b"", final=True))
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
        ended = f"it ended with exit code {returncode}" if returncode >= 0 else f"it was killed by signal {-returncode}"
        said = [self._errors[mark] for mark in _MARKS if mark in self._errors]
        cause = said[0] if said else self._last or ended
        return Finished(returncode, cause, self._disk_full)
