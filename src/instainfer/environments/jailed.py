"""Starts the tools of builds in a jail of this machine: what the host gives for it, and what a tool sees (ADR 30).

A build of wheels runs pip or uv alone, no code of packages. A build from source runs the code of whoever wrote a
package that somebody asked for. Both run in the same jail; the second also has a user id and a cache of its own, and
knows no password of an index. `runtime.build_jail` does inside what is planned here.
"""

from __future__ import annotations

import asyncio
import functools
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
from .gate import PORT, Gate, readable
from .jail import Jail
from .room import first_closed

_PROBE_TIMEOUT_S = 20.0
_TELL_TIMEOUT_S = 60.0
_MOST_TOLD_BYTES = 65_536
_PROCESSES = 1024


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
    why_not = _tried(port=PORT)
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
                await readable(self._ours)
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


def cell(layers: Layers, jail: Jail, argv: Sequence[str], variables: Mapping[str, str], folder: Path | None) -> Cell:
    """The cell of one tool on a host that gives these layers. The tool may write in the `folder` too."""
    room = jail.room
    plan = _Plan(
        argv=list(argv),
        spaces=layers.spaces,
        port=PORT if layers.network else None,
        temporary=str(room.temporary),
        has_tmp=layers.spaces and not _lies_in_tmp(jail),
        env=jail.variables(variables, is_gated=layers.network),
        cwd=str(room.made),
        uid=room.uid,
        readable=[str(path) for path in (room.given, *jail.readable)],
        writable=[str(path) for path in jail.writable(folder)],
        joined=str(jail.joined) if jail.joined and _may_join(layers, jail, jail.joined) else "",
        executes=jail.runs_packages,
        data_bytes=jail.limits.memory_bytes,
        file_bytes=jail.limits.disk_bytes,
    )
    return Cell(plan, jail.gate)


def _lies_in_tmp(jail: Jail) -> bool:
    """Whether what it sees lies in the host's ``/tmp``. A ``/tmp`` of its own would give rights on that."""
    return any(path.resolve().is_relative_to("/tmp") for path in (jail.room.folder, *jail.readable))


def _may_join(layers: Layers, jail: Jail, joined: Path) -> bool:
    """Whether one mount may hold more than the tool may write, because something else restricts it there."""
    is_open = first_closed([joined]) is None
    return layers.landlock > 1 and not jail.runs_packages and (is_open or jail.room.uid is None)
