"""Uses pip or uv to resolve requirements to exact versions, and to install those into an environment.

The host's own configuration (`origins`) reaches both tools in variables. Each step runs the tool once, through the
given `Run`, which raises an error when the tool fails. No tool compiles modules (see `sharing`). Unless `from_source`,
only wheels are looked at, so that no code of packages runs.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from packaging.requirements import InvalidRequirement, Requirement

from ..errors import EnvironmentBuildError, HostError
from .lock import Lock, Pin, parse_pins, pin
from .origins import UV_SOURCES, pip_has_sources
from .room import Room

_PIP_FOUND_NONE = re.compile(r"No matching distribution found for ([^\n]{1,200})")
_PIP_VERSIONS = "Available versions: "
_UV_FOUND_NONE = re.compile(r"([\w.-]+(?:[=<>!~]=?[\w.*+!-]+)?) has no (?:usable )?wheels|(?:Failed to [^`]*`([^`]+)`)")
_ASKED, _REPORT, _LOCKED = "requirements.txt", "report.json", "lock.txt"

Run: TypeAlias = Callable[[Sequence[str | Path]], Awaitable[None]]

TOOL_ENV: Mapping[str, str] = {
    "NO_COLOR": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_INPUT": "1",
    "PIP_PROGRESS_BAR": "off",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_USER": "0",
    "PYTHONHASHSEED": "0",
    "PYTHONNOUSERSITE": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONUTF8": "1",
    "UV_NO_PROGRESS": "1",
    "UV_PYTHON_DOWNLOADS": "never",
}
"""Variables that make the tools ask nothing, print plain lines, install only where they are told to, and compile a
module to the same bytes each time."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where packages come from, and which versions of them, as far as the operator's configuration says."""

    constraints: Path | None = None
    """A file of pip's form with versions that no resolution may leave."""
    index_url: str | None = None
    """The index to use in place of the tools' own."""
    extra_index_urls: tuple[str, ...] = ()

    def env(self) -> dict[str, str]:
        """Variables that tell the tools. Addresses may hold passwords, which must be in no log and no command line."""
        more = " ".join(self.extra_index_urls)
        given = {"PIP_INDEX_URL": self.index_url, "PIP_EXTRA_INDEX_URL": more}
        given |= {"UV_DEFAULT_INDEX": self.index_url, "UV_INDEX": more}
        return {name: value for name, value in given.items() if value}

    def options(self) -> list[str | Path]:
        """Options of a resolution."""
        return [] if self.constraints is None else ["--constraint", self.constraints]

    def text(self) -> str:
        """Everything that the result of a resolution may depend on; empty where the operator has configured nothing.

        Raises `HostError` when the constraints cannot be read.
        """
        if self == Sources():
            return ""
        try:
            constraints = self.constraints.read_text(encoding="utf-8") if self.constraints is not None else ""
        except (OSError, UnicodeDecodeError) as error:
            raise HostError(f"environments.constraints: {self.constraints} cannot be read: {error}") from error
        return "\n".join([constraints, self.index_url or "", *self.extra_index_urls])


class Tools(Protocol):
    """Runs tools, and remembers the last lines that they printed."""

    @property
    def run(self) -> Run: ...

    @property
    def tail(self) -> Iterable[str]: ...


class Installer(Protocol):
    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, from_source: bool, sources: Sources, run: Run, room: Room
    ) -> list[Pin]:
        """Find exact versions of the requirements and, unless `no_deps`, of their dependencies. Installs nothing."""
        ...

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run, *, from_source: bool) -> None:
        """Install exactly the packages of the lock for the environment's `python`. `lock_file` holds its text."""
        ...

    async def lacking_wheel(self, error: EnvironmentBuildError, tools: Tools) -> str | None:
        """The package that failed for want of a wheel, while its source is there. None if it is not that."""
        ...


