"""A function template: a process that has loaded its function, stands stopped, and is forked for calls (ADR 21).

The process is a function's process like any other until its function is loaded. Then it warms up, is made fit for
forking (`fitness`), and stops itself. For each call the manager continues it; it forks, and stops itself again. Nothing
of the function runs in it meanwhile: all signals are blocked, so that no handler and no timer of the function does, and
whoever continues it without a request finds that it stops again.

A forked process has the user id, the folder and the limits of its template. It separates itself from the template, so
that it can neither trace nor continue it, renews what must be its own, and answers requests.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from itertools import count

from ..wire.calls import (
    FROM_PROCESS,
    RESIDENT_FOLDER,
    TO_PROCESS,
    Born,
    Fork,
    Prepared,
    Proven,
    Standing,
    Unfit,
    Unloadable,
)
from . import caches, landlock, shim
from .connection import Connection
from .failures import failure_of, log
from .fitness import sample_failure, unfit_reason
from .forking import Requests
from .forksafe import ForkSafety
from .linux import PR_SET_CHILD_SUBREAPER, PR_SET_DUMPABLE, flush_c_output, prctl
from .renewal import OpenFile, open_files, renew, reopen

_MOST_CHARS = 300
"""Limit on a reason (`wire.bounds.REASON`). Names in it may be of any length."""


def stand(connection: Connection, safety: ForkSafety, scratch: str, *, proves: bool = False) -> None:
    """Become a function template. Returns only in the processes that are forked from it, ready for their first request.

    `safety` was made before the function was loaded. `scratch` is the process's own folder. A process that cannot be
    forked says why and ends. `proves`: show with the function's sample that forked processes answer as this one does,
    and end.
    """
    reason = unfit_reason(safety, connection.warm_up)
    if reason is None and proves and connection.answer_sample is not None:
        reason = sample_failure(connection.answer_sample)
        if reason is None:
            connection.send(Proven())
            os._exit(0)
    if reason is not None:
        connection.send(Unfit(reason[:_MOST_CHARS]))
        os._exit(0)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the function's code may have closed or replaced it
            stream.flush()
    flush_c_output()
    files = open_files()
    prctl(PR_SET_CHILD_SUBREAPER, 0)  # orphans of a forked process must become children of the manager
    if not landlock.abi():
        # Landlock keeps the forked processes from the memory of this one. Without it, nobody gets at this memory then,
        # except root: a manager that is not root measures it less exactly.
        prctl(PR_SET_DUMPABLE, 0)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    # The kernel reaps the forked processes, because this process is stopped when they end.
    on_child = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    connection.send(Standing())
    sock, folder = _wait_for_fork(connection, scratch)
    # From here on this is a forked process, and a call waits for it.
    os.setpgid(0, 0)
    connection.attach(sock)
    connection.send_at_once(Born(os.getpid()))
    _become_its_own(folder, files)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL if on_child is None else on_child)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        shim.forked()
    except Exception as error:
        # Code of the function may fail in any way.
        log(error)
        connection.send(Unloadable(failure_of(error, "load_failed", "a function given to instainfer.after_fork()")))
        os._exit(1)
    connection.send_at_once(Prepared())


def _wait_for_fork(connection: Connection, scratch: str) -> tuple[socket.socket, str]:
    """Stop, and fork when that is asked for. Returns in a forked process, with its socket and its folder."""
    with connection.detach() as own:
        requests = Requests(own, TO_PROCESS, FROM_PROCESS)
        for number in count(1):
            # Everything that can be done before the request is.
            folder = os.path.join(scratch, RESIDENT_FOLDER.format(number))
            with suppress(OSError):  # a full disk: the function will see that itself
                os.mkdir(folder, 0o700)
            fds = _wait_for_request(requests)
            try:
                pid = os.fork()
            except OSError as error:
                print("cannot fork: {}".format(error), file=sys.stderr)  # noqa: T201 - the manager sees it closed
                pid = -1
            if pid == 0:
                return _take_over(fds), folder
            for fd in fds:
                os.close(fd)
    raise AssertionError("counting has no end")


def _wait_for_request(requests: Requests) -> list[int]:
    """Stop until a request to fork has come. Returns its descriptors."""
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)
        if isinstance(requests.look(), Fork):
            return requests.take_fds()


def _take_over(fds: list[int]) -> socket.socket:
    """Use the descriptors that came with the request as the socket, stdout and stderr of this process."""
    channel, stdout, stderr = fds
    os.set_inheritable(channel, False)
    for theirs, number in ((stdout, 1), (stderr, 2)):
        os.dup2(theirs, number)
        os.close(theirs)
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, channel)


def _become_its_own(folder: str, files: list[OpenFile]) -> None:
    """Separate this forked process from its template, and renew what they must not share."""
    prctl(PR_SET_DUMPABLE, 1)
    landlock.separate()
    os.environ.update(HOME=folder, TMPDIR=folder)
    caches.move(folder)
    renew()
    reopen(files)
