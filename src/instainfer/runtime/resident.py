"""One function's process, as the manager holds it: how it is started, watched and ended."""

from __future__ import annotations

import enum
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from ..wire.calls import FROM_PROCESS, TO_PROCESS, Prepare
from ..wire.framing import Frame, ProtocolError
from ..wire.messages import Failure, Function
from .logs import Log, drain
from .loop import Channel, Loop
from .memory import Meter

_BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
_PROCESS_SOCKET_FD = 3
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class State(enum.Enum):
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    ENDING = "ending"


class Resident:
    """A function's process group. Its head is a child of the manager; the group's id is that child's id."""

    def __init__(
        self,
        loop: Loop,
        function: Function,
        scratch: str,
        on_message: Callable[[Resident, Any], None],
        on_closed: Callable[[Resident, ProtocolError | None], None],
    ) -> None:
        """Start the process. Raises OSError when that is not possible (no such interpreter, no memory)."""
        self.function = function
        self.scratch = scratch
        self.state = State.LOADING
        self.began_at = time.monotonic()
        """When its load, then its latest run began."""
        self.deadline_at: float | None = self.began_at + function.timeout_s
        self.is_background = False
        self.is_reaped = False
        self.isolation: list[str] = []
        self.resident_bytes = 0
        """As last measured or glanced at; what the invoker knows of a resident that waits."""
        self.log = Log(function.logs_bytes)
        self._loop = loop
        self._on_message = on_message
        self._on_closed = on_closed
        self._outputs: dict[int, str] = {}
        self._pipe_bytes = 0
        ours, theirs = socket.socketpair()
        try:
            self.pid = self._spawn(theirs)
        except OSError:
            ours.close()
            self._close_outputs()
            raise
        finally:
            theirs.close()
        self.meter = Meter(self.pid)
        self.channel = Channel(loop, ours, self._on_frame, self._on_channel_closed)
        self.channel.send(TO_PROCESS.encode(Prepare(function, scratch)))

    @property
    def key(self) -> str:
        return self.function.key

    def _spawn(self, theirs: socket.socket) -> int:
        theirs_of = {"stdout": 1, "stderr": 2}
        actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        writers = []
        try:
            for stream, number in theirs_of.items():
                reader, writer = os.pipe()
                writers.append(writer)
                self._pipe_bytes = fcntl.fcntl(writer, _F_GETPIPE_SZ)
                os.set_blocking(reader, False)
                self._outputs[reader] = stream
                self._loop.watch(reader, partial(self._read_output, reader))
                actions.append((os.POSIX_SPAWN_DUP2, writer, number))
            actions.append((os.POSIX_SPAWN_DUP2, theirs.fileno(), _PROCESS_SOCKET_FD))
            arguments = [self.function.python, "-I", "-S", "-X", "utf8", _BOOT, "executor"]
            arguments += [str(_PROCESS_SOCKET_FD), str(os.getpid())]
            return os.posix_spawn(
                self.function.python,
                arguments,
                self._environment(),
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )
        finally:
            for writer in writers:
                os.close(writer)

    def _environment(self) -> dict[str, str]:
        """Nothing of the platform's own variables but the time zone."""
        env = {"PATH": _PATH, "LANG": "C.UTF-8", "HOME": self.scratch, "TMPDIR": self.scratch}
        if "TZ" in os.environ:
            env["TZ"] = os.environ["TZ"]
        env.update(self.function.env)
        return env

    # -- what it says -------------------------------------------------------------------------------------------------

    def _on_frame(self, frame: Frame) -> None:
        self._on_message(self, FROM_PROCESS.decode(frame))

    def _on_channel_closed(self, error: ProtocolError | None) -> None:
        self._on_closed(self, error)

    def _read_output(self, fd: int) -> None:
        stream = self._outputs[fd]
        if not drain(fd, partial(self.log.write, stream), self._pipe_bytes):
            self._close_output(fd)

    def read_outputs(self) -> None:
        """Everything written until now is in the log after this."""
        for fd in list(self._outputs):
            self._read_output(fd)

    def _close_output(self, fd: int) -> None:
        del self._outputs[fd]
        self._loop.forget(fd)
        os.close(fd)

    def _close_outputs(self) -> None:
        for fd in list(self._outputs):
            self._close_output(fd)

    def begin(self) -> None:
        """Its time limit counts from here."""
        self.began_at = time.monotonic()
        self.deadline_at = self.began_at + self.function.timeout_s

    # -- its end ------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Kill the whole group and listen to it no more; `is_gone` becomes true once all of it has been reaped."""
        self.state = State.ENDING
        self.deadline_at = None
        self.kill()
        self.channel.close()

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    @property
    def is_gone(self) -> bool:
        """Whether no process of the group is left, not even one that waits to be reaped."""
        if not self.is_reaped:
            return False
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def clear(self) -> None:
        """Erase what it has left behind, in memory and on disk."""
        self.channel.close()
        self._close_outputs()
        remove_tree(self.scratch)


_F_GETPIPE_SZ = getattr(fcntl, "F_GETPIPE_SZ", 1032)  # Python has the name from 3.10 on


def how_it_ended(status: int, last_lines: list[str]) -> Failure:
    """A wait status in words, with what was written last."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        text = "the function's process ended by itself with exit code {}".format(code)
    else:
        text = "the function's process was killed by {}".format(_signal_name(-code))
        if -code == signal.SIGKILL:
            text += ", not by the platform: is the machine out of memory?"
    return Failure("crashed", "\n".join([text, *last_lines]))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)


def remove_tree(path: str) -> None:
    """Remove a folder and all in it, as far as that is possible."""
    with suppress(OSError):
        for entry in os.scandir(path):
            if entry.is_dir(follow_symlinks=False):
                remove_tree(entry.path)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)
        os.rmdir(path)
