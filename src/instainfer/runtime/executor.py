"""One function's process: give up what it does not need, load the function, then answer one request after another.

Started by the manager with a socket, at low priority or not; ended by SIGKILL, or by the function's own code. It never
reads ahead: while a request is answered the next one stays in the socket.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..wire.calls import FROM_PROCESS, TO_PROCESS, Answered, Ask, Jailed, Prepare, Prepared, Unloadable, Warm, Warmed
from ..wire.framing import Frame
from ..wire.messages import Failure
from . import imported, jail, mapped
from .linux import die_with, flush_c_output

_READ_BYTES = 65536


class Connection:
    """The process's side of its socket: blocking, one message at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._decoder = TO_PROCESS.decoder()
        self._frames: Iterator[Frame] = iter(())
        self._env: dict[str, str] = {}
        self._learns = False
        self._known_modules: frozenset[str] = frozenset()
        self.folder = ""
        """The function's."""
        self._mapped: list[tuple[int, int]] = []
        self.warm_up: Callable[[], None] = lambda: None
        """What is done when the manager finds that there is time for it."""

    def receive(self) -> Any:
        """The next message. When the manager is gone this process ends at once."""
        while (frame := next(self._frames, None)) is None:
            self._wait()
            data = self._sock.recv(_READ_BYTES)
            if not data:
                os._exit(0)
            self._frames = self._decoder.feed(data)
        return TO_PROCESS.decode(frame)

    def _wait(self) -> None:
        """Until something has come; meanwhile see to it that mapped weights stay in memory."""
        while self._mapped and not select.select([self._sock], [], [], mapped.REFRESH_S)[0]:
            mapped.refresh(self._mapped)

    def receive_ask(self) -> Ask:
        """The next request, with its variables in the environment in the place of the previous one's."""
        message = self.receive()
        while isinstance(message, Warm):
            self.warm_up()
            self.send(Warmed())
            message = self.receive()
        ask: Ask = message
        for stale in self._env.keys() - ask.env.keys():
            os.environ.pop(stale, None)
        os.environ.update(ask.env)
        self._env = ask.env
        return ask

    def send(self, message: Any) -> None:
        """Send, after everything that the function's code has written so far is on its way."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # the function's code may have closed or replaced it
                stream.flush()
        flush_c_output()
        self._sock.sendall(FROM_PROCESS.encode(message))

    def prepared(self) -> None:
        """The function is loaded."""
        modules = imported.of_environment(self._known_modules) if self._learns else []
        self._mapped = mapped.weights_in(self.folder)
        self.send(Prepared(modules))

    def learn(self) -> None:
        """Take note, when it is loaded, of what it has imported from now on."""
        self._learns = True
        self._known_modules = frozenset(sys.modules)

    def answer(self, answer: bytes, failure: Failure | None, last: bool = False) -> None:
        self.send(Answered(failure, last, answer))


def main(arguments: list[str]) -> int:
    """``executor SOCKET_FD MANAGER_PID``."""
    fd, manager = map(int, arguments)
    if not die_with(manager, signal.SIGKILL):
        return 1
    os.set_inheritable(fd, False)
    # A copy: the original stays open until the process is at its end and its exit code is set, whatever the
    # interpreter closes on its way out.
    connection = Connection(socket.socket(fileno=os.dup(fd)))
    prepare: Prepare = connection.receive()
    isolation = jail.enter(prepare.function.folder, prepare.scratch, environment_folder())
    if not die_with(manager, signal.SIGKILL):  # a change of user takes it back
        return 1
    # Said before anything of the environment can speak in our place, and that runs only when the jail is closed.
    connection.send(Jailed(isolation))
    enter_environment()
    return serve(connection, prepare)


def serve(connection: Connection, prepare: Prepare) -> int:
    """Load the function and answer its requests; returns the process's exit code if it comes to its end."""
    function = prepare.function
    sys.path.insert(0, function.folder)
    os.chdir(function.folder)
    connection.folder = function.folder
    if prepare.learns:
        connection.learn()
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
    """Where this interpreter's packages are."""
    return os.path.dirname(os.path.dirname(sys.executable))


def enter_environment() -> None:
    """Make the environment's packages importable, as at an interpreter's ordinary start."""
    import site

    site.main()
    sys.dont_write_bytecode = True  # it could not: the environment and the function are read-only
    for stream in (sys.stdout, sys.stderr):
        # By lines, so that what a process wrote before it crashed is in its logs.
        stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)  # type: ignore[union-attr]
