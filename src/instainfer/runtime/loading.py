"""The loads of one container: of functions, and of the templates from which functions are forked."""

from __future__ import annotations

import os
import time
from itertools import count
from typing import Any, Protocol

from ..wire.calls import TO_PROCESS, Answered, Apart, Born, Imported, Jailed, Mapped, Prepared, Unloadable, Warm, Warmed
from ..wire.forks import Made, Unfit
from ..wire.framing import ProtocolError
from ..wire.messages import Failure, Function, Loaded, Measured, Template
from . import jail
from .ends import Ends, Farewell
from .loop import Loop
from .priority import Priority
from .process import Listening, Process, State
from .removal import Remover
from .resident import Resident
from .templates import MOST_ATTEMPTS, TemplateProcess, Templates
from .watch import Watch


class Host(Protocol):
    """The parts of the manager that loading needs."""

    ends: Ends
    watch: Watch

    @property
    def is_serving(self) -> bool:
        """Whether a call waits or runs."""

    def report(self, message: Any) -> None: ...

    def advance(self) -> None:
        """Take the steps that have become possible."""

    def answered(self, resident: Resident, message: Answered) -> None: ...

    def on_closed(self, process: Process, error: ProtocolError | None) -> None:
        """A process has closed its connection."""

    def fail(self, process: Process, failure: Failure) -> None: ...

    def end(self, farewell: Farewell) -> None: ...

    def load_has_failed(self, key: str, failure: Failure, logs: list[str]) -> None: ...


