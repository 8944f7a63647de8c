"""The process's side of the socket between the container's manager and one function's process.

It never reads ahead: while a request is answered the next one stays in the socket.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..wire.calls import FROM_PROCESS, TO_PROCESS, Answered, Ask, Prepared, Warm, Warmed
from ..wire.framing import Frame
from ..wire.messages import Failure
from . import imported, mapped
from .linux import flush_c_output

_READ_BYTES = 65536


class Connection:
    """The socket of a function's process to its manager. It blocks, and handles one message at a time."""

    def __init__(self, sock: socket.socket, kept_fd: int | None = None) -> None:
        """`kept_fd` is another descriptor of the same socket, which stays open until the process has ended."""
        self._sock = sock
        self._kept_fd = kept_fd
        self._decoder = TO_PROCESS.decoder()
        self._frames: Iterator[Frame] = iter(())
        self._env: dict[str, str] = {}
        self._learns = False
        self._known_modules: frozenset[str] = frozenset()
        self.folder = ""
        """The function's folder."""
        self._mapped: list[tuple[int, int]] = []
        self.warm_up: Callable[[], None] = lambda: None
        """What to do on a `Warm` message: the warm-up of the function."""
        self.answer_sample: Callable[[], bytes] | None = None
        """Answers the function's ``sample.json``. None for a function that has none, or that cannot be called here."""
        self.stand: Callable[[], None] | None = None
        """What to do when the function is loaded, in a process that is to become a function template."""

    def receive(self) -> Any:
        """Wait for the next message. When the manager is gone, this process ends at once."""
        while (frame := next(self._frames, None)) is None:
            self._wait()
            data = self._sock.recv(_READ_BYTES)
            if not data:
                os._exit(0)
            self._frames = self._decoder.feed(data)
        return TO_PROCESS.decode(frame)

    def _wait(self) -> None:
        """Wait until a message has come. Meanwhile, keep mapped weights in memory."""
        while self._mapped and not select.select([self._sock], [], [], mapped.REFRESH_S)[0]:
            mapped.refresh(self._mapped)

    def receive_ask(self) -> Ask:
        """Wait for the next request. Its environment variables replace those of the request before."""
        message = self.receive()
        while isinstance(message, Warm) or message.only_warms:
            self.warm_up()
            if isinstance(message, Warm):
                self.send(Warmed())
            else:
                self.answer(b"{}", None)
            message = self.receive()
        ask: Ask = message
        for stale in self._env.keys() - ask.env.keys():
            os.environ.pop(stale, None)
        os.environ.update(ask.env)
        self._env = ask.env
        return ask

    def detach(self) -> socket.socket:
        """A copy of the socket, for a template that takes its messages itself."""
        return self._sock.dup()

    def attach(self, sock: socket.socket) -> None:
        """Use another socket from now on, in a forked process."""
        self._sock.close()
        self._sock = sock
        if self._kept_fd is not None:
            os.dup2(sock.fileno(), self._kept_fd, False)
        self._decoder = TO_PROCESS.decoder()
        self._frames = iter(())

    def send(self, message: Any) -> None:
        """Send a message, after flushing everything that the function's code has written so far."""
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, AttributeError):  # the function's code may have closed or replaced it
                stream.flush()
        flush_c_output()
        self._sock.sendall(FROM_PROCESS.encode(message))

    def send_at_once(self, message: Any) -> None:
        """Send a message from a process in which no code of the function has written anything yet."""
        self._sock.sendall(FROM_PROCESS.encode(message))

    def prepared(self) -> None:
        """Tell the manager that the function is loaded."""
        modules = imported.of_environment(self._known_modules) if self._learns else []
        self._mapped = mapped.weights_in(self.folder)
        self.send(Prepared(modules))
        if self.stand is not None:
            stand, self.stand = self.stand, None
            stand()  # returns only in forked processes

    def learn(self) -> None:
        """Report the modules that are imported from now on, when the function is loaded."""
        self._learns = True
        self._known_modules = frozenset(sys.modules)

    def answer(self, answer: bytes, failure: Failure | None, last: bool = False) -> None:
        self.send(Answered(failure, last, answer))
