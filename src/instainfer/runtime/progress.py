"""How far the loads of one container have come: takes what its processes say until they are loaded."""

from __future__ import annotations

import os
import time
from typing import Any, Protocol

from ..wire import calls
from ..wire.calls import (
    TO_PROCESS,
    Answered,
    Apart,
    Born,
    Imported,
    Jailed,
    Prepared,
    Proven,
    Standing,
    Unloadable,
    Warm,
    Warmed,
    Yielded,
)
from ..wire.forks import Made, Unfit
from ..wire.framing import ProtocolError
from ..wire.messages import Failure, Loaded, Measured
from .ends import Ends, Farewell
from .function_process import FunctionProcess
from .function_template import FunctionTemplate
from .loading import Loading
from .memory import parent
from .passing import Passing
from .process import Process, State
from .resident import Resident
from .templates import MOST_ATTEMPTS, TemplateProcess
from .watch import Watch


class Host(Protocol):
    """The parts of the manager that are told how loads go on."""

    ends: Ends
    watch: Watch
    passing: Passing

    @property
    def is_serving(self) -> bool:
        """Whether a call waits or runs."""

    def report(self, message: Any) -> None: ...

    def advance(self) -> None:
        """Take the steps that have become possible."""

    def answered(self, resident: Resident, message: Answered) -> None: ...

    def fail(self, process: Process, failure: Failure) -> None: ...

    def end(self, farewell: Farewell) -> None: ...

    def has_exited(self, resident: Resident) -> None:
        """A resident has ended that is no child of the manager."""


