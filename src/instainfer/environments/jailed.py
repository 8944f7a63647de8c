"""Starts the tools of builds in a jail: what this host gives for it, and what a build sees (ADR 30).

A build of wheels runs pip or uv alone, no code of packages. A build from source runs the code of whoever wrote a
package that somebody asked for. Both run in the same jail; the second also has a user id and a cache of its own, and
knows no password of an index. `runtime.build_jail` does inside what is planned here.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import HostError
from ..runtime import boot, landlock
from .gate import Gate
from .room import Room, first_closed
from .usage import Limits

_PORT = 3128
PROXY = f"http://127.0.0.1:{_PORT}"
"""The gate, as a jailed tool sees it."""
_PROBE_TIMEOUT_S = 20.0
_TELL_TIMEOUT_S = 60.0
_MOST_TOLD_BYTES = 65_536
_PROCESSES = 1024
_SHARED_UID = 1_999_999_999
"""The user of builds that run no code of packages."""
_FIRST_UID = 1_990_000_000
_UIDS = 9_000_000


@dataclass(frozen=True, slots=True)
class Layers:
    """What this host gives for a jail."""

    spaces: bool
    """Namespaces: files, processes and IPC of its own."""
    network: bool
    landlock: int
    """Its version; 0 for none."""
    own_uid: bool
    why_not: str = ""
    """Why there are no namespaces, or no network of its own."""

    def lines(self) -> list[str]:
        """For people: one line, and one for each layer that is missing."""
        files = "files: only its own" if self.spaces else f"files: only its own, by Landlock ABI {self.landlock}"
        lines = []
        if not self.spaces and not self.landlock:
            files = "files: those of the platform"
            lines.append("builds: no files of their own, since this host has neither namespaces nor Landlock")
        if not self.spaces:
            lines.append(
                f"builds: processes that one leaves behind may outlive it, if it is cancelled ({self.why_not})"
            )
        if not self.network:
            lines.append(f"builds: they reach every address that the platform reaches ({self.why_not})")
        if not self.own_uid:
            needs = "needs namespaces" if os.geteuid() == 0 else "needs root"
            lines.append(f"builds: no user id of their own ({needs})")
        given = [files, "no platform environment", "limits of time, memory and disk"]
        given += ["network: sources of packages only"] if self.network else []
        given += ["own uid"] if self.own_uid else []
        return ["builds: in a jail (" + "; ".join(given) + ")", *lines]


@functools.cache
def find_layers() -> Layers:
    """Try what this host gives, once. It starts processes and blocks, so call it in a thread."""
    version = landlock.abi()
    is_root = os.geteuid() == 0
    why_not = _tried(port=_PORT)
    if not why_not:
        return Layers(True, True, version, is_root)
    without_network = _tried(port=None)
    if not without_network:
        return Layers(True, False, version, is_root, why_not)
    return Layers(False, False, version, False, without_network)


def _tried(port: int | None) -> str:
    """Why no program can be run in namespaces; empty if one can."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plan = _Plan(argv=["/proc/self/exe"], port=port, spaces=True, temporary="/usr").as_json()
    with ours:
        with theirs:
            try:
                process = subprocess.Popen(
                    _launcher(theirs.fileno()),
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                    env={},
                )
            except OSError as error:
                return f"{sys.executable} cannot be started: {error.strerror}"
        with process:
            try:
                ours.settimeout(_PROBE_TIMEOUT_S)
                ours.send(plan)
                why_not, listener = _heard(ours)
                if listener is not None:
                    listener.close()
                return why_not
            except OSError as error:
                return f"no answer: {error}"
            finally:
                process.kill()


def _launcher(fd: int) -> list[str]:
    return [sys.executable, "-I", "-S", str(Path(boot.__file__)), "build_jail", str(fd)]


def _heard(ours: socket.socket) -> tuple[str, socket.socket | None]:
    """What the program inside says: its error, and the socket of the gate if it has a network of its own."""
    text, fds, _, _ = socket.recv_fds(ours, _MOST_TOLD_BYTES, 1)
    listener = socket.socket(fileno=fds[0]) if fds else None
    return (str(json.loads(text)["error"]) if text else "it ended at once"), listener


