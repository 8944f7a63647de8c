"""The Intra-Container Manager: loads, runs, off-loads and accounts for the functions of one container.

Each function is one process in a group of its own, started from nothing or forked from a template. Before a function
gets a request, all other functions are killed, and the request waits until none of their threads can run their code any
more. Their memory may become free later, and their ends are reported later. Templates stay, because they hold nothing
of any function. The manager is one loop, in which nothing blocks. Nothing is polled except for that wait, for which the
kernel has no event.

The manager and its keeper (`instainfer.runtime.keeper`) have a session of their own, and orphans of the manager's
processes become its children, so it knows when nothing is left. It ends, and ends everything in the container, when it
is told to, when the invoker's end of the socket closes, or when the keeper is told to end or dies. The meaning of
commands and reports is described in `instainfer.backends.base`.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections import deque
from typing import Any

from ..wire.calls import Answered
from ..wire.framing import ProtocolError
from ..wire.messages import (
    COMMANDS,
    REPORTS,
    Define,
    Enough,
    Failure,
    Forget,
    Function,
    Gone,
    Load,
    LoadFailed,
    LoadFunctionTemplate,
    LoadTemplate,
    Offload,
    Ran,
    Ready,
    Resize,
    Run,
    Stop,
    Taken,
)
from . import jail
from .ends import Ends, Farewell
from .function_template import FunctionTemplate
from .function_templates import Wanted
from .handover import HandOver
from .linux import PR_SET_CHILD_SUBREAPER, prctl
from .loading import Loading
from .loop import Channel, Loop
from .memory import children
from .oom_kills import OomKills
from .passing import Passing
from .process import Process, State, how_it_ended, was_killed
from .progress import Progress
from .resident import Resident
from .templates import TemplateProcess
from .uids import Uids
from .view import View
from .watch import Watch

_LAST_LINES = 8
_OOM = "out_of_memory"
_REMOVAL_S = 5.0
"""Seconds that removing folders may take when no invoker is left that removes them."""


class Manager:
    """Holds the residents and templates of one container, and carries out the commands that come over `sock`."""

    def __init__(self, sock: socket.socket, limit_bytes: int, scratch: str, view: View, *, may_share_uid: bool) -> None:
        self._loop = Loop()
        self._functions: dict[str, Function] = {}
        self._runs: deque[Run] = deque()
        """The runs that were asked for. The first one is being served."""
        self._loading = Loading(self._loop, scratch, Uids(view, may_share=may_share_uid), self)
        self._view = view
        on_moving = self._loading.set_session_priority
        self._invoker = Channel(
            self._loop, sock, COMMANDS, self._on_command, self._on_invoker_gone, on_moving=on_moving
        )
        self._progress = Progress(self._loading, self)
        self.on_message = self._progress.on_message
        self.on_template_message = self._progress.on_template_message
        self.was_ahead = self._progress.was_ahead
        self.ends = Ends()
        self.passing = Passing(self.report)
        self._oom_kills = OomKills()
        self.watch = Watch(limit_bytes, self)
        self._hand_over = HandOver(self._loading, self)
        self._stopping = False
        self._loop.on_signal(signal.SIGCHLD, self._reap)
        self._loop.on_signal(signal.SIGTERM, self._stop)

    def serve(self) -> None:
        """Work until everything in the container has ended."""
        self.report(Ready(os.getpid(), jail.describe(), self.watch.total_bytes()))
        self._loop.run(self._next_moment, self._on_moment)
        if not self._invoker.is_open:
            self._loading.remover.finish(_REMOVAL_S)

    def report(self, message: Any) -> None:
        self._invoker.send(REPORTS.encode(message))

    def processes(self) -> list[Process]:
        return self._loading.processes()

    def spare(self) -> list[Process]:
        return self._loading.spare()

    def measure(self, process: Process) -> int:
        return self._loading.measure(process)

    def template_of(self, process: Process) -> Process | None:
        template = process.template if isinstance(process, Resident) else None
        return template if isinstance(template, FunctionTemplate) and self._loading.is_there(template) else None

    @property
    def is_serving(self) -> bool:
        return bool(self._runs)

    @property
    def is_moving(self) -> bool:
        return self._invoker.is_moving

    def ending_bytes(self) -> int:
        return self.ends.total_bytes()

    # -- commands -----------------------------------------------------------------------------------------------------

    def _on_command(self, command: Any) -> None:
        if isinstance(command, Run):
            self._function(command.function)
            self._runs.append(command)
            for key in self._loading.wanted_of_others(command.function):
                self._offload(key)  # a run cuts short the loads of other functions
        elif isinstance(command, Load):
            self._loading.want(self._function(command.function))
        elif isinstance(command, Define):
            self._functions[command.function.key] = command.function
            self._view.show_function(command.function)
            return
        elif isinstance(command, LoadTemplate):
            self._view.show_template(command.template)
            self._loading.want_template(command.template)
        elif isinstance(command, LoadFunctionTemplate):
            function = self._function(command.function)
            self._loading.function_templates.want(Wanted(command.template, function, command.proves))
        elif isinstance(command, Taken):
            self.passing.taken(command)
            return
        elif isinstance(command, Enough):
            if any(run.activation == command.activation for run in self._runs):
                self.passing.enough(command)
            return
        elif isinstance(command, Forget):
            self._functions.pop(command.function, None)
            return
        elif isinstance(command, Offload):
            self._offload(command.function)
        elif isinstance(command, Resize):
            self.watch.resize(command.limit_bytes)
        elif isinstance(command, Stop):
            self._stop()
        self.advance()

    def _function(self, key: str) -> Function:
        function = self._functions.get(key)
        if function is None:
            raise ProtocolError("function {!r} was not defined".format(key))
        return function

    def _offload(self, key: str) -> None:
        if self._loading.want_no_more(key):
            self.report(Gone(key, None, self.watch.total_bytes()))
        ending = self.ends.of(key)
        if ending is not None and ending.again:
            self.ends.add(ending._replace(again=False))
        process = self._loading.find(key)
        if process is None:
            return
        if self._runs and self._runs[0].function == key:
            self.fail(process, Failure("crashed", "the function was off-loaded before it had answered"))
        else:
            self.end(Farewell(process, None))

    def _stop(self) -> None:
        self._stopping = True
        self._runs.clear()
        self._loading.wanted.clear()
        self._loading.wanted_templates.clear()
        self._loading.function_templates.wanted.clear()
        for process in self.processes():
            self.end(Farewell(process, None))
        self.advance()

    def _on_invoker_gone(self, error: ProtocolError | None) -> None:
        if error is not None:
            print("the invoker does not keep to the protocol: {}".format(error), file=sys.stderr)  # noqa: T201
        self._stop()

    # -- what can be done now -----------------------------------------------------------------------------------------

    def advance(self) -> None:
        """Take every step that is possible now. Called after everything that may make a step possible."""
        if self._stopping:
            if self.ends.all_gone:
                self._loop.stop()
        elif self._runs:
            self._hand_over.advance(self._runs[0], self._functions[self._runs[0].function])
        else:
            self._loading.advance()
        self._loading.set_session_priority()

    # -- messages from the processes of functions ---------------------------------------------------------------------

    def on_closed(self, process: Process, error: ProtocolError | None) -> None:
        if process.pid is None:
            process.is_reaped = True
            if process.state is State.ENDING:
                self._bury()
            else:
                self._loading.not_born(process)
        elif error is not None:
            self.fail(process, Failure("crashed", "{}'s process wrote to our socket: {}".format(process.whose, error)))
        else:
            process.kill()  # without its connection it is of no use; a signal reports its end
            return
        self.advance()

    def answered(self, resident: Resident, message: Answered) -> None:
        failure = message.failure
        if failure is not None and failure.kind == "cancelled" and not self.passing.may_be_cancelled(self._runs[0]):
            raise ProtocolError("it has cancelled a call, which nobody has asked for")
        answer = message.answer if failure is None else b""
        self._finish_run(resident, answer, failure, alive=not message.last)

    def _finish_run(self, resident: Resident, answer: bytes, failure: Failure | None, *, alive: bool) -> None:
        # The manager measures the time itself, because a process could report any number.
        compute_s = time.monotonic() - resident.began_at
        resident.channel.expect(0)
        resident.read_outputs()
        resident.state = State.READY
        resident.deadline_at = None
        sizes = (0, 0)
        if alive:
            resident.resident_bytes = resident.meter.glance()
            sizes = (resident.resident_bytes, resident.meter.peak(resident.resident_bytes))
            resident.meter.doubt()
        self._ran(compute_s, sizes, answer, failure, resident.log.take(), alive=alive)
        if alive:
            resident.meter.forget_peak()  # here, because the call need not wait for it
        else:
            self.end(Farewell(resident, None))

    def _ran(
        self,
        compute_s: float,
        sizes: tuple[int, int],
        answer: bytes,
        failure: Failure | None,
        logs: list[str],
        *,
        alive: bool,
    ) -> None:
        """`sizes`: the memory of the resident, and the most that it has had."""
        run = self._runs.popleft()
        self.passing.end(run)
        self._hand_over.is_over()
        rest = answer + "\n".join(logs).encode("utf-8", "replace") if logs else answer
        total_bytes = self.watch.total_bytes()
        key = run.function
        self.report(Ran(run.activation, key, compute_s, *sizes, alive, failure, len(answer), total_bytes, rest))

    # -- ends ---------------------------------------------------------------------------------------------------------

    def fail(self, process: Process, failure: Failure, *, by_others: bool = False) -> None:
        """End a process because of a failure. The failure is reported to the call that waits for it, if any.

        `by_others`: neither its code nor the platform has ended it. The host may have, for want of memory.
        """
        if isinstance(process, Resident) and process.state is State.RUNNING:
            self._finish_run(process, b"", failure, alive=False)
            return
        if self._loading.function_templates.is_ahead(process):
            # Nobody knows of it. Another one would not live either.
            self._loading.function_templates[process.key].may_fork_ahead = False
            self.end(Farewell(process, None, is_told=True))
            return
        loading = process.state is State.LOADING
        if isinstance(process, TemplateProcess) and (loading or failure.kind == "out_of_memory"):
            self._loading.templates.is_hopeless(process.template)
        # A failed load says for good that a function cannot be forked. One that was ended for want of memory may be
        # made again when there is more.
        is_no_verdict = isinstance(process, FunctionTemplate) and (by_others or failure.kind == "out_of_memory")
        self.end(Farewell(process, failure, load_failed=loading and not is_no_verdict))

    def end(self, farewell: Farewell) -> None:
        process = farewell.process
        if isinstance(process, FunctionTemplate):
            ahead = self._loading.function_templates.ahead.get(process.function.key)
            if ahead is not None:
                self.end(Farewell(ahead, None, is_told=True))
        self._loading.forget(process)
        self.ends.add(farewell)
        process.end()
        if process.is_reaped:
            self._bury()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if os.WIFSTOPPED(status):
                self._progress.has_stopped(pid, status)
            elif not self.ends.note_reaped(pid):
                self._note_end(pid, status)
        self._clear_up()

    def has_exited(self, resident: Resident) -> None:
        status = resident.take_wait_status()
        if not resident.is_reaped:
            self._has_ended(resident, status)
        self._clear_up()

    def _clear_up(self) -> None:
        """Some processes have ended: end those that they have left behind, and report what is gone."""
        orphans = children(os.getpid())
        for process in [p for p in (*self.processes(), *self.ends.unborn()) if p.pid is None]:
            process.channel.read_rest()  # a forked process says so before it becomes a child of ours
        self.ends.hunt(orphans, self.processes())
        self._bury()
        self.advance()

    def _note_end(self, pid: int, status: int) -> None:
        process = next((p for p in self.processes() if p.pid == pid), None)
        if process is not None:
            self._has_ended(process, status)

    def _has_ended(self, process: Process, status: int | None) -> None:
        """A process has ended, with this wait status (None: the kernel does not tell)."""
        process.is_reaped = True
        process.channel.read_rest()  # its last message may say more than its exit code
        if process.state is not State.ENDING:
            process.read_outputs()
            words, kind = how_it_ended(status, process.whose), "crashed"
            is_killed = status is not None and was_killed(status)
            if is_killed and self._oom_kills.explains_end():
                words, kind = "{} was ended by the kernel: its container was out of memory".format(process.whose), _OOM
            failure = Failure(kind, "\n".join([words, *process.log.last_lines(_LAST_LINES)]))
            process.log.write("stderr", (words + "\n").encode())
            self.fail(process, failure, by_others=is_killed)

    def _bury(self) -> None:
        """Report the ends of the processes that are gone."""
        for process, failure, load_failed, again, is_told in self.ends.take_gone():
            process.read_outputs()
            logs = process.log.take()
            self._loading.clear(process)
            if self._stopping or is_told:
                continue
            if again:
                self._loading.start_again(process)
            elif load_failed and failure is not None:
                self.load_has_failed(process.key, failure, logs)
            else:
                self.report(Gone(process.key, failure, self.watch.total_bytes()))
            self._loading.has_left(process)

    def call_has_failed(self, resident: Resident | None, key: str, failure: Failure) -> None:
        """Report a call whose time limit has passed before its function got the request."""
        if resident is not None:
            self._ran(0.0, (resident.resident_bytes,) * 2, b"", failure, [], alive=True)
        else:
            self.ends.is_told(key)
            self.load_has_failed(key, failure, [])
        self.advance()

    def load_has_failed(self, key: str, failure: Failure, logs: list[str]) -> None:
        self.report(LoadFailed(key, failure, self.watch.total_bytes()))
        if self._runs and self._runs[0].function == key:
            self._ran(0.0, (0, 0), b"", failure, logs, alive=False)

    # -- time ---------------------------------------------------------------------------------------------------------

    def _next_moment(self) -> float | None:
        processes = (*self.processes(), *self.ends.unborn())
        moments = [p.deadline_at for p in processes if p.deadline_at is not None]
        moments += [r.born_by for r in processes if isinstance(r, Resident) and r.born_by is not None]
        if (look_at := self.ends.next_look_at()) is not None:
            moments.append(look_at)
        if self.watch.next_at is not None:
            moments.append(self.watch.next_at)
        if (turn_at := self._hand_over.next_moment()) is not None:
            moments.append(turn_at)
        return min(moments, default=None)

    def _on_moment(self) -> None:
        now = time.monotonic()
        for process in (*self.processes(), *self.ends.unborn()):
            is_unborn = isinstance(process, Resident) and process.born_by is not None and process.born_by <= now
            if is_unborn or (process.deadline_at is not None and process.deadline_at <= now):
                self._is_late(process)
        if self.ends.next_look_at() is not None:
            self._bury()
        self.watch.look(now)
        self._hand_over.on_moment(now)
        self.advance()

    def _is_late(self, process: Process) -> None:
        if isinstance(process, Resident) and process.pid is None and process.template is not None:
            # There is no process to be killed. When the template has ended, it is known that none will be forked.
            process.deadline_at = process.born_by = None
            if process.template.state is State.READY:
                text = "the template did not fork within {:g} seconds".format(process.fork_limit_s)
                self.fail(process.template, Failure("crashed", text))
            return
        doing = "loaded" if process.state is State.LOADING else "answered"
        if isinstance(process, FunctionTemplate) and process.prepared is not None:
            doing = "warmed up and shown that it can be forked"
        text = "{} had not {} after {:g} seconds, its time limit, and was ended".format(
            process.whose, doing, process.time_limit_s
        )
        self.fail(process, Failure("timed_out", text))


def serve(sock: socket.socket, limit_bytes: int, scratch: str, view: View, *, may_share_uid: bool) -> int:
    """Be the manager of a container that sees this of the host. Returns the exit code, when all of it has ended.

    `may_share_uid`: as root, functions without a user id of their own are allowed.
    """
    jail.prefer_to_end(jail.OOM_MANAGER)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    Manager(sock, limit_bytes, scratch, view, may_share_uid=may_share_uid).serve()
    return 0
