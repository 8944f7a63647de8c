"""Uses pip or uv to resolve requirements to exact versions, and to install those into an environment.

Both tools read the host's own configuration (indexes, links, proxies); `Sources` come before it. Each step runs the
tool once, through the given `Run`, which raises an error when the tool fails. No tool compiles modules (see `sharing`).
"""

from __future__ import annotations

import asyncio
import configparser
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import HostError
from .lock import Lock, Pin, parse_pins, pin


class Run(Protocol):
    """Runs a tool, which may write into the folders `writes`. Raises an error when the tool fails."""

    def __call__(self, argv: Sequence[str | Path], writes: Sequence[Path] = ()) -> Awaitable[None]: ...


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

_PIP_SOURCES = ("index-url", "extra-index-url", "find-links", "no-index", "constraint", "proxy", "cert", "client-cert")
_UV_SOURCES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


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


class Installer(Protocol):
    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, sources: Sources, run: Run, scratch: Path
    ) -> list[Pin]:
        """Find exact versions of the requirements and, unless `no_deps`, of their dependencies. Installs nothing."""
        ...

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run) -> None:
        """Install exactly the packages of the lock for the environment's `python`. `lock_file` holds its text."""
        ...


class Pip:
    """Runs pip 22.3 or newer, by a Python of the environment's version."""

    def __init__(self, python: Path, pip_args: Sequence[str]) -> None:
        self._pip = (python, "-I", "-m", "pip")
        self._args = tuple(pip_args)

    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, sources: Sources, run: Run, scratch: Path
    ) -> list[Pin]:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="resolve-") as folder:
            asked, report = _requirements_file(folder, lines), Path(folder, "report.json")
            options = ["--dry-run", "--ignore-installed", *(["--no-deps"] if no_deps else []), *sources.options()]
            await run([*self._pip, "install", *options, "--report", report, "-r", asked, *self._args])
            return await asyncio.to_thread(_read_report, report)

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run) -> None:
        # The lock already contains all dependencies, so pip need not look for them.
        options = ["--no-deps", "--no-compile", *(["--require-hashes"] if lock.hashed else [])]
        await run([*self._pip, "--python", python, "install", *options, "-r", lock_file, *self._args])


class Uv:
    """Runs the uv program."""

    def __init__(self, executable: Path, python: Path, pip_args: Sequence[str]) -> None:
        self._pip = (executable, "pip")
        self._python = python
        self._args = tuple(pip_args)

    async def resolve(
        self, lines: Sequence[str], *, no_deps: bool, sources: Sources, run: Run, scratch: Path
    ) -> list[Pin]:
        with tempfile.TemporaryDirectory(dir=scratch, prefix="resolve-") as folder:
            asked, locked = _requirements_file(folder, lines), Path(folder, "lock.txt")
            options: list[str | Path] = [
                "--generate-hashes",
                "--no-header",
                "--no-annotate",
                *(["--no-deps"] if no_deps else []),
            ]
            options += sources.options()
            await run([*self._pip, "compile", "--python", self._python, *options, "-o", locked, asked, *self._args])
            return await asyncio.to_thread(_read_pins, locked)

    async def install(self, lock: Lock, lock_file: Path, python: Path, run: Run) -> None:
        checks = ["--require-hashes"] if lock.hashed else []
        options = ["--no-deps", "--no-compile-bytecode", *checks]
        await run([*self._pip, "install", "--python", python, *options, "-r", lock_file, *self._args])


def _requirements_file(folder: str, lines: Sequence[str]) -> Path:
    file = Path(folder, "requirements.txt")
    file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return file


def _read_pins(locked: Path) -> list[Pin]:
    return parse_pins(locked.read_text(encoding="utf-8"))


def _read_report(report: Path) -> list[Pin]:
    return [_reported(item) for item in json.loads(report.read_text(encoding="utf-8"))["install"]]


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
    if found is None or (_pip_has_sources() and not any(name in os.environ for name in _UV_SOURCES)):
        return None
    return Path(found)


def _pip_has_sources() -> bool:
    if any(_variable(key) in os.environ for key in _PIP_SOURCES):
        return True
    try:
        config = _pip_configuration()
    except (configparser.Error, UnicodeDecodeError):
        return True  # pip is chosen, and reports the mistake in the file
    return any(config.has_option(section, key) for section in config.sections() for key in _PIP_SOURCES)


def pip_settings() -> dict[str, str]:
    """Everything that this host configures for pip, in files and variables, as variables. Raises `HostError`."""
    try:
        config = _pip_configuration()
    except (configparser.Error, UnicodeDecodeError) as error:
        raise HostError(f"the configuration of pip cannot be read: {error}") from error
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if config.has_section(section):
            found |= {_variable(key): " ".join(value.split()) for key, value in config.items(section)}
    return found | {name: value for name, value in os.environ.items() if name.startswith("PIP_")}


def _variable(key: str) -> str:
    return f"PIP_{key.upper().replace('-', '_')}"


def _pip_configuration() -> configparser.RawConfigParser:
    config = configparser.RawConfigParser(strict=False)
    config.read(_pip_configuration_files(), encoding="utf-8")
    return config


def _pip_configuration_files() -> list[Path]:
    home, env = Path.home(), os.environ
    shared = env.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep)
    own = Path(env.get("XDG_CONFIG_HOME", home / ".config"))
    files = [*(Path(folder, "pip/pip.conf") for folder in shared), Path("/etc/pip.conf")]
    files += [home / ".pip/pip.conf", own / "pip/pip.conf"]
    return [*files, Path(env["PIP_CONFIG_FILE"])] if "PIP_CONFIG_FILE" in env else files
