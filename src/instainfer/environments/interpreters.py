"""Finds the Python for an environment, and asks which modules it has and which compiled packages fit it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from ..errors import HostError

PROBE = """
import importlib.util, json, sys, sysconfig
print(json.dumps({
    "executable": sys.executable,
    "version": "%d.%d" % sys.version_info[:2],
    "tag": sysconfig.get_config_var("SOABI"),
    "platform": sysconfig.get_platform(),
    "homes": [sys.base_prefix, sys.base_exec_prefix],
    "modules": [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name)],
}))
"""
_PROBE_TIMEOUT_S = 30.0
_DIGITS = 12
_VERSIONED = re.compile(r"python3\.(\d+)")


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python on this host."""

    executable: Path
    version: str
    """Such as ``"3.11"``, without the patch release, because an environment stays valid across patch releases."""
    tag: str
    """The binary interface, C library included, that compiled packages must fit: ``cpython-311-x86_64-linux-gnu``."""
    platform: str
    modules: frozenset[str]
    homes: tuple[Path, ...] = ()
    """Where it is installed."""
    contents: str = ""
    """A digest of the image that it is in, for environments must fit that too. Empty if it is on this host."""

    @property
    def name(self) -> str:
        """A name for what can be kept for all environments of this interpreter."""
        return f"{self.tag}-{self.contents[:_DIGITS]}" if self.contents else self.tag

    @property
    def files(self) -> list[Path]:
        """What a program that runs it has to read of this host: nothing if it is in an image.

        Of a virtual environment this is not what is installed in it.
        """
        near = self.executable.parent
        return [] if self.contents else [*self.homes, near, near.parent / "pyvenv.cfg"]

    def require(self, module: str) -> None:
        """Raise `HostError` if this Python lacks a module of the standard library that environments are made with."""
        if module not in self.modules:
            raise HostError(
                f"{self.executable} has no {module} module, which is needed to make environments; on Debian and Ubuntu "
                f"install the package python3-venv (for this version: python{self.version}-venv)"
            )


async def find_interpreter(version: str | None) -> Interpreter:
    """Find the interpreter of a version such as ``"3.11"``; None means the interpreter that runs the platform.

    Raises `HostError` when there is no working one.
    """
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = [Path(sys.executable)] if version in {None, own} else _on_path(f"python{version}")
    for candidate in candidates:
        # A name on the path may be a shim of a version manager that refuses to run.
        found = await _probe(candidate)
        if found is not None and version in {None, found.version}:
            return found
    if version in {None, own}:
        raise HostError(f"{sys.executable}, which runs this platform, does not run programs; reinstall it")
    present = ", ".join(_present(own))
    raise HostError(f"no working python{version} on PATH; present: {present}; install it, or name another version")


def _on_path(name: str) -> list[Path]:
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    files = [Path(folder or ".") / name for folder in folders]
    return [file for file in files if file.is_file() and os.access(file, os.X_OK)]


def _present(own: str) -> list[str]:
    names = {f"python{own}"}
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        names.update(file.name for file in Path(folder or ".").glob("python3.*") if _VERSIONED.fullmatch(file.name))
    return sorted(names, key=lambda name: int(name.partition(".")[2]))


async def _probe(executable: Path) -> Interpreter | None:
    try:
        process = await asyncio.create_subprocess_exec(
            executable, "-I", "-c", PROBE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
    except OSError:
        return None
    try:
        async with asyncio.timeout(_PROBE_TIMEOUT_S):
            output, _ = await process.communicate()
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return probed(output) if process.returncode == 0 else None


def probed(output: bytes | str) -> Interpreter | None:
    """The interpreter that has run `PROBE` with this output. None if the output says nothing."""
    try:
        said = json.loads(output)
    except ValueError:
        return None
    return Interpreter(
        executable=Path(said["executable"]),
        version=said["version"],
        tag=said["tag"] or f"python-{said['version']}-{said['platform']}",
        platform=said["platform"],
        modules=frozenset(said["modules"]),
        homes=tuple(map(Path, said.get("homes", ()))),
    )
