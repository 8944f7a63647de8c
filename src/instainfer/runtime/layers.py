"""Tries which layers of isolation this host gives: ``layers`` prints them as JSON, ``{NAME: REASON OR ""}``.

Each is tried in a child of its own, which really takes it, and then does what it should no longer be able to do. An
empty reason means that it works.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from . import jail, landlock, namespaces, seccomp, tracing
from .linux import PR_SET_NO_NEW_PRIVS, drop_capabilities, enter_user_namespace, prctl, ptrace
from .view import View

NAMESPACES = "namespaces"
"""Process ids, mounts and IPC of its own for each container."""
OWN_UID = "own uid"
"""A user id of its own for each function."""
FORKED_UID = "own uid of forked processes"
"""The same for what is forked from a library template, which has no right to change its id any more."""
FILES = "files"
"""Landlock."""
SIGNALS = "signals"
"""Landlock keeps signals within a function."""
CALLS = "calls"
"""Filtered system calls."""
HOLDING = "holding"
"""A function template is held stopped by its manager."""


def main(arguments: list[str]) -> int:
    """``layers``."""
    json.dump({name: tried(attempt) for name, attempt in _ATTEMPTS.items()}, sys.stdout)
    return 0


def tried(attempt: Callable[[int], None]) -> str:
    """Make an attempt in a child. Returns why it failed, or nothing.

    The attempt gets a descriptor that only the process in which it ends may keep.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        words = ""
        try:
            attempt(writer)
        except OSError as error:
            words = error.strerror or str(error)
        with suppress(OSError):
            os.write(writer, (words or "works").encode())
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as told:
        words = told.read().decode()
    os.waitpid(pid, 0)
    return "" if words == "works" else words or "the attempt was killed"


def _separates(writer: int) -> None:
    is_user = os.geteuid() != 0
    namespaces.begin()
    pid = os.fork()
    if pid:
        os.close(writer)
        os.waitpid(pid, 0)
        os._exit(0)
    namespaces.settle(is_user=is_user)
    View().cover_shared_memory(1 << 20)


def _takes_an_id(_: int) -> None:
    if os.geteuid() != 0:
        raise OSError("needs root")
    os.setgroups([])
    os.setresuid(*[jail.uid_of_pid(os.getpid())] * 3)
    _must_fail(os.setuid, 0)


def _takes_a_mapped_id(_: int) -> None:
    if os.geteuid() != 0:
        raise OSError("needs root")
    ready, told = os.pipe()
    go_on, mapped = os.pipe()
    uid = jail.uid_of_pid(os.getpid())
    pid = os.fork()
    if pid == 0:
        try:
            os.setresuid(uid + 1, uid + 1, uid + 1)
            jail.be_readable()
            enter_user_namespace()
            os.write(told, b"!")
            os.read(go_on, 1)
            os.setresuid(uid, uid, uid)
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    os.close(told)
    try:
        if os.read(ready, 1):
            with open("/proc/{}/uid_map".format(pid), "w", encoding="ascii") as mapping:
                mapping.write("{0} {0} 1".format(uid))
    finally:
        os.write(mapped, b"!")
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        raise OSError(code, os.strerror(code))


def _loses_files(_: int) -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(["/usr"], [])
    _must_fail(os.listdir, "/etc")


def _loses_signals(_: int) -> None:
    if landlock.abi() < 6:
        raise OSError("Landlock has ABI {}, and 6 is needed".format(landlock.abi()))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict(["/usr"], [])
    _must_fail(os.kill, os.getppid(), 0)


def _loses_calls(_: int) -> None:
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(seccomp.rules())
    _must_fail(ptrace, 0, 0, 0, 0)


def _holds(_: int) -> None:
    pid = os.fork()
    if pid == 0:
        with suppress(OSError):
            prctl(PR_SET_NO_NEW_PRIVS, 1)
            drop_capabilities()
        signal.pause()
    try:
        if not tracing.hold(pid):
            raise OSError(errno.EPERM, "tracing is not allowed")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _must_fail(action: Callable[..., object], *arguments: object) -> None:
    try:
        action(*arguments)
    except OSError:
        return
    raise OSError("it was taken, and {} is still possible".format(action.__name__))


_ATTEMPTS = {
    NAMESPACES: _separates,
    OWN_UID: _takes_an_id,
    FORKED_UID: _takes_a_mapped_id,
    FILES: _loses_files,
    SIGNALS: _loses_signals,
    CALLS: _loses_calls,
    HOLDING: _holds,
}
