"""Builds environments in containers of the image that they will be used in (`environments.place.Place`).

A tool sees what its jail names, at the same paths, and the image. It has no capabilities and can get none; the Engine
limits its memory, processes and share of the processors. It has no network but the gate of its build, whose listening
socket the container hands out (`runtime.build_container`).

Where the platform is root, tools have another user id, and `room.take_over` makes what they have made root's. So they
cannot leave a program behind that runs with root's rights on this host.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...environments.gate import PORT, Gate, readable
from ...environments.interpreters import PROBE, Interpreter, probed
from ...environments.jail import Jail
from ...environments.room import Room
from ...environments.tools import Finished, Watch, recorded
from ...environments.usage import Usage
from ...errors import BadInput, HostError, shown
from .engine import Engine
from .images import Image, find
from .settings import CODE, Mount, sealed, tool_settings

log = logging.getLogger(__name__)

_SOCKET = "gate.sock"
_KILLED_BY = 128
_NOT_THERE = ("PATH", "LD_LIBRARY_PATH")
"""Variables that say where programs and libraries are on this host."""


class DockerPlace:
    """Runs tools in containers of one image."""

    image = ""

    def __init__(self, engine: Engine, image: Image, root: Path, allowed: Collection[str] = ()) -> None:
        """`root` is the folder of all environments. Functions may name the images `allowed`."""
        self._allowed = allowed
        self._of_images: dict[str, DockerPlace] = {}
        self._engine = engine
        self._image = image
        self._root = root.absolute()

    async def of(self, image: str) -> DockerPlace:
        if image not in self._allowed:
            raise BadInput(f"functions may not name the image {shown(image)}; the operator allows it in docker.images")
        place = self._of_images.get(image)
        if place is None:
            # What the name means is asked once, since a function must not have containers of two images.
            found = await find(self._engine, image)
            place = self._of_images[image] = DockerPlace(self._engine, found, self._root)
            place.image = found.id
        return place

    async def isolation(self) -> list[str]:
        given = "files: only its own; no platform environment; limits of time, memory and disk"
        given += "; network: sources of packages only"
        if os.geteuid() == 0:
            return [f"builds: in containers of the image ({given}; own uid)"]
        return [f"builds: in containers of the image ({given})", "builds: no user id of their own (needs root)"]

    async def gives_uid(self) -> bool:
        return os.geteuid() == 0

    async def interpreter(self, version: str | None) -> Interpreter:
        names = ["python3"] if version is None else [f"python{version}", "python3"]
        for name in names:
            said: list[str] = []
            settings = sealed(self._image.id, [], network="none", user=_user(None))
            settings["Entrypoint"] = [name, "-I", "-c", PROBE]
            try:
                async with self._container(settings) as container:
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
        argv: Sequence[str],
        jail: Jail,
        *,
        folder: Path | None,
        variables: Mapping[str, str],
        log: Path,
        on_line: Callable[[str], None],
    ) -> Finished:
        given = {name: value for name, value in variables.items() if name not in _NOT_THERE}
        door = jail.room.given / _SOCKET
        settings = tool_settings(
            self._image.id,
            ["python3", "-I", "-S", f"{CODE}/runtime/boot.py", "build_container", str(door), str(PORT), *argv],
            _mounts(jail, folder),
            user=_user(jail.room.uid),
            cwd=jail.room.made,
            env=jail.variables(given, is_gated=True),
            memory_bytes=jail.limits.memory_bytes,
            file_bytes=jail.limits.disk_bytes,
        )
        usage = Usage(jail.limits, [*jail.room.writable, *([folder] if folder else [])])
        async with (
            recorded(argv, log, on_line) as output,
            _gate(jail.room, jail.gate),
            self._container(settings) as container,
        ):
            watch = Watch(lambda: usage.exceeded(None), lambda: self._engine.stop(container))
            async with watch:
                await output.read(self._engine.output(container))
                code = await self._engine.exit_code(container)
            stopped = watch.exceeded
            if code != 0 and not stopped and await self._engine.lacked_memory(container):
                stopped = jail.limits.memory_exceeded()
        return replace(output.finished(_KILLED_BY - code if code > _KILLED_BY else code), stopped=stopped)

    @asynccontextmanager
    async def _container(self, settings: Mapping[str, Any]) -> AsyncIterator[str]:
        """A container that runs. It is removed at the end, and what still runs in it is killed."""
        container = await self._engine.create(settings)
        try:
            await self._engine.start(container)
            yield container
        finally:
            await asyncio.shield(self._engine.kill(container))


def _user(uid: int | None) -> str:
    return f"{os.geteuid()}:{os.getegid()}" if uid is None else f"{uid}:{uid}"


def _mounts(jail: Jail, folder: Path | None) -> list[Mount]:
    """What a tool sees of this host, each path once."""
    seen = {path: Mount(path) for path in (jail.room.given, *jail.readable) if path.exists()}
    seen |= {path: Mount(path, writable=True) for path in jail.writable(folder)}
    return list(seen.values())


@asynccontextmanager
async def _gate(room: Room, gate: Gate) -> AsyncIterator[None]:
    """Serve the gate at the socket that the container of this build hands out, as long as this context lasts."""
    path = room.given / _SOCKET
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        at = os.open(room.given, os.O_PATH | os.O_DIRECTORY)
        try:
            # An address has room for 107 bytes, which the path may exceed.
            door.bind(f"/proc/self/fd/{at}/{_SOCKET}")
        finally:
            os.close(at)
        try:
            path.chmod(0o600)
            if room.uid is not None:
                os.chown(path, room.uid, -1)
            door.listen(1)
            door.setblocking(False)
            serving = asyncio.create_task(_serve(door, gate))
            try:
                yield
            finally:
                serving.cancel()
                await asyncio.wait((serving,))
                if not serving.cancelled() and (error := serving.exception()) is not None:
                    log.warning("a build had no gate: %s", error)
        finally:
            path.unlink()


async def _serve(door: socket.socket, gate: Gate) -> None:
    # The first to come is the program that becomes the tool. No code of others has run in the container before.
    visitor, _ = await asyncio.get_running_loop().sock_accept(door)
    with visitor:
        await readable(visitor)
        _, fds, _, _ = socket.recv_fds(visitor, 16, 1)
    async with gate.serving(socket.socket(fileno=fds[0])):
        await asyncio.get_running_loop().create_future()  # until this task is cancelled
