"""Where the tools run that make environments: on this machine, or wherever the environments will be used."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..errors import BadInput
from .installers import find_uv
from .interpreters import Interpreter, find_interpreter
from .tools import Finished, run_tool


class Workshop(Protocol):
    """Finds interpreters and runs tools. The folder of all environments has the same path there as here."""

    image: str
    """The image that tools run in, as `backends.base.ContainerSpec.image` names it. Empty: the usual one, or none."""

    async def of(self, image: str) -> Workshop:
        """The workshop for an image that a function names. Raises `BadInput` if functions may not name it."""
        ...

    async def interpreter(self, version: str | None) -> Interpreter:
        """The interpreter of a version such as ``"3.11"``; None means the usual one. Raises `HostError`."""
        ...

    def has(self, python: Path) -> bool:
        """Whether an interpreter is still there, or the interpreter that an environment links to."""
        ...

    def uv(self, installer: str) -> Path | None:
        """What `installers.find_uv` says of the place where tools run."""
        ...

    async def run(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        on_line: Callable[[str], None],
        env: Mapping[str, str],
        cwd: Path,
        writes: Sequence[Path],
    ) -> Finished:
        """Run a tool as `tools.run_tool` does. Besides `cwd`, it need only write into the folders `writes`."""
        ...


class ThisMachine:
    """Tools run as processes of the platform."""

    image = ""

    async def of(self, image: str) -> Workshop:
        raise BadInput(f"the function asks for the image {image}; that needs a platform with the backend docker")

    async def interpreter(self, version: str | None) -> Interpreter:
        return await find_interpreter(version)

    def has(self, python: Path) -> bool:
        return python.exists()

    def uv(self, installer: str) -> Path | None:
        return find_uv(installer)

    async def run(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        on_line: Callable[[str], None],
        env: Mapping[str, str],
        cwd: Path,
        writes: Sequence[Path],
    ) -> Finished:
        return await run_tool(argv, log=log, on_line=on_line, env=env, cwd=cwd)