class Progress:
    """Handles the messages of processes of functions and of library templates until they are loaded."""

    def __init__(self, loading: Loading, host: Host) -> None:
        self._loading = loading
        self._host = host

    def on_message(self, process: FunctionProcess, message: Any) -> None:
        loading = process.state is State.LOADING
        if isinstance(message, Yielded) and isinstance(process, Resident) and process.state is State.RUNNING:
            self._host.passing.yielded(message)
            return  # nothing else becomes possible by it
        if isinstance(message, Born) and process.pid is None:
            self._born(process, message.pid)
        elif isinstance(message, Apart) and process.awaits_uid:
            process.is_apart = True
            if process.pid is not None:
                self._give_uid(process, process.pid)
        elif isinstance(message, Answered) and isinstance(process, Resident) and process.state is State.RUNNING:
            self._host.answered(process, message)
        elif isinstance(message, Jailed) and loading and process.prepared is None:
            process.is_jailed(message)
            if self._loading.uids.refuses(process.isolation):
                self._refuse(process)
        elif isinstance(message, Imported) and loading and process.prepared is None:
            process.is_imported(message)
        elif isinstance(message, Prepared) and loading and process.prepared is None:
            process.is_prepared(message)
            self._is_prepared(process)
        elif isinstance(message, Warmed) and loading and process.prepared is not None:
            self._is_warm(process)
        elif isinstance(message, Unloadable) and loading:
            self._host.fail(process, message.failure)
        elif isinstance(process, FunctionTemplate) and loading and process.prepared is not None:
            self._of_function_template(process, message)
        else:
            raise ProtocolError("{} while {}".format(type(message).__name__, process.state.value))
        self._host.advance()

    def _refuse(self, process: FunctionProcess) -> None:
        """A process has no user id of its own and must have one. If it was forked, start it from nothing instead."""
        if process.library_template is not None:
            self._loading.uids.is_without(process.function.key)
            self._host.end(Farewell(process, None, again=True))
        else:
            self._host.fail(process, _refusal(process))

    def _is_prepared(self, process: FunctionProcess) -> None:
        if isinstance(process, FunctionTemplate):
            process.expect_proof()
        elif isinstance(process, Resident) and self._loading.function_templates.is_ahead(process):
            if not process.hold():
                self._host.fail(process, Failure("crashed", "this host does not allow to hold it"))
        elif isinstance(process, Resident):
            # One that was forked from a function template is warm already.
            if process.is_background and not isinstance(process.template, FunctionTemplate):
                process.channel.send(TO_PROCESS.encode(Warm()))
            else:
                self._loaded(process)

    def _is_warm(self, process: FunctionProcess) -> None:
        if not isinstance(process, Resident):
            raise ProtocolError("Warmed from a template")
        self._loaded(process)

    def _of_function_template(self, process: FunctionTemplate, message: Any) -> None:
        if isinstance(message, Standing) and not process.says_it_stands:
            process.says_it_stands = True
            self._stands_if_stopped(process)
        elif isinstance(message, Proven) and process.proves and not process.says_it_stands:
            process.proves = False
            self._host.end(Farewell(process, None, again=True))
        elif isinstance(message, calls.Unfit) and not process.says_it_stands:
            self._host.fail(process, Failure("load_failed", message.reason))
        else:
            raise ProtocolError("{} at a wrong time".format(type(message).__name__))

    def has_stopped(self, pid: int, status: int) -> None:
        """Take a wait status that says that a process has stopped: a function template, or what was forked ahead."""
        held = next(
            (r for r in self._loading.processes() if isinstance(r, Resident) and r.is_held and r.pid == pid), None
        )
        if held is not None:
            held.has_stopped(status)
            if held.is_stopped:
                self._waits(held)
            return
        template = next((each for each in self._loading.function_templates.values() if each.pid == pid), None)
        if template is not None:
            template.has_stopped(status)
            template.channel.read_rest()  # what it has said before it stopped
            self._stands_if_stopped(template)

    def _waits(self, resident: Resident) -> None:
        """A process that was forked ahead has stopped. By now, its function may have been asked for."""
        if not self._loading.function_templates.is_ahead(resident):
            self.was_ahead(resident)
        elif resident.state is State.LOADING:
            resident.resident_bytes = self._size_of_forked(resident)
            _is_ready(resident)
            resident.meter.fix()
            self._tell_size_with_ahead(resident)

    def _tell_size_with_ahead(self, resident: Resident) -> None:
        """Report the size of a function template with the process that was forked from it ahead, which is a part of it.

        It is told once: each later one has the same size.
        """
        template = resident.template
        if isinstance(template, FunctionTemplate) and not template.has_told_ahead:
            template.has_told_ahead = True
            size_bytes = template.resident_bytes + resident.resident_bytes
            self._host.report(Measured({template.key: size_bytes}, self._host.watch.total_bytes()))

    def was_ahead(self, resident: Resident) -> None:
        resident.let_go()
        resident.library_s = time.monotonic() - resident.began_at
        resident.model_s = 0.0
        self._loaded(resident)
        self._host.advance()

    def _size_of_forked(self, resident: Resident) -> int:
        """The size of a process that has just been forked from a function template: as that of the first one.

        Measuring takes as long as forking, and a call may wait.
        """
        assert isinstance(resident.template, FunctionTemplate)
        template = resident.template
        template.forked_bytes = template.forked_bytes or resident.meter.measure()
        return resident.meter.assume(template.forked_bytes)

    def _stands_if_stopped(self, template: FunctionTemplate) -> None:
        """A template that says that it stands, and is seen stopped, can be forked from now on."""
        if not (template.says_it_stands and template.is_stopped and template.state is State.LOADING):
            return
        if not self._settles(template):
            return
        template.meter.fix()
        self._host.report(
            Loaded(
                template.key,
                template.library_s,
                template.model_s,
                template.resident_bytes,
                [*template.isolation, template.standing],
                self._host.watch.total_bytes(),
                source="nothing" if template.library_template is None else "libraries",
            )
        )

    def _born(self, process: FunctionProcess, pid: int) -> None:
        """A process has been forked. Its id is checked, because the manager will kill the process with this id."""
        known = (*self._loading.processes(), *self._host.ends.processes())
        if not _leads_a_group_of_ours(pid) or any(pid == other.pid for other in known):
            raise ProtocolError("process {} was not forked here, or has ended".format(pid))
        if isinstance(process, Resident) and isinstance(process.template, FunctionTemplate):
            if parent(pid) not in (process.template.pid, os.getpid()):
                raise ProtocolError("process {} was not forked by its template".format(pid))
            process.watch_end(pid, self._host.has_exited)
            process.born_by = None
        process.is_born(pid)
        if process.state is State.ENDING:
            process.end()
            return
        if isinstance(process, FunctionTemplate):
            process.hold()
        if process.is_background:
            self._loading.priority.lower(pid)
        if process.is_apart:
            self._give_uid(process, pid)

    def _give_uid(self, process: FunctionProcess, pid: int) -> None:
        group = process.library_template.uid if process.library_template is not None else 0
        process.uid = self._loading.uids.give(process.function, process.scratch, group, pid)
        if process.uid is None:
            self._host.end(Farewell(process, None, again=True))
        else:
            process.channel.send(TO_PROCESS.encode(calls.Mapped(process.uid)))

    def _settles(self, process: Process) -> bool:
        """Measure a process that is loaded now, and let it wait. Returns False if it was ended for its size."""
        if process.is_background:
            self._loading.bring_forward(process)
        process.resident_bytes = process.meter.measure()
        if self._host.watch.is_over_limit(process):
            return False
        _is_ready(process)
        return True

    def _loaded(self, resident: Resident) -> None:
        template = resident.template
        if isinstance(template, FunctionTemplate):
            if resident.is_background:
                self._loading.bring_forward(resident)
            resident.resident_bytes = self._size_of_forked(resident)
            _is_ready(resident)
            resident.meter.fix(False)
            resident.meter.doubt()
            self._host.watch.hurry()
        elif not self._settles(resident):
            return
        assert resident.prepared is not None
        self._host.report(
            Loaded(
                resident.key,
                resident.library_s,
                resident.model_s,
                resident.resident_bytes,
                resident.isolation,
                self._host.watch.total_bytes(),
                source=resident.source,
                modules=resident.prepared.modules,
            )
        )

    def on_template_message(self, process: TemplateProcess, message: Any) -> None:
        if process.state is not State.LOADING:
            raise ProtocolError("{} while {}".format(type(message).__name__, process.state.value))
        if isinstance(message, Jailed) and not process.isolation:
            process.isolation = message.isolation
            if self._loading.uids.refuses(process.isolation):
                self._host.fail(process, _refusal(process))
        elif isinstance(message, Made) and process.isolation:
            self._made(process, message)
        elif isinstance(message, Unfit):
            self._is_unfit(process, message)
        else:
            raise ProtocolError("{} at a wrong time".format(type(message).__name__))
        self._host.advance()

    def _made(self, process: TemplateProcess, message: Made) -> None:
        library_s = time.monotonic() - process.began_at
        if not self._settles(process):
            return
        process.meter.fix()
        left_out = {**self._loading.templates.left_out.get(process.key, {}), **message.skipped}
        total_bytes = self._host.watch.total_bytes()
        self._host.report(
            Loaded(
                process.key,
                library_s,
                0.0,
                process.resident_bytes,
                process.isolation,
                total_bytes,
                left_out=left_out,
            )
        )

    def _is_unfit(self, process: TemplateProcess, message: Unfit) -> None:
        """Make the template anew without a module that prevents forking, because an import cannot be undone."""
        if self._loading.templates.leave_out(process.template, message.module, message.reason):
            self._host.end(Farewell(process, None, again=True))
        else:
            text = "the template is given up: {} modules cannot be forked, the last one is {}: {}".format(
                MOST_ATTEMPTS, message.module, message.reason
            )
            self._host.fail(process, Failure("load_failed", text))


def _refusal(process: FunctionProcess | TemplateProcess) -> Failure:
    text = "{} is not run as root: {}; mend that, or start the platform as another user or with --allow-shared-uid"
    return Failure("load_failed", text.format(process.whose, process.isolation[0]))


def _is_ready(process: Process) -> None:
    process.state = State.READY
    process.deadline_at = None


def _leads_a_group_of_ours(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid and os.getsid(pid) == os.getsid(0) != pid
    except ProcessLookupError:
        return False