@dataclass(slots=True)
class _Plan:
    """See `runtime.build_jail.Plan`."""

    argv: list[str]
    spaces: bool
    port: int | None
    temporary: str
    has_tmp: bool = True
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    uid: int | None = None
    readable: list[str] = field(default_factory=list)
    writable: list[str] = field(default_factory=list)
    joined: str = ""
    executes: bool = False
    data_bytes: int = 1 << 40
    file_bytes: int = 1 << 40
    processes: int = _PROCESSES

    def as_json(self) -> bytes:
        names = self.__dataclass_fields__
        return json.dumps({name: getattr(self, name) for name in names}, default=dict).encode()


class Cell:
    """The jail of one tool. The program of `argv`, started with the descriptor `fd`, becomes the tool."""

    def __init__(self, plan: _Plan, gate: Gate) -> None:
        self._plan = plan
        self._gate = gate
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.fd = self._theirs.fileno()
        self.argv = _launcher(self.fd)

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Tell the program what to do, and serve its gate. Raises `HostError` if the jail cannot be entered."""
        self._theirs.close()
        self._ours.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_TELL_TIMEOUT_S):
                await loop.sock_sendall(self._ours, self._plan.as_json())
                await _readable(self._ours)
            error, listener = _heard(self._ours)
        except (OSError, TimeoutError) as raised:
            error, listener = f"no answer: {raised}", None
        if error:
            raise HostError(
                f"a build cannot be started in its jail: {error}; `instainfer up` says what this host gives"
            )
        if listener is None:
            yield
            return
        async with self._gate.serving(listener):
            yield

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


@dataclass(slots=True)
class Jail:
    """How the tools of one build are started."""

    layers: Layers
    room: Room
    gate: Gate
    readable: list[Path]
    shared_cache: Path | None
    """A folder that it shares with other builds. None: it has a cache of its own."""
    runs_packages: bool
    """Whether code of packages runs in it."""
    limits: Limits
    joined: Path | None = None

    def cell(self, argv: Sequence[str], env: Mapping[str, str], writes: Path | None) -> Cell:
        """The jail for one tool, which may write in the folder `writes`."""
        writable = [
            *self.room.writable,
            *([self.shared_cache] if self.shared_cache else []),
            *([writes] if writes else []),
        ]
        plan = _Plan(
            argv=list(argv),
            spaces=self.layers.spaces,
            port=_PORT if self.layers.network else None,
            temporary=str(self.room.temporary),
            has_tmp=self.layers.spaces and not self._lies_in_tmp(),
            env={**env, **self._own_variables()},
            cwd=str(self.room.made),
            uid=self.room.uid,
            readable=[str(path) for path in (self.room.given, *self.readable)],
            writable=[str(path) for path in writable],
            joined=str(self.joined) if self.joined and self._may_join() else "",
            executes=self.runs_packages,
            data_bytes=self.limits.memory_bytes,
            file_bytes=self.limits.disk_bytes,
        )
        return Cell(plan, self.gate)

    def _lies_in_tmp(self) -> bool:
        """Whether what it sees lies in the host's ``/tmp``. A ``/tmp`` of its own would give rights on that."""
        return any(path.resolve().is_relative_to("/tmp") for path in (self.room.folder, *self.readable))

    def _may_join(self) -> bool:
        """Whether one mount may hold more than the tool may write, because something else restricts it there."""
        is_open = self.joined is not None and first_closed([self.joined]) is None
        return self.layers.landlock > 1 and not self.runs_packages and (is_open or self.room.uid is None)

    def _own_variables(self) -> dict[str, str]:
        cache = self.shared_cache or self.room.cache
        own = {
            "HOME": str(self.room.home),
            "TMPDIR": str(self.room.temporary),
            "PIP_CACHE_DIR": str(cache / "pip"),
            "PIP_CONFIG_FILE": os.devnull,
            "UV_CACHE_DIR": str(cache / "uv"),
        }
        if self.layers.network:
            own |= dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "PIP_PROXY"), PROXY)
            own |= dict.fromkeys(("ALL_PROXY", "NO_PROXY", "all_proxy", "no_proxy"), "")
        return own


def build_uid(layers: Layers, name: str, *, runs_packages: bool) -> int | None:
    """The user of a build, named by its lock or environment. Two that run code of packages do not have the same."""
    if not layers.own_uid:
        return None
    if not runs_packages:
        return _SHARED_UID
    return _FIRST_UID + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % _UIDS
