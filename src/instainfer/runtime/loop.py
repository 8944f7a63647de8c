"""The manager's event loop, in a single thread, for file descriptors, signals, and one next moment in time."""

from __future__ import annotations

import errno
import os
import selectors
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..wire.codec import Vocabulary
from ..wire.framing import ProtocolError

_READ_BYTES = 65536


class Loop:
    """Calls back when a descriptor can be read or written, when a signal has come, and when a moment has come."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._signals: dict[int, Callable[[], None]] = {}
        self._signal_reader, signal_writer = os.pipe()
        os.set_blocking(self._signal_reader, False)
        os.set_blocking(signal_writer, False)
        signal.set_wakeup_fd(signal_writer)
        self.watch(self._signal_reader, self._read_signals)
        self._stopped = False

    def watch(self, fd: int, on_readable: Callable[[], object], on_writable: Callable[[], None] | None = None) -> None:
        """Watch a descriptor. This replaces the callbacks that it had before."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if on_writable is not None else 0)
        callbacks = (on_readable, on_writable)
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, callbacks)
        else:
            self._selector.register(fd, events, callbacks)

    def forget(self, fd: int) -> None:
        self._selector.unregister(fd)

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        self._signals[number] = callback
        signal.signal(number, _noted_by_the_wakeup_fd)

    def _read_signals(self) -> None:
        for number in set(os.read(self._signal_reader, 4096)):
            callback = self._signals.get(number)
            if callback is not None:
                callback()

    def stop(self) -> None:
        self._stopped = True

    def run(self, next_moment: Callable[[], float | None], on_moment: Callable[[], None]) -> None:
        """Run until `stop` is called. `next_moment` gives the next moment, in monotonic seconds, before each wait."""
        while not self._stopped:
            moment = next_moment()
            wait_s = None if moment is None else max(0.0, moment - time.monotonic())
            for key, events in self._selector.select(wait_s):
                on_readable, on_writable = key.data
                # A callback may have ended the watch of a later descriptor of this round, so look before each one.
                if events & selectors.EVENT_WRITE and on_writable is not None and self._has(key):
                    on_writable()
                if events & selectors.EVENT_READ and self._has(key):
                    on_readable()
            if moment is not None and time.monotonic() >= moment:
                on_moment()

    def _has(self, key: selectors.SelectorKey) -> bool:
        return self._selector.get_map().get(key.fd) == key


def _noted_by_the_wakeup_fd(number: int, frame: Any) -> None:
    pass


class Channel:
    """Messages over a stream socket: never blocks, keeps what cannot be sent yet.

    What comes in is handed on message by message, in order, also those before one that is none.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        says: Vocabulary,
        on_message: Callable[[Any], None],
        on_closed: Callable[[ProtocolError | None], None],
        *,
        on_moving: Callable[[], None] = lambda: None,
    ) -> None:
        """`says` holds the messages that the other side may send. `on_message` may raise `ProtocolError`.

        `on_moving` is called when a message has come in part, and when the sending of one is put off or has gone on to
        its end; then `is_moving` may have changed.
        """
        self._loop = loop
        self._sock = sock
        self._says = says
        self._on_message = on_message
        self._on_closed = on_closed
        self._on_moving = on_moving
        self._decoder = says.decoder()
        self._unsent = bytearray()
        self._awaits_room = False
        self.is_open = True
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._read)

    def send(self, frame: bytes, fds: Sequence[int] = ()) -> None:
        """To a side that is gone, nothing is sent; `on_closed` tells.

        `fds` go along with the frame. Raises OSError if they cannot, also because there is no room for them now.
        """
        if fds:
            if self._unsent or not self.is_open:
                raise OSError(errno.EAGAIN, "the other side does not read")
            frame = frame[socket.send_fds(self._sock, [frame], fds) :]
        if self.is_open and frame:
            self._unsent += frame
            if not self._awaits_room:
                self._write()

    @property
    def is_moving(self) -> bool:
        """Whether a part of a message has come or been sent, and not yet the rest."""
        return self.is_open and (self._awaits_room or self._decoder.is_amid)

    def expect(self, body_bytes: int) -> None:
        """Limit the size of the message bodies that the other side may send from now on."""
        self._decoder.max_body_bytes = body_bytes

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._loop.forget(self._sock.fileno())
            self._sock.close()

    def _write(self) -> None:
        try:
            del self._unsent[: self._sock.send(self._unsent)]
        except BlockingIOError:
            pass
        except OSError:
            self._unsent.clear()  # messages that the other side has still sent are read before its end is noticed
        if bool(self._unsent) is not self._awaits_room:
            self._awaits_room = bool(self._unsent)
            self._loop.watch(self._sock.fileno(), self._read, self._write if self._awaits_room else None)
            self._on_moving()

    def read_rest(self) -> None:
        """Read all messages that have arrived already."""
        while self.is_open and self._read():
            pass

    def _read(self) -> bool:
        """Read once. Returns False when nothing had arrived."""
        try:
            data = self._sock.recv(_READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        error = None
        try:
            for frame in self._decoder.feed(data):
                self._on_message(self._says.decode(frame))
                if not self.is_open:
                    return True
        except ProtocolError as raised:
            error = raised
        if self.is_open and (not data or error is not None):
            self.close()
            self._on_closed(error)
        elif self._decoder.is_amid:
            self._on_moving()
        return True
