"""Runs a tool that builds an environment, and takes everything from it that it does not need: ``build_jail FD``.

The platform starts this program in the tool's place. It reads a `Plan` from the socket FD, answers what happened, and
runs the tool. With namespaces there are three processes, each the parent of the next::

    guard    outside; ends as the tool does. Whoever kills it kills all of them
    first    process 1 of the new namespaces. When it ends, the kernel ends every process there, whatever it did
    tool     without privileges, with a user id of its own where the platform is root

Where the host has no namespaces, the program itself waits for the tool, and ends what it leaves behind.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
from contextlib import suppress
from typing import Any, NoReturn

from . import jail, landlock, seccomp
from .build_view import DEVICES, SYSTEM, View, listen_inside
from .linux import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_DUMPABLE,
    PR_SET_NO_NEW_PRIVS,
    bound_capabilities,
    die_with,
    drop_capabilities,
    enter_namespaces,
    prctl,
)
from .memory import children

_OUTSIDE = 0
"""The id of a parent that is outside the namespace of the process id."""
_WORST_OOM_SCORE = 1000
_MOST_PLAN_BYTES = 1 << 20
_CANNOT_START = 127


class Plan:
    """How to run a tool. All of it comes from the platform."""

    def __init__(self, text: bytes) -> None:
        plan: dict[str, Any] = json.loads(text)
        self.argv: list[str] = plan["argv"]
        self.env: dict[str, str] = plan["env"]
        self.cwd: str = plan["cwd"]
        self.spaces: bool = plan["spaces"]
        """Whether it gets namespaces."""
        self.port: int | None = plan["port"]
        """Port of the gate on the tool's own network. None: it gets the host's network."""
        self.uid: int | None = plan["uid"]
        self.temporary: str = plan["temporary"]
        """The folder for its temporary files."""
        self.has_tmp: bool = plan["has_tmp"]
        """Whether it sees this folder as ``/tmp`` too."""
        self.readable: list[str] = plan["readable"]
        self.writable: list[str] = plan["writable"]
        self.joined: str = plan["joined"]
        """A folder above those that may be written, if files have to be linked from one to the other."""
        self.executes: bool = plan["executes"]
        """Whether programs may be run that the tool itself has written."""
        self.data_bytes: int = plan["data_bytes"]
        self.file_bytes: int = plan["file_bytes"]
        self.processes: int = plan["processes"]


def main(argv: list[str]) -> int:
    """Run the tool of the plan that comes through the socket, and end as it does."""
    control = socket.socket(fileno=int(argv[0]))
    control.set_inheritable(False)
    plan = Plan(control.recv(_MOST_PLAN_BYTES))
    jail.prefer_to_end(_WORST_OOM_SCORE)
    if not plan.spaces:
        return _run_beside(plan, control)
    try:
        enter_namespaces(user=os.geteuid() != 0, network=plan.port is not None)
    except OSError as error:
        return _fail(control, "no namespaces: {}".format(error.strerror))
    prctl(PR_SET_DUMPABLE, 0)
    alive, held = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(held)
        _be_first(plan, control, alive)
    control.close()
    return _wait_as(pid)


def _be_first(plan: Plan, control: socket.socket, alive: int) -> NoReturn:
    """Be the first process of the namespaces. The pipe `alive` is at its end when the guard is."""
    try:
        die_with(_OUTSIDE, signal.SIGKILL)
        if select.select([alive], [], [], 0)[0]:  # it died before this process could ask to die with it
            os._exit(_CANNOT_START)
        listener = None if plan.port is None else listen_inside(plan.port)
        view = View()
        if plan.has_tmp:
            view.show_temporary(plan.temporary)
        view.show_all(plan.readable, writable=False)
        view.show_all([plan.joined] if plan.joined else plan.writable, writable=True)
        view.enter()
    except OSError as error:
        os._exit(_fail(control, "no files of its own: {}".format(error)))
    _tell(control, {"error": ""}, listener)
    control.close()
    if listener is not None:
        listener.close()
    os._exit(_run(plan))


def _run_beside(plan: Plan, control: socket.socket) -> int:
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    prctl(PR_SET_DUMPABLE, 0)
    _tell(control, {"error": ""}, None)
    control.close()
    code = _run(plan)
    _end_children()
    return code


def _run(plan: Plan) -> int:
    pid = os.fork()
    if pid == 0:
        _become(plan)
    return _wait_as(pid)


def _become(plan: Plan) -> NoReturn:
    try:
        _limit(plan)
        os.umask(0o022)
        bound_capabilities()  # this is not possible any more with another user id
        if plan.uid is not None:
            os.setgroups([])
            os.setresgid(plan.uid, plan.uid, plan.uid)
            os.setresuid(plan.uid, plan.uid, plan.uid)
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        drop_capabilities()
        try:
            _restrict_files(plan)
        except OSError:  # the platform has said at its start that there is no Landlock
            if plan.joined:
                raise
        with suppress(OSError):  # the platform has said so, too, where there is no filter
            seccomp.install(seccomp.rules())
        os.chdir(plan.cwd)
        os.execve(plan.argv[0], plan.argv, plan.env)
    except OSError as error:
        os.write(2, "error: {} cannot be started: {}\n".format(plan.argv[0], error.strerror or error).encode())
        os._exit(_CANNOT_START)


def _limit(plan: Plan) -> None:
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_DATA: plan.data_bytes,
        resource.RLIMIT_FSIZE: plan.file_bytes,
        resource.RLIMIT_NOFILE: 4096,
    }
    if plan.uid is not None:  # otherwise the platform's own processes would count too
        limits[resource.RLIMIT_NPROC] = plan.processes
    for kind, wanted in limits.items():
        _, hard = resource.getrlimit(kind)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (most, most))


def _restrict_files(plan: Plan) -> None:
    own = [*plan.writable, "/dev/shm", *(["/tmp"] if plan.has_tmp else [])]
    executable = own if plan.executes else []
    landlock.restrict([*SYSTEM, "/proc", *plan.readable, *executable], [*own, *DEVICES])


def _tell(control: socket.socket, told: dict[str, str], listener: socket.socket | None) -> None:
    text = json.dumps(told).encode()
    if listener is None:
        control.send(text)
    else:
        socket.send_fds(control, [text], [listener.fileno()])


def _fail(control: socket.socket, error: str) -> int:
    _tell(control, {"error": error}, None)
    return _CANNOT_START


def _wait_as(pid: int) -> int:
    """Wait for a child, collect all others that end, and return its exit code, or 128 + the signal that ended it."""
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _end_children() -> None:
    """End all that descends from this process: orphans have become its children."""
    with suppress(ChildProcessError):
        while True:
            for child in children(os.getpid()):
                os.kill(child, signal.SIGKILL)  # nobody else reaps it, so the number is still its own
            os.wait()
