"""Builds each environment once from its requirements. All functions with the same digest share the environment.

::

    ROOT/locks/     the exact versions for requirements        ROOT/env-<digest>/   a virtual environment
    ROOT/logs/      output of the tools, per lock and build    ROOT/pip/<tag>/      a pip per interpreter
    ROOT/busy/      files that are locked during work          ROOT/scratch/        where tools run (`room`)
    ROOT/tool-caches/   what pip and uv keep, for builds that run no code of packages

A virtual environment cannot be moved, so it is built in its final place under a file lock, and a marker is written
last. If the marker is missing, the build was interrupted, and the environment is removed and built again.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal
from weakref import WeakValueDictionary

from ..errors import EnvironmentBuildError, HostError
from .content import explaining_full_disk
from .exclusive import at_once, exclusive
from .installers import Installer, Pip, Sources, Uv
from .interpreters import Interpreter
from .lock import Lock, lock_key, write_durably
from .place import Place
from .requirements import Requirements
from .room import remove
from .sharing import NOTHING, Installed, Sizes, compile_program, share, site_of
from .this_machine import ThisMachine
from .usage import Limits
from .workshop import Bench, Workshop

log = logging.getLogger(__name__)

_READY = "ready"
_PACKAGES = "packages.json"
_LOCK = "lock.txt"
_FETCHED = re.compile(r"Downloading (\S+) \(([\d.]+ ?[MG]i?B)\)")
"""What pip and uv say of a large archive."""
_OLDEST_PIP = (22, 3)  # the first pip that has both --report and --python


@dataclass(frozen=True, slots=True)
class Progress:
    """One thing that happened while an environment was built."""

    step: Literal["lock", "create", "install", "ready"]
    text: str
    """One line for people. What the tools say is in the log."""
    elapsed_s: float
    """Seconds since `Environments.ensure` was called."""


@dataclass(frozen=True, slots=True)
class Environment:
    """A set of installed packages and the Python that can import them."""

    digest: str
    python: Path
    packages: tuple[str, ...]
    """``name==version``, sorted."""
    cached: bool
    """Whether the environment existed before it was asked for."""
    sizes: Sizes = NOTHING
    """What its packages take on disk, if it has just been built."""
    image: str = ""
    """The image that containers with this environment are made from. Empty: the usual one."""


class Environments:
    """The environments under one folder, which several processes may share."""

    def __init__(
        self,
        root: Path,
        *,
        installer: Literal["auto", "uv", "pip"] = "auto",
        timeout_s: float = 1800.0,
        pip_args: Sequence[str] = (),
        max_builds: int = 2,
        sources: Sources | None = None,
        hosts: Sequence[str] = (),
        allow_source: bool = True,
        limits: Limits | None = None,
        place: Place | None = None,
    ) -> None:
        """`timeout_s` limits the time of each resolution and of each build; both get `pip_args` and use `sources`.

        At most `max_builds` resolutions and builds run at the same time; further ones wait. Tools run in the `place`,
        by default on this machine. They reach the hosts of all sources and `hosts`, and use no more than `limits`.
        Unless `allow_source`, requirements that ask to be built from source are refused.
        """
        self.root = root.absolute()
        self._installer = installer
        self._allow_source = allow_source
        self._pip_args = tuple(pip_args)
        self._sources = sources if sources is not None else Sources()
        self._of_images: dict[str, Environments] = {}
        self._interpreters: dict[str | None, Interpreter] = {}
        self._scratch = self.root / "scratch"
        self._workshop = Workshop(
            self.root,
            place if place is not None else ThisMachine(),
            timeout_s=timeout_s,
            pip_args=self._pip_args,
            sources=self._sources,
            hosts=hosts,
            limits=limits if limits is not None else Limits(),
        )
        self._slots = asyncio.Semaphore(max_builds)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def isolation(self) -> list[str]:
        """Lines that say how builds are isolated, and which layers cannot be given."""
        return await self._workshop.place.isolation()

    async def ensure(
        self, requirements: Requirements, progress: Callable[[Progress], None] | None = None
    ) -> Environment:
        """Return the environment for the requirements, and build the environment first if it does not exist.

        Raises `EnvironmentBuildError` when the requirements cannot be resolved or installed, or when that takes too
        long. Raises `HostError` when this machine lacks a Python, a tool or disk space. Cancelling ends the running
        tool and leaves nothing half-built.
        """
        if requirements.from_source and not self._allow_source:
            raise EnvironmentBuildError(
                'build = "source": this platform installs wheels only (environments.allow_source); leave it out'
            )
        if requirements.image:
            inside = await self._inside(requirements.image)
            built = await inside.ensure(replace(requirements, image=""), progress)
            return replace(built, image=inside._workshop.place.image)
        tell = _Teller(progress)
        with explaining_full_disk(self.root):
            await asyncio.to_thread(self._scratch.mkdir, parents=True, exist_ok=True)
            interpreter = await self._interpreter(requirements.python)
            lock = await self._lock(requirements, interpreter, tell)
            from_source = requirements.from_source
            digest = lock.digest(interpreter, from_source=from_source)
            environment = await asyncio.to_thread(self._found, digest)
            if environment is None:
                async with self._at_work(digest, tell):
                    # Another task or process may have built the environment during the wait.
                    environment = await asyncio.to_thread(self._ready, digest, cached=True)
                    if environment is None:
                        environment = await self._build(digest, lock, interpreter, tell, from_source=from_source)
                    await asyncio.to_thread(mark_used, self.root / digest)
        tell("ready", _in_words(environment))
        return environment

    async def _inside(self, image: str) -> Environments:
        """The environments for an image that functions name, in the same folder. They are built in turn with ours."""
        place = await self._workshop.place.of(image)
        known = self._of_images.get(place.image)
        if known is None:
            known = self._of_images[place.image] = copy(self)
            known._workshop, known._interpreters = self._workshop.at(place), {}
        return known

    async def _interpreter(self, version: str | None) -> Interpreter:
        known = self._interpreters.get(version)
        if known is None or not self._workshop.place.has(known.executable):
            known = self._interpreters[version] = await self._workshop.place.interpreter(version)
        return known

    def _found(self, digest: str) -> Environment | None:
        """The environment if it exists, marked as used. The shared lock prevents its removal before it is marked."""
        with at_once(busy_file(self.root, digest), shared=True) as held:
            environment = self._ready(digest, cached=True) if held else None
            if environment is not None:
                mark_used(self.root / digest)
        return environment

    def _ready(self, digest: str, *, cached: bool) -> Environment | None:
        folder = self.root / digest
        python = folder / "bin" / "python"
        # The interpreter that the environment links to may have been removed from the host.
        if not (folder / _READY).exists() or not self._workshop.place.has(python):
            return None
        try:
            packages = json.loads((folder / _PACKAGES).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError) as error:
            log.warning("%s is damaged and is built anew: %s", folder, error)
            return None
        return Environment(digest, python, tuple(packages), cached)

    @asynccontextmanager
    async def _alone(self, name: str, tell: _Teller) -> AsyncIterator[None]:
        def on_wait() -> None:
            tell(tell.step, f"waiting for whoever is working on {name}")

        async with exclusive(busy_file(self.root, name), on_wait):
            yield

    @asynccontextmanager
    async def _at_work(self, name: str, tell: _Teller) -> AsyncIterator[None]:
        """Hold the lock of `name` and one of the `max_builds` slots.

        Tasks of this process that want the same name queue on an `asyncio.Lock` first, so a waiting task takes
        neither a slot nor a thread.
        """
        turn = self._turns.setdefault(name, asyncio.Lock())
        if turn.locked() or self._slots.locked():
            tell(tell.step, f"waiting for other builds, then for {name}")
        async with turn, self._slots, self._alone(name, tell):
            yield

    async def _lock(self, requirements: Requirements, interpreter: Interpreter, tell: _Teller) -> Lock:
        tell.step = "lock"
        if not requirements.lines and not requirements.no_deps:
            return Lock()
        key = lock_key(requirements, interpreter, await asyncio.to_thread(self._sources.text))
        file = self.root / "locks" / f"{key}.txt"
        if (known := await asyncio.to_thread(_known_lock, file)) is not None:
            return known
        async with self._at_work(key, tell):
            if (known := await asyncio.to_thread(_known_lock, file)) is not None:
                return known
            from_source = requirements.from_source
            async with self._bench("the requirements cannot be resolved", key, interpreter, tell, from_source) as bench:
                tell("lock", f"resolving for Python {interpreter.version}")
                installer = await self._tool(interpreter, bench, tell)
                async with _naming_what_has_no_wheel(installer, bench, from_source=from_source):
                    resolve = partial(installer.resolve, sources=self._sources, run=bench.run, room=bench.room)
                    resolved = [
                        await resolve(lines, no_deps=no_deps, from_source=from_source) if lines else []
                        for lines, no_deps in ((requirements.lines, False), (requirements.no_deps, True))
                    ]
            lock = Lock.of(*resolved)
            await asyncio.to_thread(write_durably, file, lock.text)
            return lock

    async def _build(
        self, digest: str, lock: Lock, interpreter: Interpreter, tell: _Teller, *, from_source: bool
    ) -> Environment:
        folder = self.root / digest
        interpreter.require("venv")
        try:
            await asyncio.to_thread(remove, folder)
            async with self._bench(
                "the requirements cannot be installed", digest, interpreter, tell, from_source
            ) as bench:
                tell("create", f"creating {digest} with Python {interpreter.version}")
                await bench.give(folder)
                run = bench.running_in(folder)
                await run([interpreter.executable, "-I", "-m", "venv", "--without-pip", folder])
                if lock.pins:
                    tell("install", f"installing {len(lock.pins)} packages")
                    if hint := gpu_hint(lock):
                        tell("install", hint)
                    installer = await self._tool(interpreter, bench, tell)
                    asked = bench.room.hand_in(_LOCK, lock.text)
                    installing = bench.running_in(folder, links=isinstance(installer, Uv))
                    async with _naming_what_has_no_wheel(installer, bench, from_source=from_source):
                        python = folder / "bin" / "python"
                        await installer.install(lock, asked, python, installing, from_source=from_source)
                    tell("install", "compiling modules")
                    site = await asyncio.to_thread(site_of, folder)
                    if site is not None:
                        await bench.running_in(folder)(compile_program(interpreter.executable, site))
                await bench.take_over(folder)
            await asyncio.to_thread(write_durably, folder / _LOCK, lock.text)
            sizes = await self._share(folder, lock, tell)
            packages = json.dumps([str(pin) for pin in lock.pins], indent=1)
            await asyncio.to_thread(write_durably, folder / _PACKAGES, packages)
            await asyncio.to_thread(write_durably, folder / _READY, "")
        except BaseException:
            await asyncio.to_thread(remove, folder)
            raise
        environment = await asyncio.to_thread(self._ready, digest, cached=False)
        if environment is None:
            raise HostError(f"{folder} was built, but its Python does not exist; was {interpreter.executable} removed?")
        return replace(environment, sizes=sizes)

    async def _share(self, folder: Path, lock: Lock, tell: _Teller) -> Sizes:
        site = site_of(folder)
        if site is None or not lock.pins:
            return NOTHING
        tell("install", "looking for files that other environments have too")
        new = Installed(site, frozenset(map(str, lock.pins)))
        return await asyncio.to_thread(lambda: share(new, self._others(folder)))

    def _others(self, folder: Path) -> Iterator[Installed]:
        """The complete environments besides this one."""
        for other in sorted(self.root.glob("env-*")):
            environment = self._ready(other.name, cached=True) if other != folder else None
            site = site_of(other)
            if environment is not None and site is not None:
                yield Installed(site, frozenset(environment.packages))

    async def _tool(self, interpreter: Interpreter, bench: Bench, tell: _Teller) -> Installer:
        uv = await asyncio.to_thread(self._workshop.place.uv, self._installer)
        if uv is not None:
            bench.may_read(uv)
            return Uv(uv, interpreter.executable, self._pip_args)
        return Pip(await self._pip(interpreter, bench, tell), self._pip_args)

    async def _pip(self, interpreter: Interpreter, bench: Bench, tell: _Teller) -> Path:
        """A Python of that version with a recent enough pip. It is kept apart because environments contain no pip."""
        folder = self.root / "pip" / interpreter.name
        python = folder / "bin" / "python"
        if (folder / _READY).exists() and self._workshop.place.has(python):
            bench.may_read(folder)
            return python
        interpreter.require("venv")
        interpreter.require("ensurepip")
        async with self._alone(f"pip-{interpreter.name}", tell):
            if not ((folder / _READY).exists() and self._workshop.place.has(python)):
                tell(tell.step, f"preparing pip for Python {interpreter.version}")
                await asyncio.to_thread(remove, folder)
                await bench.give(folder)
                run = bench.running_in(folder)
                await run([interpreter.executable, "-I", "-m", "venv", folder])
                if _pip_version(folder) < _OLDEST_PIP:
                    oldest = ".".join(map(str, _OLDEST_PIP))
                    wanted = [f"pip>={oldest}", "--only-binary", ":all:", *self._pip_args]
                    await run([python, "-I", "-m", "pip", "install", "--upgrade", *wanted])
                await bench.take_over(folder)
                await asyncio.to_thread(write_durably, folder / _READY, "")
        bench.may_read(folder)
        return python

    @asynccontextmanager
    async def _bench(
        self, failed: str, name: str, interpreter: Interpreter, tell: _Teller, from_source: bool
    ) -> AsyncIterator[Bench]:
        def on_line(line: str) -> None:
            if fetched := _FETCHED.search(line):
                tell(tell.step, f"fetching {fetched[1]} ({fetched[2]})")

        async with self._workshop.bench(failed, name, on_line, interpreter.files, from_source=from_source) as bench:
            yield bench


@asynccontextmanager
async def _naming_what_has_no_wheel(installer: Installer, bench: Bench, *, from_source: bool) -> AsyncIterator[None]:
    try:
        yield
    except EnvironmentBuildError as error:
        package = None if from_source else await installer.lacking_wheel(error, bench)
        if package is None:
            raise
        raise EnvironmentBuildError(
            f"{package} has no wheel for this Python and machine, only its source; ask for a version that has one, or "
            'set build = "source" in function.toml, which lets the package run its own code to build itself',
            error.log_tail,
        ) from error


def gpu_hint(lock: Lock, driver: Path = Path("/proc/driver/nvidia")) -> str:
    """A hint if packages for GPUs are about to be installed on a host that has none. Empty otherwise."""
    found = [pin.name for pin in lock.pins if pin.name.startswith("nvidia-")]
    if not found or driver.exists():
        return ""
    return (
        f"this host has no GPU, and {len(found)} packages are for one ({found[0]} and so on); a build for the CPU is "
        "gigabytes smaller: name its version, or have the operator set environments.index_url or constraints"
    )


def _in_words(environment: Environment) -> str:
    words = f"{environment.digest}: {len(environment.packages)} packages"
    if environment.cached:
        return f"{words}, cached"
    total_mb, shared_mb = (size / 1e6 for size in environment.sizes)
    return f"{words}, {total_mb:,.0f} MB, of which other environments have {shared_mb:,.0f} MB too"


class _Teller:
    """Passes progress on to the caller, and remembers the current step."""

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        self._progress = progress
        self._start_s = time.monotonic()
        self.step: Literal["lock", "create", "install", "ready"] = "lock"

    def __call__(self, step: Literal["lock", "create", "install", "ready"], text: str) -> None:
        self.step = step
        if self._progress is not None:
            self._progress(Progress(step, text, time.monotonic() - self._start_s))


def _known_lock(file: Path) -> Lock | None:
    """The lock from an earlier resolution, marked as used now. None if there is none, or if the file is damaged."""
    try:
        with suppress(PermissionError):
            os.utime(file)
        return Lock.parse(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        log.warning("%s is damaged; the requirements are resolved anew: %s", file, error)
        return None


def busy_file(root: Path, name: str) -> Path:
    """The file whose lock is held alone to build or remove this environment, and shared to look the environment up."""
    return root / "busy" / name


def ready_file(folder: Path) -> Path:
    """The marker of a complete environment. Its modification time says when the environment was last used."""
    return folder / _READY


def mark_used(folder: Path) -> None:
    with suppress(FileNotFoundError, PermissionError):  # another user's environment is not removed anyway
        os.utime(ready_file(folder))


def packages_of(folder: Path) -> tuple[str, ...] | None:
    """``name==version`` of each package in the environment at `folder`, sorted. None if that is not known."""
    try:
        return tuple(json.loads((folder / _PACKAGES).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def _pip_version(folder: Path) -> tuple[int, int]:
    for info in folder.glob("lib/python*/site-packages/pip-*.dist-info"):
        if match := re.match(r"pip-(\d+)\.(\d+)", info.name):
            return int(match[1]), int(match[2])
    return 0, 0
