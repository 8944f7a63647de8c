"""Builds environments in containers of the image that they will be used in (`environments.workshop.Workshop`).

A tool sees the folder of all environments, and can write only into the environment that it makes, a cache of downloads,
and a folder for its temporary files. It has no capabilities and can get none. Its network is the Engine's usual one.

Where the platform is root, tools have another user id, and what they have made becomes root's when they have ended. So
they cannot leave a program behind that runs with root's rights on this host: a file that gets another owner loses such
marks.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...environments.installers import pip_settings
from ...environments.interpreters import PROBE, Interpreter, probed
from ...environments.tools import Finished, recorded
from ...errors import BadInput, HostError, shown
from ...runtime.removal import remove_tree
from .engine import Engine
from .images import Image, find
from .settings import Mount, sealed

_NETWORK = "bridge"
_DOWNLOADS = "downloads"
_KILLED_BY = 128
BUILDER = 1_999_999_999
"""The user id of tools, if the platform is root. Those of functions are above it."""


class DockerWorkshop:
    """Runs tools in containers of one image."""

    image = ""

    def __init__(
        self, engine: Engine, image: Image, root: Path, reads: Sequence[Path] = (), allowed: Collection[str] = ()
    ) -> None:
        """`root` is the folder of all environments. Tools also see the files and folders `reads` of this host.

        Functions may name the images `allowed`.
        """
        self._allowed = allowed
        self._of_images: dict[str, DockerWorkshop] = {}
        self._engine = engine
        self._image = image
        self._root = root.absolute()
        self._reads = tuple(reads)

    async def of(self, image: str) -> DockerWorkshop:
        if image not in self._allowed:
            raise BadInput(f"functions may not name the image {shown(image)}; the operator allows it in docker.images")
        workshop = self._of_images.get(image)
        if workshop is None:
            # What the name means is asked once, since a function must not have containers of two images.
            found = await find(self._engine, image)
            workshop = self._of_images[image] = DockerWorkshop(self._engine, found, self._root, self._reads)
            workshop.image = found.id
        return workshop

    async def interpreter(self, version: str | None) -> Interpreter:
        names = ["python3"] if version is None else [f"python{version}", "python3"]
        for name in names:
            said: list[str] = []
            try:
                async with self._tool([name, "-I", "-c", PROBE], [], {}, "/", network="none") as container:
                    async for text in self._engine.output(container):
                        said.append(text)
                    code = await self._engine.exit_code(container)
            except HostError:
                if name != names[-1]:
                    continue  # the image has no program of that name
                raise
            found = probed("".join(said)) if code == 0 else None
            if found is not None and version in {None, found.version}:
                return replace(found, contents=self._image.contents)
        raise HostError(
            f"the image {self._image.name} has no Python {version or ''}".rstrip()
            + "; build one with: instainfer image build --base python:VERSION-slim"
        )

    def has(self, python: Path) -> bool:
        # A link in an environment leads to where the image has its Python; here, something else may be there, or
        # nothing.
        return python.is_symlink() or not python.is_relative_to(self._root)

    def uv(self, installer: str) -> Path | None:
        return None  # images have pip, and need nothing else

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
        arguments = [os.fspath(argument) for argument in argv]
        downloads = self._root / _DOWNLOADS
        temporary = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=cwd, prefix="tool-"))
        try:
            await asyncio.to_thread(_prepare, downloads, cwd, writes)
            given = pip_settings() | dict(env)
            given |= {"HOME": "/tmp", "TMPDIR": str(temporary), "PIP_CACHE_DIR": str(downloads)}
            mounts = [Mount(folder, writable=True) for folder in (downloads, cwd, *writes)]
            async with (
                recorded(arguments, log, on_line) as output,
                self._tool(arguments, mounts, given, str(cwd), network=_NETWORK) as container,
            ):
                await output.read(self._engine.output(container))
                code = await self._engine.exit_code(container)
        finally:
            await asyncio.to_thread(remove_tree, str(temporary))
            await asyncio.to_thread(_give, writes, os.geteuid())
        return output.finished(_KILLED_BY - code if code > _KILLED_BY else code)

    @asynccontextmanager
    async def _tool(
        self, arguments: list[str], writable: Sequence[Mount], env: Mapping[str, str], cwd: str, *, network: str
    ) -> AsyncIterator[str]:
        """A container in which a tool runs. It is removed at the end, and the tool killed if it still runs."""
        mounts = [*(Mount(place) for place in (self._root, *self._reads)), *writable]
        settings: dict[str, Any] = sealed(
            self._image.id, mounts, network=network, user=f"{_tools_uid()}:{os.getegid()}"
        )
        settings |= {
            "Entrypoint": arguments,
            "WorkingDir": cwd,
            "Env": [f"{name}={value}" for name, value in env.items()],
        }
        settings["HostConfig"]["LogConfig"] = {"Type": "json-file", "Config": {"max-size": "10m"}}
        container = await self._engine.create(settings)
        try:
            await self._engine.start(container)
            yield container
        finally:
            await asyncio.shield(self._engine.kill(container))


def _tools_uid() -> int:
    return os.geteuid() or BUILDER


def _prepare(downloads: Path, cwd: Path, writes: Sequence[Path]) -> None:
    """Make the folders that a tool writes into, and let the tool's user do so."""
    for folder in (downloads, *writes):
        folder.mkdir(parents=True, exist_ok=True)
    if os.geteuid() == 0:
        os.lchown(downloads, BUILDER, -1)
    _give((cwd, *writes), _tools_uid())


def _give(folders: Sequence[Path], uid: int) -> None:
    """Make a user the owner of folders and everything in them, which only root can do. Links are not followed."""
    if os.geteuid() != 0:
        return
    for folder in folders:
        for base, names, files in os.walk(folder):
            for path in (base, *(os.path.join(base, name) for name in (*names, *files))):
                os.lchown(path, uid, -1)
