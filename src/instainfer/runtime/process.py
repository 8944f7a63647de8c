"""One process group of a function or a template, as the manager sees it: how it is started, heard and ended."""

from __future__ import annotations

import enum
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from ..wire.codec import Vocabulary
from ..wire.framing import ProtocolError
from . import users
from .logs import Log, drain
from .loop import Channel, Loop
from .memory import Meter

_BOOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "boot.py")
_PROCESS_SOCKET_FD = 3
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
OPERATORS = "INSTAINFER_FOR_FUNCTIONS_"
"""Prefix of the operator's variables for all functions (``node.env``) in the manager's environment."""
_THREADS_WAIT_ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Makes idle threads of OpenMP, and so of PyTorch, sleep. By default they spin for a while and take processors from the
other functions: then two calls at a time take up to five times as long as one, and not twice as long."""
_NO_THREAD_FOR_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
"""Keeps onnxruntime (1.32) from starting a thread that uploads telemetry when it is imported. With that thread, a
process could not be forked, so no library template could have onnxruntime."""
_F_GETPIPE_SZ = getattr(fcntl, "F_GETPIPE_SZ", 1032)  # Python has the name from 3.10 on


class State(enum.Enum):
    LOADING = "loading"
    READY = "ready"
    RUNNING = "running"
    ENDING = "ending"


class Listening(NamedTuple):
    """The callbacks for the messages of a process, and for the end of its connection."""

    loop: Loop
    on_message: Callable[[Any, Any], None]
    on_closed: Callable[[Any, ProtocolError | None], None]


class Process:
    """A process group. Its head is a child of the manager or of a function template. The group's id is the head's id.

    `pid` is None for a process that a template has been asked to fork and has not forked yet.
    """

    whose = ""
    """What messages for people call it."""
    time_limit_s = 0.0
    limit_bytes = 0
    """The most memory that it may use. 0: no limit except the container's."""

    def __init__(self, key: str, scratch: str, log: Log, says: Vocabulary, listening: Listening) -> None:
        self.key = key
        self.scratch = scratch
        self.log = log
        self.pid: int | None = None
        self.state = State.LOADING
        self.began_at = 0.0
        """When its load began or, after that, its latest run."""
        self.deadline_at: float | None = None
        self.is_background = False
        self.is_reaped = False
        self.is_stopped = False
        """Whether it was seen stopped, and has not been continued since."""
        self.is_child = True
        """Whether its head is a child of the manager. Those of function templates are not; the kernel reaps them."""
        self.forked_from: Process | None = None
        """The template that it is forked from, whether that still exists or not."""
        self.meter = Meter()
        self.resident_bytes = 0
        """Its memory as measured last. For a waiting resident, the invoker knows the same value."""
        self._says = says
        self._loop, self._on_message, self._on_closed = listening
        self._outputs: dict[int, str] = {}
        self._pipe_bytes = 0
        self.begin()

    # -- its start ----------------------------------------------------------------------------------------------------

    def connect(self, give: Callable[[int, int, int], int | None]) -> None:
        """Start the process. `give` passes it the other ends of its socket, stdout and stderr, and returns its id.

        `give` returns None if the process does not exist yet. Raises OSError when `give` does; then nothing stays open.
        """
        ours, theirs = socket.socketpair()
        writers: list[int] = []
        try:
            for stream in ("stdout", "stderr"):
                writers.append(self._open_output(stream))
            pid = give(theirs.fileno(), *writers)
        except OSError:
            ours.close()
            self.close_outputs()
            raise
        finally:
            theirs.close()
            for writer in writers:
                os.close(writer)
        if pid is not None:
            self.is_born(pid)
        self.channel = Channel(self._loop, ours, self._says, partial(self._on_message, self), self._on_channel_closed)

    def spawn(self, program: str, python: str, env: Mapping[str, str]) -> None:
        """Start it as a new interpreter. Raises OSError when that is not possible (no interpreter there, no memory)."""

        def give(sock: int, stdout: int, stderr: int) -> int:
            actions: list[Any] = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
            for theirs, number in ((stdout, 1), (stderr, 2), (sock, _PROCESS_SOCKET_FD)):
                actions.append((os.POSIX_SPAWN_DUP2, theirs, number))
            return os.posix_spawn(
                python,
                [python, "-I", "-S", "-X", "utf8", _BOOT, program, str(_PROCESS_SOCKET_FD), str(os.getpid())],
                env,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
            )

        self.connect(give)

    def environment(self) -> dict[str, str]:
        """The environment variables of the process: no variables of the platform except the time zone, and the
        operator's variables for all functions. A function's own variables override these.
        """
        env = {
            "PATH": _PATH,
            "LANG": "C.UTF-8",
            "USER": users.NAME,
            "LOGNAME": users.NAME,
            **_THREADS_WAIT_ASLEEP,
            **_NO_THREAD_FOR_TELEMETRY,
        }
        if "TZ" in os.environ:
            env["TZ"] = os.environ["TZ"]
        env.update((name[len(OPERATORS) :], value) for name, value in os.environ.items() if name.startswith(OPERATORS))
        env.update(HOME=self.scratch, TMPDIR=self.scratch)
        return env

    def is_born(self, pid: int) -> None:
        self.pid = pid
        self.meter.begin(pid, is_forked=self.forked_from is not None)

    def begin(self) -> None:
        """Start its time limit now."""
        self.began_at = time.monotonic()
        self.deadline_at = self.began_at + self.time_limit_s

    # -- what it says -------------------------------------------------------------------------------------------------

    def _on_channel_closed(self, error: ProtocolError | None) -> None:
        self._on_closed(self, error)

    def _open_output(self, stream: str) -> int:
        reader, writer = os.pipe()
        self._pipe_bytes = fcntl.fcntl(writer, _F_GETPIPE_SZ)
        os.set_blocking(reader, False)
        self._outputs[reader] = stream
        self._loop.watch(reader, partial(self._read_output, reader))
        return writer

    def _read_output(self, fd: int) -> None:
        stream = self._outputs[fd]
        if not drain(fd, partial(self.log.write, stream), self._pipe_bytes):
            self._close_output(fd)

    def read_outputs(self) -> None:
        """Read everything that the process has written until now into its log."""
        for fd in list(self._outputs):
            self._read_output(fd)

    def _close_output(self, fd: int) -> None:
        del self._outputs[fd]
        self._loop.forget(fd)
        os.close(fd)

    def close_outputs(self) -> None:
        for fd in list(self._outputs):
            self._close_output(fd)

    # -- its end ------------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Kill the whole group and close the connection. `is_gone` becomes true once all its processes are reaped.

        A process that has not been forked yet cannot be killed. Its connection stays open until it is forked, or until
        that can no longer happen.
        """
        self.state = State.ENDING
        if self.pid is not None:
            self.deadline_at = None
            self.kill()
            self.channel.close()

    def kill(self) -> None:
        if self.pid is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)

    @property
    def is_gone(self) -> bool:
        """Whether no process of the group is left, not even one that waits to be reaped."""
        if not self.is_reaped:
            return False
        if self.pid is None:
            return True
        try:
            os.killpg(self.pid, 0)
        except ProcessLookupError:
            return True
        return False

    def clear(self) -> None:
        """Close everything that the manager has open for it. Its folder stays."""
        self.channel.close()
        self.close_outputs()


def how_it_ended(status: int | None, whose: str) -> str:
    """A wait status in words. None is that of a process of which the kernel does not tell how it ended."""
    if status is None:
        return "{}'s process has ended".format(whose)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return "{}'s process ended by itself with exit code {}".format(whose, code)
    text = "{}'s process was killed by {}".format(whose, _signal_name(-code))
    return text + ", not by the platform: is the machine out of memory?" if -code == signal.SIGKILL else text


def was_killed(status: int) -> bool:
    """Whether a wait status says that the process was sent SIGKILL."""
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "signal {}".format(number)
