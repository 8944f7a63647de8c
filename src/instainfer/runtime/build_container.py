"""Runs a tool that builds an environment in a container: ``build_container SOCKET PORT TOOL ARGUMENT...``.

The container has no network but its own loopback. This program listens there in the tool's stead, and hands the
listening socket to the platform, which waits at the Unix socket SOCKET. What the tool connects to is then the
platform's gate, although it reaches nothing beyond its container.

It stays the first process: one that the tool can neither end nor trace, and at whose end the kernel ends everything
that the tool has left. It ends, too, when the kernel has ended any process because the container was out of memory.
Otherwise, what remains might wait for that one until the build's time is over.
"""

from __future__ import annotations

import os
import signal
import socket

from .linux import PR_SET_DUMPABLE, prctl
from .oom_kills import OomKills

_CANNOT_START = 127
_KILLED = 128 + signal.SIGKILL
_LOOK_S = 1.0


def main(argv: list[str]) -> int:
    """Hand the gate's socket out, run the tool, and end as it does."""
    path, port, *tool = argv
    _hand_out(path, int(port))
    kills = OomKills()
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # before there is a child, so that none is missed
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        try:
            os.execvp(tool[0], tool)
        except OSError as error:
            os.write(2, "error: {} cannot be started: {}\n".format(tool[0], error.strerror).encode())
        os._exit(_CANNOT_START)
    prctl(PR_SET_DUMPABLE, 0)
    while True:
        signal.sigtimedwait([signal.SIGCHLD], _LOOK_S)
        code = _ended(pid)
        if kills.explains_end():
            return _KILLED
        if code is not None:
            return code


def _hand_out(path: str, port: int) -> None:
    at = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    listener = socket.create_server(("127.0.0.1", port))
    platform = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with listener, platform:
        # An address has room for 107 bytes, which the path may exceed.
        platform.connect("/proc/self/fd/{}/{}".format(at, os.path.basename(path)))
        socket.send_fds(platform, [b"gate"], [listener.fileno()])
    os.close(at)


def _ended(pid: int) -> int | None:
    """Collect all children that have ended. Returns the exit code of one of them, or 128 + the signal that ended it."""
    found = None
    while True:
        try:
            ended, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if ended == 0:
            return found
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            found = code if code >= 0 else 128 - code