class Pip:
    """Runs pip 22.3 or newer, by a Python of the environment's version."""

    def __init__(self, python: Path, pip_args: Sequence[str]) -> None:
        self._pip = (python, "-I", "-m", "pip")
        self._args = tuple(pip_args)

    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, from_source: bool, sources: Sources, run: Run, room: Room
    ) -> list[Pin]:
        asked = room.hand_in(_ASKED, _requirements(lines))
        options = ["--dry-run", "--ignore-installed", *(["--no-deps"] if no_deps else []), *_formats(from_source)]
        given = [*sources.options(), "--report", room.made / _REPORT, "-r", asked]
        await run([*self._pip, "install", *options, *given, *self._args])
        return _read_report(await asyncio.to_thread(room.hand_back, _REPORT))

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run, *, from_source: bool) -> None:
        # The lock already contains all dependencies, so pip need not look for them.
        options = ["--no-deps", "--no-compile", *_formats(from_source), *(["--require-hashes"] if lock.hashed else [])]
        await run([*self._pip, "--python", python, "install", *options, "-r", lock_file, *self._args])

    async def lacking_wheel(self, error: EnvironmentBuildError, tools: Tools) -> str | None:
        # pip says the same of a package that does not exist. It lists versions without running any code.
        match = _PIP_FOUND_NONE.search(error.log_tail)
        try:
            asked = Requirement(match[1]) if match is not None else None
        except InvalidRequirement:
            return None
        if asked is None:
            return None
        with suppress(EnvironmentBuildError):
            await tools.run([*self._pip, "index", "versions", asked.name, *self._args])
            for line in tools.tail:
                listed = line.removeprefix(_PIP_VERSIONS).split(",") if line.startswith(_PIP_VERSIONS) else []
                if any(asked.specifier.contains(version.strip(), prereleases=True) for version in listed):
                    return match[1] if match is not None else None
        return None


class Uv:
    """Runs the uv program."""

    def __init__(self, executable: Path, python: Path, pip_args: Sequence[str]) -> None:
        self._pip = (executable, "pip")
        self._python = python
        self._args = tuple(pip_args)

    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, from_source: bool, sources: Sources, run: Run, room: Room
    ) -> list[Pin]:
        asked = room.hand_in(_ASKED, _requirements(lines))
        options: list[str | Path] = [
            "--generate-hashes",
            "--no-header",
            "--no-annotate",
            *(["--no-deps"] if no_deps else []),
            *_formats(from_source),
        ]
        options += [*sources.options(), "-o", room.made / _LOCKED]
        await run([*self._pip, "compile", "--python", self._python, *options, asked, *self._args])
        locked = await asyncio.to_thread(room.hand_back, _LOCKED)
        try:
            return parse_pins(locked)
        except ValueError as error:
            raise EnvironmentBuildError(f"what uv resolved is damaged: {error}") from error

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run, *, from_source: bool) -> None:
        checks = ["--require-hashes"] if lock.hashed else []
        options = ["--no-deps", "--no-compile-bytecode", *_formats(from_source), *checks]
        await run([*self._pip, "install", "--python", python, *options, "-r", lock_file, *self._args])

    async def lacking_wheel(self, error: EnvironmentBuildError, tools: Tools) -> str | None:
        text = " ".join(error.log_tail.split())
        match = _UV_FOUND_NONE.search(text)
        return match[1] if match is not None else None


def _formats(from_source: bool) -> list[str]:
    return [] if from_source else ["--only-binary", ":all:"]


def _requirements(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _read_report(report: str) -> list[Pin]:
    try:
        return [_reported(item) for item in json.loads(report)["install"]]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise EnvironmentBuildError(f"pip's report of what it resolved is damaged: {error}") from error


def _reported(item: Mapping[str, Any]) -> Pin:
    """Read one entry of pip's installation report. Its address is left out, because a lock names no index or host."""
    archive = item["download_info"].get("archive_info", {})
    hashes = archive.get("hashes") or dict([archive["hash"].split("=", 1)] if archive.get("hash") else [])
    sha256 = hashes.get("sha256")
    return pin(item["metadata"]["name"], item["metadata"]["version"], [f"sha256:{sha256}"] if sha256 else [])


def find_uv(installer: str) -> Path | None:
    """The uv program to use, or None for pip. Raises `HostError` when `installer` is ``uv`` and there is no uv.

    ``auto`` uses pip where package sources are configured for pip but not for uv, because uv does not read pip's
    configuration and would use other sources.
    """
    if installer == "pip":
        return None
    beside = Path(sys.executable).with_name("uv")
    found = shutil.which("uv") or (str(beside) if os.access(beside, os.X_OK) else None)
    if installer == "uv":
        if found is None:
            raise HostError("uv is not on PATH; install it, or set environments.installer to auto or pip")
        return Path(found)
    if found is None or (pip_has_sources() and not any(name in os.environ for name in UV_SOURCES)):
        return None
    return Path(found)
