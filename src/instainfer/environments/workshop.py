"""Runs the tools of builds: each build in a room and a jail of its own, with a log and errors that name the remedy.

Where they run is up to a `Place`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from copy import copy
from functools import partial
from pathlib import Path

from ..errors import EnvironmentBuildError, HostError
from .content import full_disk
from .gate import Gate
from .installers import TOOL_ENV, Run, Sources
from .jail import Jail
from .origins import ARGUMENTS, Origins, host_origins
from .place import Place
from .room import Room, build_uid, first_closed, give, made_room, take_over
from .tools import TAIL_LINES
from .usage import Limits

log = logging.getLogger(__name__)


class Workshop:
    """What all builds have in common."""

    def __init__(
        self,
        root: Path,
        place: Place,
        *,
        timeout_s: float,
        pip_args: Sequence[str],
        sources: Sources,
        hosts: Sequence[str],
        limits: Limits,
    ) -> None:
        self.root = root
        self.place = place
        self._timeout_s = timeout_s
        self._pip_args = pip_args
        self._sources = sources
        self._hosts = tuple(hosts)
        self._limits = limits

    def at(self, place: Place) -> Workshop:
        """The same in another place."""
        other = copy(self)
        other.place = place
        return other

    @asynccontextmanager
    async def bench(
        self, failed: str, name: str, on_line: Callable[[str], None], readable: Iterable[Path], *, from_source: bool
    ) -> AsyncIterator[Bench]:
        """Yield what runs the tools of a build. The errors of all that goes wrong begin with `failed`.

        `readable` are the files that the tools need, besides the sources of packages. `from_source`: packages may be
        built, so their code may run.
        """
        log_file = self.root / "logs" / f"{name}.log"
        everything = await asyncio.to_thread(host_origins, self._sources.env())
        origins = (everything.without_secrets() if from_source else everything).with_arguments(self._pip_args)
        read = [*readable, *origins.paths(), *([self._sources.constraints] if self._sources.constraints else [])]
        uid = None
        if await self.place.gives_uid():
            uid = await asyncio.to_thread(_uid, name, read, from_source=from_source)
        async with AsyncExitStack() as stack:
            await asyncio.to_thread(log_file.unlink, missing_ok=True)
            room = await _entered(stack, self.root / "scratch", uid)
            shared = None
            if not from_source:
                shared = self.root / "tool-caches" / str(os.geteuid() if uid is None else uid)
                await asyncio.to_thread(give, shared, uid)
            gate = Gate(origins.hosts(self._hosts))
            if proxy := everything.variables.get("PIP_PROXY"):
                gate.proxies = {"http": proxy, "https": proxy}
            jail = Jail(room, gate, read, shared, from_source, self._limits)
            variables = _variables(origins, room)
            bench = Bench(self, failed, log=log_file, on_line=on_line, jail=jail, variables=variables)
            try:
                async with asyncio.timeout(self._timeout_s):
                    yield bench
            except TimeoutError as error:
                text = (
                    f"{failed}: ended after {self._timeout_s:g} s (log: {log_file}); raise environments.build_timeout_s"
                )
                raise EnvironmentBuildError(text, "\n".join(bench.tail)) from error


class Bench:
    """Runs the tools of one build."""

    def __init__(
        self,
        workshop: Workshop,
        failed: str,
        *,
        log: Path,
        on_line: Callable[[str], None],
        jail: Jail,
        variables: dict[str, str],
    ) -> None:
        self.room = jail.room
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._root = workshop.root
        self._place = workshop.place
        self._failed = failed
        self._log = log
        self._on_line = on_line
        self._jail = jail
        self._variables = variables

    @property
    def run(self) -> Run:
        """Runs tools that write nothing but the folders of the room."""
        return partial(self._run, None)

    def running_in(self, folder: Path, *, links: bool = False) -> Run:
        """Runs tools that write in a folder too; `links`: they link files from the cache into it."""
        self._jail.joined = self._root if links else None
        return partial(self._run, folder)

    def may_read(self, *paths: Path) -> None:
        """Let the next tools read these files too."""
        self._jail.readable += paths

    async def give(self, folder: Path) -> None:
        """Make an empty folder for the tools."""
        await asyncio.to_thread(give, folder, self.room.uid)

    async def take_over(self, folder: Path) -> None:
        """Make what the tools have written the platform's own."""
        await asyncio.to_thread(take_over, folder)

    async def _run(self, folder: Path | None, argv: Sequence[str | Path]) -> None:
        arguments = [os.fspath(argument) for argument in argv]
        jail = self._jail
        finished = await self._place.run(
            arguments, jail, folder=folder, variables=self._variables, log=self._log, on_line=self._heard
        )
        if finished.stopped:
            raise EnvironmentBuildError(f"{self._failed}: {finished.stopped} (log: {self._log})", "\n".join(self.tail))
        if finished.returncode == 0:
            return
        if finished.disk_full:
            raise HostError(f"{self._failed}: {full_disk(self._root)}; tools also need room in {tempfile.gettempdir()}")
        text = f"{self._failed}: {finished.cause} (log: {self._log})"
        if jail.gate.refused:
            text += (
                f"; builds reach sources of packages alone, and were kept from {', '.join(sorted(jail.gate.refused))}: "
                "if packages may come from there, add it to environments.hosts"
            )
        raise EnvironmentBuildError(text, "\n".join(self.tail))

    def _heard(self, line: str) -> None:
        self.tail.append(line)
        self._on_line(line)


def _uid(name: str, read: Iterable[Path], *, from_source: bool) -> int | None:
    """The user of a build that has to read these files. Raises `HostError` if it cannot."""
    closed = first_closed(read)
    if closed is None:
        return build_uid(name, runs_packages=from_source)
    if from_source:
        raise HostError(
            f"{closed} is closed to other users, so a build from source cannot read it; open it (chmod o+rX)"
        )
    log.warning("builds have no user id of their own, because %s is closed to other users (chmod o+rX)", closed)
    return None


async def _entered(stack: AsyncExitStack, scratch: Path, uid: int | None) -> Room:
    """Make a room in a thread, and have it removed in one."""
    context = made_room(scratch, uid)
    room = await asyncio.to_thread(context.__enter__)
    stack.push_async_callback(asyncio.to_thread, context.__exit__, None, None, None)
    return room


def _variables(origins: Origins, room: Room) -> dict[str, str]:
    found = {name: value for name, value in origins.variables.items() if name != ARGUMENTS}
    if origins.uv_file:
        found["UV_CONFIG_FILE"] = str(room.hand_in("uv.toml", origins.uv_file))
    else:
        found["UV_NO_CONFIG"] = "1"
    if origins.logins:
        found["NETRC"] = str(room.hand_in("netrc", origins.logins))
    return {**found, **TOOL_ENV}
