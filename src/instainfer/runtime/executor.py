"""One function's process: give up what it does not need, load the function, then answer one request after another.

Started by the manager with a socket, at low priority or not; ended by SIGKILL, or by the function's own code.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial

from ..wire.calls import Jailed, Prepare, Unloadable
from ..wire.messages import Failure
from . import caches, jail, openmp
from .connection import Connection
from .linux import die_with
from .users import name_user


def main(arguments: list[str]) -> int:
    """``executor SOCKET_FD MANAGER_PID``."""
    fd, manager = map(int, arguments)
    if not die_with(manager, signal.SIGKILL):
        return 1
    os.set_inheritable(fd, False)
    # Use a copy of the descriptor. The original stays open until the process has ended and its exit code is set,
    # whatever the interpreter closes at its end.
    connection = Connection(socket.socket(fileno=os.dup(fd)), fd)
    prepare: Prepare = connection.receive()
    function = prepare.function
    isolation = jail.enter(function.folder, prepare.scratch, environment_folder(), function.cache, prepare.uid)
    if not die_with(manager, signal.SIGKILL):  # a change of the user id has reset this
        return 1
    # This is sent before any code of the environment runs, which could send it in our place.
    connection.send(Jailed(isolation))
    caches.use(function.cache, prepare.scratch)
    enter_environment()
    return serve(connection, prepare)


def serve(connection: Connection, prepare: Prepare) -> int:
    """Load the function and answer its requests. Returns the exit code of the process, if it comes to its end."""
    function = prepare.function
    os.environ.update(function.secrets)
    openmp.pause_before_forks()
    sys.path.insert(0, function.folder)
    os.chdir(function.folder)
    connection.folder = function.folder
    if prepare.learns:
        connection.learn()
    if prepare.stands:
        from .forksafe import ForkSafety
        from .standing import stand

        connection.stand = partial(stand, connection, ForkSafety(), prepare.scratch, proves=prepare.proves)
    if function.style == "action":
        from . import action

        action.serve(connection, function)
    elif function.style == "script":
        from . import script

        script.serve(connection, function)
    else:
        text = "unknown style {!r}: action or script".format(function.style)
        connection.send(Unloadable(Failure("load_failed", text)))
        return 1
    return 0


def environment_folder() -> str:
    """The folder of the environment that this interpreter belongs to."""
    return os.path.dirname(os.path.dirname(sys.executable))


def enter_environment() -> None:
    """Make the environment's packages importable, as an interpreter does at an ordinary start."""
    import site

    site.main()
    name_user()
    sys.dont_write_bytecode = True  # the folders of the environment and of the function are read-only
    for stream in (sys.stdout, sys.stderr):
        # With line buffering, the lines that a process wrote before it crashed are in its logs.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
