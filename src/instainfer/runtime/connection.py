"""The process's side of the socket between the container's manager and one function's process.

It never reads ahead: while a request is answered the next one stays in the socket. What is read meanwhile is about the
values of a streamed answer.
"""

from __future__ import annotations

import os
import select
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from ..wire.bounds import WINDOW_BYTES, cost_bytes
from ..wire.calls import FROM_PROCESS, TO_PROCESS, Answered, Ask, Enough, Prepared, Taken, Warm, Warmed, Yielded
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
        self._on_way_bytes = 0
        """What the values cost that were sent and are not taken yet."""
        self._is_enough = False
        """Whether nobody wants further values."""
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
        while (message := self._arrived(waits=True)) is None:
            pass
        return message

    def _arrived(self, *, waits: bool) -> Any:
        """The next message, if one has arrived; with `waits`, or has after the next bytes. Otherwise None."""
        frame = next(self._frames, None)
        if frame is None and (waits or _can_be_read(self._sock)):
            if waits:
                self._wait()
            data = self._sock.recv(_READ_BYTES)
            if not data:
                os._exit(0)
            self._frames = self._decoder.feed(data)
            frame = next(self._frames, None)
        return None if frame is None else TO_PROCESS.decode(frame)

    def _wait(self) -> None:
        """Wait until a message has come. Meanwhile, keep mapped weights in memory."""
        while self._mapped and not select.select([self._sock], [], [], mapped.REFRESH_S)[0]:
            mapped.refresh(self._mapped)

    def receive_ask(self) -> Ask:
        """Wait for the next request. Its environment variables replace those of the request before."""
        message = self.receive()
        while not isinstance(message, Ask) or message.only_warms:
            if isinstance(message, Warm):
                self.warm_up()
                self.send(Warmed())
            elif isinstance(message, Ask):
                self.warm_up()
                self.answer(b"{}", None)
            message = self.receive()  # others are about an answer that has ended
        ask = message
        self._on_way_bytes = 0
        self._is_enough = False
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
        """Send a message without flushing what the function's code has written."""
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

    def wants_value(self) -> bool:
        """Whether the caller wants a further value. Waits while too much is on its way."""
        while not self._is_enough:
            message = self._arrived(waits=self._on_way_bytes >= WINDOW_BYTES)
            if isinstance(message, Taken):
                self._on_way_bytes -= message.taken_bytes
            elif isinstance(message, Enough):
                self._is_enough = True
            elif self._on_way_bytes < WINDOW_BYTES:
                return True
        return False

    def send_value(self, value: bytes) -> None:
        """Send one value of a streamed answer. Ask `wants_value` before each."""
        self._on_way_bytes += cost_bytes(value)
        self.send_at_once(Yielded(value))

    def answer(self, answer: bytes, failure: Failure | None, last: bool = False) -> None:
        self.send(Answered(failure, last, answer))


def _can_be_read(sock: socket.socket) -> bool:
    poll = select.poll()  # unlike `select.select`, it takes descriptors of any number
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))
