"""Receives the messages that ask a template to fork, together with their descriptors."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

from ..wire.codec import Vocabulary
from ..wire.forks import FORK_FDS
from ..wire.framing import Frame

_READ_BYTES = 65536
_FD_BYTES = struct.calcsize("i")


class Requests:
    """A template's side of its socket to the manager. `hears` and `says` are the messages of the two directions."""

    def __init__(self, sock: socket.socket, hears: Vocabulary, says: Vocabulary) -> None:
        self._sock = sock
        self._hears = hears
        self._says = says
        self._decoder = hears.decoder()
        self._frames: Iterator[Frame] = iter(())
        self._fds: list[int] = []

    def receive(self) -> Any:
        """Wait for the next message. When the manager is gone, this process ends at once."""
        while (message := self._next(0)) is None:
            pass
        return message

    def look(self) -> Any:
        """The next message, or None if none has come."""
        try:
            return self._next(socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _next(self, flags: int) -> Any:
        frame = next(self._frames, None)
        if frame is None:
            # Not `socket.recv_fds`, which ignores its flags (Python 3.9 to 3.11 at least).
            data, ancillary, _, _ = self._sock.recvmsg(_READ_BYTES, socket.CMSG_SPACE(FORK_FDS * _FD_BYTES), flags)
            if not data:
                os._exit(0)
            for level, kind, packed in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    count = len(packed) // _FD_BYTES
                    self._fds += struct.unpack("{}i".format(count), packed[: count * _FD_BYTES])
            self._frames = self._decoder.feed(data)
            frame = next(self._frames, None)
        return None if frame is None else self._hears.decode(frame)

    def take_fds(self) -> list[int]:
        """The descriptors that came with the `Fork` received last."""
        fds, self._fds = self._fds[:FORK_FDS], self._fds[FORK_FDS:]
        return fds

    def send(self, message: Any) -> None:
        self._sock.sendall(self._says.encode(message))

    def close(self) -> None:
        self._sock.close()
