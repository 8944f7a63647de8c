"""A library template: a process that has imported an environment's libraries. Functions are forked from it.

The manager starts it like the process of a function, on the environment's Python. It is isolated before it imports
anything. It imports the modules that it is told to import, in order, and checks after each import that it can still be
forked. Then it waits for requests to fork. A forked process becomes a child of the manager, gives up the access that
only other functions need, and goes on like any process of a function (`executor.serve`).

Two things differ from a process started from nothing. Hashes of text, and random numbers that libraries drew while they
were imported, are the same in all processes forked from one template. And paths that a library derived from ``HOME``
while it was imported do not exist.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module

from ..wire.calls import FROM_PROCESS, Apart, Born, Jailed, Mapped, Prepare
from ..wire.forks import FROM_TEMPLATE, TO_TEMPLATE, Fork, Made, Make, Unfit
from . import caches, jail
from .connection import Connection
from .executor import enter_environment, environment_folder, serve
from .forking import Requests
from .forksafe import ForkSafety
from .hugepages import gather
from .linux import die_with, flush_c_output
from .renewal import renew

_EVERYONES = ("action", "script")
"""Modules of InstaInfer that every process of a function needs."""
_BESIDE_TORCH = "deferred"
"""The module of InstaInfer that functions with ``fast_init`` need. It imports PyTorch."""


def main(arguments: list[str]) -> int:
    """``template SOCKET_FD MANAGER_PID``."""
    fd, manager = map(int, arguments)
    if not die_with(manager, signal.SIGKILL):
        return 1
    os.set_inheritable(fd, False)
    requests = Requests(socket.socket(fileno=fd), TO_TEMPLATE, FROM_TEMPLATE)
    make: Make = requests.receive()
    own = os.environ["HOME"]
    isolation = jail.enter_template(
        make.folders, make.scratch, own, environment_folder(), cached=make.caches, uid=make.uid
    )
    if not die_with(manager, signal.SIGKILL):  # a change of the user id has reset this
        return 1
    requests.send(Jailed(isolation))
    caches.stand_in(own)
    enter_environment()
    safety = ForkSafety()
    for name in _EVERYONES:
        import_module("." + name, __package__)
    skipped, unfit = _import(make.modules, safety)
    if unfit is not None:
        requests.send(unfit)
        return 0
    gc.collect()
    gc.freeze()  # otherwise the collector would write into every shared object
    gather()
    requests.send(Made(skipped))
    while isinstance(requests.receive(), Fork):
        channel = _fork(requests.take_fds())
        if channel is not None:
            requests.close()
            return _be_resident(channel, manager)
    return 1


def _import(modules: list[str], safety: ForkSafety) -> tuple[dict[str, str], Unfit | None]:
    """Import modules until one prevents forking. Returns the modules that failed, with reasons, and that one."""
    skipped: dict[str, str] = {}
    gc.disable()
    for name in _with_packages(modules):
        if name in sys.modules or name in skipped:
            continue
        try:
            import_module(name)
        except (Exception, SystemExit) as error:
            # Code of a library may fail in any way. Functions that need the module import it themselves and see why.
            skipped[name] = "it cannot be imported: {}: {}".format(type(error).__name__, error)
        reason = safety.offence()
        if reason is not None:
            return skipped, Unfit(name, reason)
    if "torch" in sys.modules:
        with suppress(ImportError, AttributeError):  # PyTorch is too old; a function that needs it gets an error
            import_module("." + _BESIDE_TORCH, __package__)
    gc.enable()
    return skipped, None


def _with_packages(modules: list[str]) -> Iterator[str]:
    """Each module after the packages that contain it, so that an effect of a package is not blamed on its part."""
    for name in modules:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            yield ".".join(parts[:end])


def _fork(fds: list[int]) -> int | None:
    """Fork twice and end the process between, so that the manager adopts the second. Returns its socket there."""
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
    """Fork, report the forked process, and end. Returns in the forked process only.

    The report is sent before the forked process can become a child of the manager. So the manager never takes it for a
    stray.
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
    """Use the descriptors that came with the request as the socket, stdout and stderr of this process."""
    channel, stdout, stderr = fds
    os.set_inheritable(channel, False)
    for theirs, number in ((stdout, 1), (stderr, 2)):
        os.dup2(theirs, number)
        os.close(theirs)
    return channel


def _be_resident(channel: int, manager: int) -> int:
    """Do what `executor.main` does, in a process that was forked from a template."""
    between = os.getppid()
    connection = Connection(socket.socket(fileno=os.dup(channel)), channel)
    prepare: Prepare = connection.receive()
    os.environ.clear()
    os.environ.update(prepare.env)
    renew()
    ask_uid = partial(_ask_uid, connection) if prepare.own_uid else None
    function = prepare.function
    isolation = jail.narrow(function.folder, prepare.scratch, environment_folder(), ask_uid, function.cache)
    if between != manager:
        _wait_for_end(between)
    if not die_with(manager, signal.SIGKILL):
        return 1
    connection.send(Jailed(isolation))
    caches.use(function.cache, prepare.scratch)
    return serve(connection, prepare)


def _ask_uid(connection: Connection) -> int:
    connection.send(Apart())
    mapped: Mapped = connection.receive()
    return mapped.uid


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