class Loading:
    """Starts processes and handles their messages until they are loaded."""

    def __init__(self, loop: Loop, scratch: str, host: Host) -> None:
        self.residents: dict[str, Resident] = {}
        self.templates = Templates()
        self.wanted: dict[str, Function] = {}
        """Loads that wait for a template, for the end of a run, or for the end of the function's earlier process."""
        self.wanted_templates: dict[str, Template] = {}
        self._loop = loop
        self._scratch = scratch
        self._host = host
        self.priority = Priority()
        self.remover = Remover()
        self._numbers = count(1)
        self._gives_uids = os.geteuid() == 0
        """Whether forked processes are given user ids of their own."""
        self._without_uid: set[str] = set()
        """Functions that could not be given one. A failure of one function has no effect on the other functions."""

    def processes(self) -> list[Process]:
        """All processes, templates first."""
        return [*self.templates.values(), *self.residents.values()]

    def spare(self) -> list[Process]:
        """The templates from which no process is being forked now."""
        used = {r.template for r in self.residents.values() if r.pid is None}
        return [template for template in self.templates.values() if template not in used]

    def want(self, function: Function) -> None:
        """Load a function in the background, as soon as possible."""
        if function.key not in self.residents:
            self.wanted[function.key] = function

    def want_template(self, template: Template) -> None:
        self.templates.is_asked_for(template)
        if template.key not in self.templates:
            self.wanted_templates[template.key] = template

    def want_no_more(self, key: str) -> bool:
        """Give up a load that has not begun. Returns whether there was one."""
        return self.wanted.pop(key, None) is not None or self.wanted_templates.pop(key, None) is not None

    def forget(self, process: Process) -> None:
        """Remove a process that is being ended from the tables."""
        if isinstance(process, TemplateProcess):
            del self.templates[process.key]
        else:
            del self.residents[process.key]

    def set_session_priority(self) -> None:
        """Give the whole container a low priority while it only loads in the background."""
        loading = any(process.state is State.LOADING for process in self.processes())
        self.priority.set_session(low=loading and not self._host.is_serving)

    def advance(self) -> None:
        ending = self._host.ends.keys()
        for key in [key for key in self.wanted_templates if key not in ending]:
            template = self.wanted_templates.pop(key)
            if key not in self.templates:
                self.make(template, background=True)
        for key in [key for key in self.wanted if key not in ending]:
            function = self.wanted.get(key)
            # A load that fails at once starts the other waiting loads itself, so this one may be gone.
            if function is not None and self.has_its_template(function, background=True):
                del self.wanted[key]
                self.load(function, background=True)

    def has_its_template(self, function: Function, background: bool) -> bool:
        """Whether the load of a function need not wait for a template. Begins to make the template if it is missing."""
        if function.template is None or not self.templates.may_help(function):
            return True
        key = function.template.key
        ending = self._host.ends.of(key)
        if ending is not None:
            ending.process.is_background &= background
            return False
        if key not in self.templates:
            self.make(function.template, background)
        template = self.templates.get(key)
        if template is None:
            return True  # it could not even be started
        if template.is_background and not background:
            self.bring_forward(template)
        return template.state is State.READY

    def load(self, function: Function, background: bool, from_nothing: bool = False) -> None:
        template = None
        if function.template is not None and not from_nothing and self.templates.may_help(function):
            template = self.templates.get(function.template.key)
        scratch = os.path.join(self._scratch if template is None else template.nursery, str(next(self._numbers)))
        try:
            os.mkdir(scratch, 0o700)
            listening = Listening(self._loop, self.on_message, self._host.on_closed)
            own_uid = self._may_have_uid(function.key)
            resident = Resident(function, scratch, listening, template=template, own_uid=own_uid)
        except OSError as error:
            self.remover.remove(scratch)
            if template is not None:
                self.load(function, background, from_nothing=True)
                return
            self._host.load_has_failed(function.key, _cannot_be_started(function.python, error), [])
            self._host.advance()
            return
        self.residents[function.key] = resident
        self._begun(resident, background)

    def _may_have_uid(self, key: str) -> bool:
        return self._gives_uids and key not in self._without_uid

    def make(self, template: Template, background: bool) -> None:
        nursery = os.path.join(self._scratch, str(next(self._numbers)))
        try:
            os.mkdir(nursery, 0o711)
            modules = self.templates.modules(template)
            listening = Listening(self._loop, self.on_template_message, self._host.on_closed)
            process = TemplateProcess(template, modules, nursery, listening)
        except OSError as error:
            self.remover.remove(nursery)
            self.templates.is_hopeless(template)
            self._host.load_has_failed(template.key, _cannot_be_started(template.python, error), [])
            return
        self.templates[template.key] = process
        self._begun(process, background)

    def _begun(self, process: Process, background: bool) -> None:
        process.is_background = background
        if background and process.pid is not None:
            self.priority.lower(process.pid)
        self._host.watch.hurry()

    def bring_forward(self, process: Process) -> None:
        """Give a process that was started in the background its normal priority."""
        process.is_background = False
        process.meter.find(self._host.watch.adopted(process.pid))
        self.priority.restore(process.meter.pids)

    def on_message(self, resident: Resident, message: Any) -> None:
        if isinstance(message, Born) and resident.pid is None:
            self._born(resident, message.pid)
        elif isinstance(message, Apart) and resident.awaits_uid:
            resident.is_apart = True
            if resident.pid is not None:
                self._give_uid(resident, resident.pid)
        elif isinstance(message, Answered) and resident.state is State.RUNNING:
            self._host.answered(resident, message)
        elif isinstance(message, Jailed) and resident.state is State.LOADING and resident.prepared is None:
            resident.is_jailed(message)
        elif isinstance(message, Imported) and resident.state is State.LOADING and resident.prepared is None:
            resident.is_imported(message)
        elif isinstance(message, Prepared) and resident.state is State.LOADING and resident.prepared is None:
            resident.is_prepared(message)
            if resident.is_background:
                resident.channel.send(TO_PROCESS.encode(Warm()))
            else:
                self._loaded(resident, message)
        elif isinstance(message, Warmed) and resident.state is State.LOADING and resident.prepared is not None:
            self._loaded(resident, resident.prepared)
        elif isinstance(message, Unloadable) and resident.state is State.LOADING:
            self._host.fail(resident, message.failure)
        else:
            raise ProtocolError("{} while {}".format(type(message).__name__, resident.state.value))
        self._host.advance()

    def _born(self, resident: Resident, pid: int) -> None:
        """A process has been forked. Its id is checked, because the manager will kill the process with this id."""
        known = (*self.processes(), *self._host.ends.processes())
        if not _leads_a_group_of_ours(pid) or any(pid == process.pid for process in known):
            raise ProtocolError("process {} was not forked here, or has ended".format(pid))
        resident.is_born(pid)
        if resident.state is State.ENDING:
            resident.end()
            return
        if resident.is_background:
            self.priority.lower(pid)
        if resident.is_apart:
            self._give_uid(resident, pid)

    def _give_uid(self, resident: Resident, pid: int) -> None:
        uid = jail.own_uid(pid)
        try:
            # The group of the manager keeps its access to the folder until the process has become the owner and takes
            # it away. If the process cannot change its id, it still has the old one and needs this access.
            os.chown(resident.scratch, uid, -1)
            os.chmod(resident.scratch, 0o770)
            for ids in ("gid_map", "uid_map"):
                with open("/proc/{}/{}".format(pid, ids), "w", encoding="ascii") as mapping:
                    mapping.write("{0} {0} 1".format(uid))
        except OSError:
            # This host does not allow it. Without any id in its namespace the process can do nothing, so it is ended.
            self._without_uid.add(resident.key)
            self._host.end(Farewell(resident, None, again=True))
        else:
            resident.uid = uid
            resident.channel.send(TO_PROCESS.encode(Mapped(uid)))

    def clear(self, process: Process) -> None:
        """Close what the manager has open for a process that is gone, and remove its folder."""
        process.clear()
        self.remover.remove(process.scratch)

    def start_again(self, process: Process) -> None:
        """Start a process once more, after it was ended for this purpose."""
        if isinstance(process, TemplateProcess):
            self.make(process.template, process.is_background)
        elif isinstance(process, Resident):
            self.wanted[process.key] = process.function

    def not_born(self, process: Process) -> None:
        """A process was not forked, because its template died or could not fork. Load its function from nothing."""
        if isinstance(process, Resident):
            del self.residents[process.key]
            self.clear(process)
            self.load(process.function, process.is_background, from_nothing=True)

    def _loaded(self, resident: Resident, message: Prepared) -> None:
        if resident.is_background:
            self.bring_forward(resident)
        resident.resident_bytes = resident.meter.measure()
        if self._host.watch.is_over_limit(resident):
            return
        resident.state = State.READY
        resident.deadline_at = None
        if resident.template is not None:
            self.sharing_has_changed(resident.template)
        self._host.report(
            Loaded(
                resident.key,
                resident.library_s,
                resident.model_s,
                resident.resident_bytes,
                resident.isolation,
                self._host.watch.total_bytes(),
                forked=resident.template is not None,
                modules=message.modules,
            )
        )

    def sharing_has_changed(self, template: TemplateProcess) -> None:
        """Measure anew a template and the processes forked from it, which share memory, since one has come or gone."""
        family = [r for r in self.residents.values() if r.template is template and r.state is State.READY]
        for process in (template, *family):
            process.meter.doubt()
        if template.state is State.READY and not self._host.is_serving:
            template.resident_bytes = template.meter.measure()
            self._host.report(Measured({template.key: template.resident_bytes}, self._host.watch.total_bytes()))
        self._host.watch.hurry()

    def on_template_message(self, process: TemplateProcess, message: Any) -> None:
        if process.state is not State.LOADING:
            raise ProtocolError("{} while {}".format(type(message).__name__, process.state.value))
        if isinstance(message, Jailed) and not process.isolation:
            process.isolation = message.isolation
        elif isinstance(message, Made) and process.isolation:
            self._made(process, message)
        elif isinstance(message, Unfit):
            self._is_unfit(process, message)
        else:
            raise ProtocolError("{} at a wrong time".format(type(message).__name__))
        self._host.advance()

    def _made(self, process: TemplateProcess, message: Made) -> None:
        library_s = time.monotonic() - process.began_at
        if process.is_background:
            self.bring_forward(process)
        process.resident_bytes = process.meter.measure()
        if self._host.watch.is_over_limit(process):
            return
        process.state = State.READY
        process.deadline_at = None
        left_out = {**self.templates.left_out.get(process.key, {}), **message.skipped}
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
        if self.templates.leave_out(process.template, message.module, message.reason):
            self._host.end(Farewell(process, None, again=True))
        else:
            text = "the template is given up: {} modules cannot be forked, the last one is {}: {}".format(
                MOST_ATTEMPTS, message.module, message.reason
            )
            self._host.fail(process, Failure("load_failed", text))


def _cannot_be_started(python: str, error: OSError) -> Failure:
    text = "{} cannot be started: {}; build the function's environment anew".format(python, error)
    return Failure("load_failed", text)


def _leads_a_group_of_ours(pid: int) -> bool:
    try:
        return os.getpgid(pid) == pid and os.getsid(pid) == os.getsid(0) != pid
    except ProcessLookupError:
        return False
