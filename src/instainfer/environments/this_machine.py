"""Builds environments on this machine: tools are processes of the platform, in a jail as far as the host gives one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ..errors import BadInput
from .installers import find_uv
from .interpreters import Interpreter, find_interpreter
from .jail import Jail
from .jailed import cell, find_layers
from .place import Place
from .tools import Finished, run_tool
from .usage import Usage


class ThisMachine:
    """The place for environments that are used on this machine (`place.Place`)."""

    image = ""

    async def of(self, image: str) -> Place:
        raise BadInput(f"the function asks for the image {image}; that needs a platform with the backend docker")

    async def isolation(self) -> list[str]:
        return (await asyncio.to_thread(find_layers)).lines()

    async def gives_uid(self) -> bool:
        return (await asyncio.to_thread(find_layers)).own_uid

    async def interpreter(self, version: str | None) -> Interpreter:
        return await find_interpreter(version)

    def has(self, python: Path) -> bool:
        return python.exists()

    def uv(self, installer: str) -> Path | None:
        return find_uv(installer)

    async def run(
        self,
        argv: Sequence[str],
        jail: Jail,
        *,
        folder: Path | None,
        variables: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None],
    ) -> Finished:
        layers = await asyncio.to_thread(find_layers)
        return await run_tool(
            argv,
            log=log,
            on_line=on_line,
            env={},
            cwd=jail.room.folder,
            cell=cell(layers, jail, argv, variables, folder),
            usage=Usage(jail.limits, [*jail.room.writable, *([folder] if folder else [])]),
        )
