"""A process that has imported an environment's libraries, and nothing of any function; functions are forked from it.

Started by the manager like a function's process, on the environment's Python, and jailed before it imports anything.
It imports what it is told to, in order, and looks after each import whether it can still be forked from. Then it waits
for requests to fork. A forked process becomes a child of the manager, gives up what is not its own function's, and
goes on as any function's process does (`executor.serve`).

What differs from a process started from nothing: hashes of text and what libraries drew at random while they were
imported are the same in all that come from one template; paths that a library made from ``HOME`` while it was imported
lead nowhere.
"""

from __future__ import annotations

import gc
import os
import random
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from typing import Any

from ..wire.calls import FROM_PROCESS, Apart, Born, Jailed, Mapped, Prepare
from ..wire.forks import FORK_FDS, FROM_TEMPLATE, TO_TEMPLATE, Fork, Made, Make, Unfit
from ..wire.framing import Frame
from . import jail
from .connection import Connection
from .executor import enter_environment, environment_folder, serve
from .forksafe import ForkSafety
from .linux import die_with, flush_c_output

_READ_BYTES = 65536
_EVERYONES = ("action", "script")
"""Our own modules that every function's process needs."""
_BESIDE_TORCH = "deferred"
"""The one that those with ``fast_init`` need."""


class _Requests:
    """What the manager sends, with the descriptors that come along."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = TO_TEMPLATE.decoder()
        self._frames: Iterator[Frame] = iter(())
        self._fds: list[int] = []

    def receive(self) -> Any:
        """The next message. When the manager is gone this process ends at once."""
        while (frame := next(self._frames, None)) is None:
            data, fds, _, _ = socket.recv_fds(self._sock, _READ_BYTES, FORK_FDS)
            if not data:
                os._exit(0)
            self._fds += fds
            self._frames = self._decoder.feed(data)
        return TO_TEMPLATE.decode(frame)

    def take_fds(self) -> list[int]:
        """Those of the `Fork` that was received last."""
        fds, self._fds = self._fds[:FORK_FDS], self._fds[FORK_FDS:]
        return fds

    def send(self, message: Any) -> None:
        self._sock.sendall(FROM_TEMPLATE.encode(message))

    def close(self) -> None:
        self._sock.close()


def main(arguments: list[str]) -> int:
    """``template SOCKET_FD MANAGER_PID``."""
    fd, manager = map(int, arguments)
    if not die_with(manager, signal.SIGKILL):
        return 1
    os.set_inheritable(fd, False)
    requests = _Requests(socket.socket(fileno=fd))
    make: Make = requests.receive()
    requests.send(Jailed(jail.enter_template(make.folders, make.scratch, environment_folder())))
    enter_environment()
    safety = ForkSafety()
    for name in _EVERYONES:
        import_module("." + name, __package__)
    skipped, unfit = _import(make.modules, safety)
    if unfit is not None:
        requests.send(unfit)
        return 0
    gc.collect()
    gc.freeze()  # else the collector would write into every object that is shared
    requests.send(Made(skipped))
    while isinstance(requests.receive(), Fork):
        channel = _fork(requests.take_fds())
        if channel is not None:
            requests.close()
            return _be_resident(channel, manager)
    return 1


def _import(modules: list[str], safety: ForkSafety) -> tuple[dict[str, str], Unfit | None]:
    """Import them, until one makes this process unfit; returns also those that could not be imported, and why."""
    skipped: dict[str, str] = {}
    gc.disable()
    for name in _with_packages(modules):
        if name in sys.modules or name in skipped:
            continue
        try:
            import_module(name)
        except (Exception, SystemExit) as error:
            # It is a library's code and may fail in any way; then functions import it themselves and see why.
            skipped[name] = "it cannot be imported: {}: {}".format(type(error).__name__, error)
        reason = safety.offence()
        if reason is not None:
            return skipped, Unfit(name, reason)
    if "torch" in sys.modules:
        with suppress(ImportError, AttributeError):  # it is too old; who needs it says so
            import_module("." + _BESIDE_TORCH, __package__)
    gc.enable()
    return skipped, None


def _with_packages(modules: list[str]) -> Iterator[str]:
    """Each after the packages that it is in, so that what a package's import does is not blamed on a part of it."""
    for name in modules:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])


def _fork(fds: list[int]) -> int | None:
    """Fork a process of the manager's, by way of one between that ends at once; returns its socket in there."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    flush_c_output()
    try:
        between = os.fork()
    except OSError as error:
        print("cannot fork: {}".format(error), file=sys.stderr)  # noqa: T201 - the manager sees the socket closed
        between = -1
    if between == 0:
        _fork_and_end(fds[0])
        return _take_over(fds)
    for fd in fds:
        os.close(fd)
    if between > 0:
        os.waitpid(between, 0)
    return None


def _fork_and_end(channel: int) -> None:
    """Returns in the forked process only.

    The manager hears of it before it can become the manager's child, so that it is never taken for a stray.
    """
    try:
        pid = os.fork()
        if pid == 0:
            return
        os.setpgid(pid, pid)
        with socket.socket(fileno=channel) as sock:
            sock.sendall(FROM_PROCESS.encode(Born(pid)))
    except OSError:
        os._exit(1)
    os._exit(0)


def _take_over(fds: list[int]) -> int:
    """Make the descriptors that came with the request this process's own."""
    channel, stdout, stderr = fds
    os.set_inheritable(channel, False)
    for theirs, number in ((stdout, 1), (stderr, 2)):
        os.dup2(theirs, number)
        os.close(theirs)
    return channel


def _be_resident(channel: int, manager: int) -> int:
    """What `executor.main` does, for a process that has been forked."""
    between = os.getppid()
    connection = Connection(socket.socket(fileno=os.dup(channel)))
    prepare: Prepare = connection.receive()
    os.environ.clear()
    os.environ.update(prepare.env)
    _forget_the_template()
    ask_uid = partial(_ask_uid, connection) if prepare.own_uid else None
    isolation = jail.narrow(prepare.function.folder, prepare.scratch, environment_folder(), ask_uid)
    if between != manager:
        _wait_for_end(between)
    if not die_with(manager, signal.SIGKILL):
        return 1
    connection.send(Jailed(isolation))
    return serve(connection, prepare)


def _ask_uid(connection: Connection) -> int:
    connection.send(Apart())
    mapped: Mapped = connection.receive()
    return mapped.uid


def _forget_the_template() -> None:
    """What would be the same in all that are forked from it, and should not."""
    gc.enable()
    random.seed()
    # PyTorch's generator stays: it begins with the same numbers in every fresh process, too, and who wants others
    # seeds it.
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    tempfile: Any = sys.modules.get("tempfile")
    if tempfile is not None:
        tempfile.tempdir = None  # else the template's, if a library has asked for it


def _wait_for_end(pid: int) -> None:
    """Return when a process, the parent of this one, has ended."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        select.select([pidfd], [], [])
    finally:
        os.close(pidfd)
