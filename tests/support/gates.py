"""A place where a function's code waits until the test lets it go on: a connection to the test.

The function is jailed, so files are no place to meet; the loopback is. Who has a network of its own is met at a socket
in its folder. When the function's process ends, so does its connection, and the test sees that too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
from pathlib import Path
from types import TracebackType
from typing import Any, Self

PATIENCE_S = 30.0
GATE = "gate.sock"

WAIT = """
def wait_at_gate(place, **words):
    import json, os, socket
    if isinstance(place, int):
        gate = socket.create_connection(("127.0.0.1", place))
    else:
        gate = socket.socket(socket.AF_UNIX)
        gate.connect(place)
    words = dict(words, pid=os.getpid(), manager=os.getppid(), among=os.readlink("/proc/self/ns/pid"))
    gate.sendall(json.dumps(words).encode() + b"\\n")
    return gate.recv(1) == b"!"
"""
"""For the function's code: says where it runs, waits, and returns when the test opens the gate."""


class Visitor:
    """One function's process that waits at the gate."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._connection.settimeout(PATIENCE_S)
        line = b""
        with contextlib.suppress(ConnectionResetError):
            while not line.endswith(b"\n") and (piece := connection.recv(4096)):
                line += piece
        self.words: dict[str, Any] = json.loads(line) if line.endswith(b"\n") else {}
        self._outside = ids_outside(self.words["among"]) if self.words else {}
        if "children" in self.words:
            self.words["children"] = [self._outside[child] for child in self.words["children"]]

    @property
    def is_there(self) -> bool:
        """Whether it has said where it runs and its process has not ended."""
        # Nobody says anything more at the gate, so all that can be read is the end.
        return bool(self.words) and not select.select([self._connection], [], [], 0)[0]

    @property
    def pid(self) -> int:
        return self._outside[self.words["pid"]]

    @property
    def manager(self) -> int:
        return self._outside[self.words["manager"]]

    def let_go(self) -> None:
        self._connection.sendall(b"!")

    def has_ended(self) -> None:
        """Return when its process has ended, and with it the connection."""
        with contextlib.suppress(ConnectionResetError):
            assert self._connection.recv(1) == b""

    def close(self) -> None:
        self._connection.close()


def ids_outside(among: str) -> dict[int, int]:
    """The ids that the processes of a namespace have here, by those that they have there."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if os.readlink(status.parent / "ns/pid") == among:
                line = next(line for line in status.read_text(errors="replace").splitlines() if line[:6] == "NSpid:")
                found[int(line.split()[-1])] = int(status.parent.name)
    return found


class Gate:
    """Use it in ``with``: whoever still waits then is let go by the end of its connection."""

    def __init__(self, folder: Path | None = None) -> None:
        """With `folder`, that of the function, the gate is the socket `GATE` there, and not a port."""
        if folder is None:
            self._listening = socket.create_server(("127.0.0.1", 0))
        else:
            self._listening = socket.socket(socket.AF_UNIX)
            at = os.open(folder, os.O_PATH)
            self._listening.bind(f"/proc/self/fd/{at}/{GATE}")  # the path may be too long for an address
            os.close(at)
            (folder / GATE).chmod(0o777)
            self._listening.listen()
        self._listening.settimeout(PATIENCE_S)
        self._visitors: list[Visitor] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._listening.close()
        for visitor in self._visitors:
            visitor.close()

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def reached(self) -> Visitor:
        """The next one that comes to the gate; waits for it. Who was killed before it was met is passed over."""
        while True:
            connection, _ = self._listening.accept()
            visitor = Visitor(connection)
            self._visitors.append(visitor)
            if visitor.is_there:
                return visitor
