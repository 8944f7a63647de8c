"""The Intra-Container Manager: loads, runs, off-loads and accounts for the functions of one container.

Each function is one process, in a group of its own. Before a request is handed to one, every other one is killed, and
the request waits until their processes have been reaped. One thread, one loop; nothing here blocks or polls.

The manager is the head of a session and adopts every orphan below it, so it knows when nothing is left. It ends, and
everything with it, when it is told to, when the invoker's end of the socket closes, or when the invoker dies.
Semantics of commands and reports: `instainfer.backends.base`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from typing import Any, NamedTuple

from ..wire.calls import TO_PROCESS, Answered, Ask, Prepared, Unloadable
from ..wire.framing import Frame, ProtocolError
from ..wire.messages import (
    COMMANDS,
    REPORTS,
    Failure,
    Function,
    Gone,
    Load,
    Loaded,
    LoadFailed,
    Offload,
    Ran,
    Ready,
    Run,
    Stop,
)
from . import jail
from .linux import PR_SET_CHILD_SUBREAPER, die_with, prctl
from .loop import Channel, Loop
from .memory import children
from .priority import Priority
from .resident import Resident, State, how_it_ended, remove_tree
from .watch import Watch

_LAST_LINES = 8


class _Farewell(NamedTuple):
    """What is to be said of a resident once it is gone."""

    resident: Resident
    failure: Failure | None
    load_failed: bool = False


class Manager:
    """Holds the residents of one container and does as it is told over `sock`."""

    def __init__(self, sock: socket.socket, limit_bytes: int, scratch: str) -> None:
        self._loop = Loop()
        self._invoker = Channel(self._loop, sock, self._on_command, self._on_invoker_gone)
        self._scratch = scratch
        self._priority = Priority()
        self._residents: dict[str, Resident] = {}
        self._ending: dict[int, _Farewell] = {}
        self._strays: set[int] = set()
        """Processes that left their function's group and outlived it; killed, not reaped yet."""
        self._wanted: dict[str, Function] = {}
        """Loads that wait for the end of a run or of an earlier process of the same function."""
        self._runs: deque[Run] = deque()
        """The first one is being served."""
        self._watch = Watch(limit_bytes, self._residents, self._ending_bytes, self._fail, self._report)
        self._started = 0
        self._stopping = False
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGTERM, self._stop)

    def serve(self) -> None:
        """Until everything has ended."""
        self._report(Ready(os.getpid(), jail.describe(), self._watch.total_bytes()))
        self._loop.run(self._next_moment, self._on_moment)

    def _report(self, message: Any) -> None:
        self._invoker.send(REPORTS.encode(message))

    # -- commands -----------------------------------------------------------------------------------------------------

    def _on_command(self, frame: Frame) -> None:
        command = COMMANDS.decode(frame)
        if isinstance(command, Run):
            self._runs.append(command)
            for key in [key for key in self._wanted if key != command.function.key]:
                self._offload(key)  # what was asked for before it is cut short, begun or not
        elif isinstance(command, Load):
            if command.function.key not in self._residents:
                self._wanted[command.function.key] = command.function
        elif isinstance(command, Offload):
            self._offload(command.function)
        elif isinstance(command, Stop):
            self._stop()
        self._advance()

    def _offload(self, key: str) -> None:
        if self._wanted.pop(key, None) is not None:
            self._report(Gone(key, None, self._watch.total_bytes()))
        resident = self._residents.get(key)
        if resident is None:
            return
        if self._runs and self._runs[0].function.key == key:
            self._fail(resident, Failure("crashed", "the function was off-loaded before it had answered"))
        else:
            self._end(resident, None)

    def _stop(self) -> None:
        self._stopping = True
        self._runs.clear()
        self._wanted.clear()
        for resident in list(self._residents.values()):
            self._end(resident, None)
        self._advance()

    def _on_invoker_gone(self, error: ProtocolError | None) -> None:
        if error is not None:
            print("the invoker does not keep to the protocol: {}".format(error), file=sys.stderr)  # noqa: T201
        self._stop()

    # -- what can be done now -----------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take every step that nothing stands in the way of any more; called after whatever may have changed that."""
        if self._stopping:
            if not self._ending and not self._strays:
                self._loop.stop()
        elif self._runs:
            self._advance_run(self._runs[0])
        else:
            ending = {farewell.resident.key for farewell in self._ending.values()}
            for key in [key for key in self._wanted if key not in ending]:
                function = self._wanted.pop(key, None)
                if function is not None:  # a load that fails at once advances the others itself
                    self._load(function, background=True)
        loading = [r for r in self._residents.values() if r.state is State.LOADING]
        self._priority.set_session(low=bool(loading) and not self._runs)

    def _advance_run(self, run: Run) -> None:
        resident = self._residents.get(run.function.key)
        if resident is not None and resident.is_background:
            self._bring_forward(resident)
            resident.deadline_at = time.monotonic() + resident.function.timeout_s
        for other in list(self._residents.values()):
            if other is not resident:
                self._end(other, None)
        if self._ending or self._strays:
            return  # until they are gone, nobody's code sees the request
        if resident is None:
            self._wanted.pop(run.function.key, None)
            self._load(run.function, background=False)
        elif resident.state is State.READY:
            resident.state = State.RUNNING
            resident.begin()
            resident.channel.send(TO_PROCESS.encode(Ask(run.env, run.args)))
            self._watch.hurry()

    def _load(self, function: Function, background: bool) -> None:
        self._started += 1
        scratch = os.path.join(self._scratch, str(self._started))
        try:
            os.mkdir(scratch, 0o700)
            resident = Resident(self._loop, function, scratch, self._on_message, self._on_closed)
        except OSError as error:
            remove_tree(scratch)
            text = "{} cannot be started: {}; build the function's environment anew".format(function.python, error)
            self._load_has_failed(function.key, Failure("load_failed", text), [])
            self._advance()
            return
        self._residents[function.key] = resident
        if background:
            resident.is_background = True
            self._priority.lower(resident.pid)
        self._watch.hurry()

    def _bring_forward(self, resident: Resident) -> None:
        """Full speed for what was begun in the background."""
        resident.is_background = False
        resident.meter.find(self._watch.adopted(resident.pid))
        self._priority.restore(resident.meter.pids)

    # -- what functions' processes say --------------------------------------------------------------------------------

    def _on_message(self, resident: Resident, message: Any) -> None:
        if isinstance(message, Answered) and resident.state is State.RUNNING:
            self._finish_run(resident, message.compute_s, message.answer, message.failure, alive=not message.last)
        elif isinstance(message, Prepared) and resident.state is State.LOADING:
            self._loaded(resident, message)
        elif isinstance(message, Unloadable) and resident.state is State.LOADING:
            self._fail(resident, message.failure)
        else:
            raise ProtocolError("{} while {}".format(type(message).__name__, resident.state.value))
        self._advance()

    def _on_closed(self, resident: Resident, error: ProtocolError | None) -> None:
        if error is not None:
            self._fail(resident, Failure("crashed", "the function's process wrote to our socket: {}".format(error)))
            self._advance()
        else:
            resident.kill()  # if it is not dead already, it cannot be talked to; its end comes as a signal

    def _loaded(self, resident: Resident, message: Prepared) -> None:
        load_s = time.monotonic() - resident.began_at
        if resident.is_background:
            self._bring_forward(resident)
        resident.resident_bytes = resident.meter.measure()
        if self._watch.is_over_limit(resident):
            return
        resident.state = State.READY
        resident.deadline_at = None
        library_s = max(0.0, load_s - message.model_s)
        total_bytes = self._watch.total_bytes()
        self._report(
            Loaded(resident.key, library_s, message.model_s, resident.resident_bytes, message.isolation, total_bytes)
        )

    def _finish_run(
        self, resident: Resident, compute_s: float, answer: bytes, failure: Failure | None, *, alive: bool
    ) -> None:
        resident.read_outputs()
        resident.state = State.READY
        resident.deadline_at = None
        if alive:
            resident.resident_bytes = resident.meter.glance()
        resident_bytes = resident.resident_bytes if alive else 0
        self._ran(compute_s, resident_bytes, answer, failure, resident.log.take(), alive=alive)
        if not alive:
            self._end(resident, None)

    def _ran(
        self,
        compute_s: float,
        resident_bytes: int,
        answer: bytes,
        failure: Failure | None,
        logs: list[str],
        *,
        alive: bool,
    ) -> None:
        run = self._runs.popleft()
        rest = answer + "\n".join(logs).encode("utf-8", "replace") if logs else answer
        total_bytes = self._watch.total_bytes()
        key = run.function.key
        self._report(
            Ran(run.activation, key, compute_s, resident_bytes, alive, failure, len(answer), total_bytes, rest)
        )

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _fail(self, resident: Resident, failure: Failure) -> None:
        """End a resident for a reason of its own, which goes to whoever waits for it."""
        if resident.state is State.RUNNING:
            self._finish_run(resident, time.monotonic() - resident.began_at, b"", failure, alive=False)
        else:
            self._end(resident, failure, load_failed=resident.state is State.LOADING)

    def _end(self, resident: Resident, failure: Failure | None, load_failed: bool = False) -> None:
        del self._residents[resident.key]
        self._ending[resident.pid] = _Farewell(resident, failure, load_failed)
        resident.end()
        if resident.is_reaped:
            self._bury()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._strays.discard(pid)
            self._note_end(pid, status)
        self._hunt_strays()
        self._bury()
        self._advance()

    def _note_end(self, pid: int, status: int) -> None:
        farewell = self._ending.get(pid)
        if farewell is not None:
            farewell.resident.is_reaped = True
            return
        resident = next((r for r in self._residents.values() if r.pid == pid), None)
        if resident is None:
            return
        resident.is_reaped = True
        resident.channel.read_rest()  # its last words may say more than its exit code
        if resident.state is not State.ENDING:
            resident.read_outputs()
            self._fail(resident, how_it_ended(status, resident.log.last_lines(_LAST_LINES)))

    def _hunt_strays(self) -> None:
        """Kill those whose function has ended but who had left its group."""
        heads = self._ending.keys() | {r.pid for r in self._residents.values()}
        for pid in children(os.getpid()):
            if pid in self._strays:
                continue
            with suppress(ProcessLookupError):
                if os.getpgid(pid) not in heads:
                    os.kill(pid, signal.SIGKILL)
                    self._strays.add(pid)

    def _bury(self) -> None:
        """Say of those that are gone that they are."""
        for pid in [pid for pid, farewell in self._ending.items() if farewell.resident.is_gone]:
            resident, failure, load_failed = self._ending.pop(pid)
            resident.read_outputs()
            logs = resident.log.take()
            resident.clear()
            if self._stopping:
                continue
            if load_failed and failure is not None:
                self._load_has_failed(resident.key, failure, logs)
            else:
                self._report(Gone(resident.key, failure, self._watch.total_bytes()))

    def _load_has_failed(self, key: str, failure: Failure, logs: list[str]) -> None:
        self._report(LoadFailed(key, failure, self._watch.total_bytes()))
        if self._runs and self._runs[0].function.key == key:
            self._ran(0.0, 0, b"", failure, logs, alive=False)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _next_moment(self) -> float | None:
        moments = [r.deadline_at for r in self._residents.values() if r.deadline_at is not None]
        if self._watch.next_at is not None:
            moments.append(self._watch.next_at)
        return min(moments, default=None)

    def _on_moment(self) -> None:
        now = time.monotonic()
        for resident in list(self._residents.values()):
            if resident.deadline_at is not None and resident.deadline_at <= now:
                doing = "loaded" if resident.state is State.LOADING else "answered"
                text = "the function had not {} after {:g} seconds, its time limit, and was ended".format(
                    doing, resident.function.timeout_s
                )
                self._fail(resident, Failure("timed_out", text))
        self._watch.look(now)
        self._advance()

    def _ending_bytes(self) -> int:
        return sum(farewell.resident.resident_bytes for farewell in self._ending.values())


def main(arguments: list[str]) -> int:
    """``manager SOCKET_FD INVOKER_PID LIMIT_BYTES SCRATCH``."""
    fd, invoker, limit_bytes = map(int, arguments[:3])
    # Not SIGKILL: on SIGTERM it takes everything below it along.
    if not die_with(invoker, signal.SIGTERM):
        return 1
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    os.set_inheritable(fd, False)
    Manager(socket.socket(fileno=fd), limit_bytes, arguments[3]).serve()
    return 0
