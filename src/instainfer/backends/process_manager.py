"""Starts a container's keeper and with it the manager, connects to that, and waits until its session has ended."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from ..runtime import boot
from ..runtime.layers import NAMESPACES
from ..runtime.memory import children, parent
from ..runtime.process import OPERATORS
from .last_words import LOG, how_it_ended
from .layers import layers

_END_S = 30.0
"""Processes of a session that are alive so long after they were killed cannot be ended. They are left behind."""
_LAST_REPORTS_S = 5.0
_INSIST_S = 25.0
"""A keeper that was to end and has not ended after this time is killed. It may take `keeper._END_S` for itself."""


class ManagerProcess:
    """The manager of one container, in a session of its own whose head is its keeper (`instainfer.runtime.keeper`)."""

    def __init__(
        self, python: Path, limit_bytes: int, folder: Path, env: Mapping[str, str], *, may_share_uid: bool
    ) -> None:
        """Start the manager. The processes of functions get `env`. `may_share_uid`: as root, they may be root's.

        This must be called in the event loop's thread, although it blocks for a millisecond: the manager ends when the
        thread that started it ends, and any other thread may end before the platform does. `layers` takes longer, so it
        must have been asked before.
        Raises OSError when the manager cannot be started; nothing of it is left then.
        """
        self.disconnected = asyncio.Event()
        self._is_over = False
        self._insisting: asyncio.TimerHandle | None = None
        self._log = folder / LOG
        self._ours, theirs = socket.socketpair()
        try:
            with theirs, self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        *(str(python), "-I", "-S", str(boot.__file__), "keeper"),
                        *(str(theirs.fileno()), str(os.getpid()), str(limit_bytes), str(folder)),
                        "as-is" if layers()[NAMESPACES] else "own",
                        "shared-uid" if may_share_uid else "own-uid",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=folder,
                    env={
                        **{name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ},
                        **{OPERATORS + name: value for name, value in env.items()},
                    },
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError:
            self._ours.close()
            raise
        try:
            self._pidfd = os.pidfd_open(self._process.pid)
        except OSError:
            self._ours.close()
            self._process.kill()
            self._process.wait()
            raise

    def kill(self) -> None:
        """Kill the manager, upon which the keeper kills all that is left. Without a manager, kill the keeper.

        The keeper itself is killed if it does not end soon. This must be called in the event loop's thread.
        """
        if self._is_over or self._insisting is not None:
            return
        self._insisting = asyncio.get_running_loop().call_later(_INSIST_S, self._signal, signal.SIGKILL)
        self._signal(signal.SIGCONT)  # somebody may have stopped it
        killed = [_kill_child(pid, self._process.pid) for pid in children(self._process.pid)]
        if not any(killed):
            self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        """Tell the keeper. `Popen` would reap it if it has ended, and then its session has no number of its own."""
        signal.pidfd_send_signal(self._pidfd, number)

    def resize(self, limit_bytes: int) -> None:
        """The limit is enforced by measuring, by the manager itself."""

    async def run(self, protocol: asyncio.Protocol) -> str:
        """Connect `protocol` to the manager. Return when the manager, its session and the connection have ended.

        Returns a text that says how the manager ended, with the last output of the manager.
        """
        try:
            transport, _ = await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=self._ours)
            await _readable(self._pidfd)
            # The manager is reaped only after this, so that no other session can get the same number meanwhile.
            left = await asyncio.to_thread(_end_session, self._process.pid)
            # The manager's last reports must arrive before its end is reported. A process outside the session that
            # has got the manager's socket could keep the connection open for ever, hence the time limit.
            with suppress(TimeoutError):
                await asyncio.wait_for(self.disconnected.wait(), _LAST_REPORTS_S)
            transport.abort()
        finally:
            self._is_over = True
            if self._insisting is not None:
                self._insisting.cancel()
            os.close(self._pidfd)
        how = await asyncio.to_thread(how_it_ended, self._process.wait(), self._log)
        return f"{how}; processes that cannot be ended: {', '.join(map(str, left))}" if left else how


def _kill_child(pid: int, of: int) -> bool:
    """Kill a process if it is a child of another one. Returns whether it was."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        try:
            if parent(pid) == of:  # looked up again: before, the number may have been another process's
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                return True
        finally:
            os.close(pidfd)
    return False


async def _readable(fd: int) -> None:
    loop = asyncio.get_running_loop()
    seen = asyncio.Event()

    def note() -> None:
        loop.remove_reader(fd)
        seen.set()

    loop.add_reader(fd, note)
    try:
        await seen.wait()
    finally:
        loop.remove_reader(fd)


def _end_session(session: int) -> list[int]:
    """Kill the processes of a session, including new ones that they start, and wait for their ends up to `_END_S`.

    Returns the ids of those that are still alive. This reads all of ``/proc`` and blocks, so call it in a thread.
    """
    until = time.monotonic() + _END_S
    while (pids := _living_members(session)) and time.monotonic() < until:
        with ExitStack() as open_fds:
            poll = select.poll()
            watched = 0
            for pid in pids:
                with suppress(ProcessLookupError):
                    pidfd = os.pidfd_open(pid)
                    open_fds.callback(os.close, pidfd)
                    if os.getsid(pid) == session:
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                        poll.register(pidfd, select.POLLIN)
                        watched += 1
            while watched and time.monotonic() < until:
                for pidfd, _ in poll.poll((until - time.monotonic()) * 1e3):
                    poll.unregister(pidfd)
                    watched -= 1
    return pids


def _living_members(session: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as stat:
                # "pid (name) state ppid pgrp session ...", and the name may contain anything.
                state, _, _, its_session = stat.read().rpartition(b")")[2].split()[:4]
                if int(its_session) == session and state not in b"ZX":
                    found.append(int(name))
    return found
