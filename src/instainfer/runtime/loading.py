"""The loads of one container: of functions, and of the templates of both kinds from which functions are forked."""

from __future__ import annotations

import os
from itertools import count
from typing import Any, Protocol

from ..wire.framing import ProtocolError
from ..wire.messages import Failure, Function, Template
from .ends import Ends
from .function_process import FunctionProcess
from .function_template import FunctionTemplate
from .function_templates import FunctionTemplates, Wanted
from .left_files import remove_left_files
from .loop import Loop
from .priority import Priority
from .process import Listening, Process, State
from .removal import Remover
from .resident import Resident
from .templates import TemplateProcess, Templates
from .uids import Uids
from .view import is_private
from .watch import Watch


class Host(Protocol):
    """The parts of the manager that loading needs."""

    ends: Ends
    watch: Watch

    @property
    def is_serving(self) -> bool:
        """Whether a call waits or runs."""

    @property
    def is_moving(self) -> bool:
        """Whether a call or an answer is on its way, of which so far only a part has come or gone."""

    def advance(self) -> None:
        """Take the steps that have become possible."""

    def on_message(self, process: FunctionProcess, message: Any) -> None:
        """A function's process, or its template's, has said something."""

    def on_template_message(self, process: TemplateProcess, message: Any) -> None: ...

    def on_closed(self, process: Process, error: ProtocolError | None) -> None:
        """A process has closed its connection."""

    def fail(self, process: Process, failure: Failure) -> None: ...

    def load_has_failed(self, key: str, failure: Failure, logs: list[str]) -> None: ...

    def was_ahead(self, resident: Resident) -> None:
        """A load has been asked for that is done already: of a process that was forked ahead, and has stopped."""


class Loading:
    """Starts the processes of functions and of templates. `Progress` hears what they say until they are loaded."""

    def __init__(self, loop: Loop, scratch: str, uids: Uids, host: Host) -> None:
        self.residents: dict[str, Resident] = {}
        self.templates = Templates()
        self.function_templates = FunctionTemplates()
        self.wanted: dict[str, Function] = {}
        """Loads that wait for a template, for the end of a run, or for the end of the function's earlier process."""
        self.wanted_templates: dict[str, Template] = {}
        self._loop = loop
        self._scratch = scratch
        self._host = host
        self.priority = Priority()
        self.remover = Remover()
        self._numbers = count(1)
        self.uids = uids

    def processes(self) -> list[Process]:
        """All processes, templates first."""
        own = self.function_templates
        return [*self.templates.values(), *own.values(), *own.ahead.values(), *self.residents.values()]

    def spare(self) -> list[Process]:
        """The templates to be given up next: those of functions, then library templates.

        A template from which a process is being forked now is not among them.
        """
        used: set[Process | None] = {r.template for r in self.residents.values() if r.pid is None}
        spare: list[Process] = [template for template in self.function_templates.values() if template not in used]
        if spare:
            return spare
        used |= {template.library_template for template in self.function_templates.values() if template.pid is None}
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
        if self.wanted.pop(key, None) is not None or self.wanted_templates.pop(key, None) is not None:
            return True
        return self.function_templates.want_no_more(key)

    def measure(self, process: Process) -> int:
        """Measure the memory of a process exactly, and return it."""
        heirs = self._heirs(process)
        if heirs:
            # They share pages of which they are charged nothing. Everything that is not their own is its.
            shared_bytes = sum(each.meter.shared() for each in (process, *heirs))
            return process.meter.assume(max(0, shared_bytes - sum(heir.resident_bytes for heir in heirs)))
        return process.meter.measure()

    def _heirs(self, process: Process) -> list[Process]:
        """The processes that were forked from this one, and what was forked from them."""
        heirs: list[Process] = []
        for other in self.processes():  # templates come before what is forked from them
            if other.forked_from is not None and other.forked_from in (process, *heirs) and other.pid is not None:
                heirs.append(other)
        return heirs

    def has_left(self, process: Process) -> None:
        """A process is gone. What it shared with the processes that were forked from it is theirs now."""
        for other in self.processes():
            if other.forked_from is process:
                other.meter.is_orphaned()
                self._host.watch.hurry()

    def wanted_of_others(self, function: str) -> list[str]:
        """The loads of other functions and of their templates that have not begun, by their keys."""
        templates = [wanted.key for name, wanted in self.function_templates.wanted.items() if name != function]
        return [key for key in self.wanted if key != function] + templates

    def find(self, key: str) -> Process | None:
        """The process of a function or of a template of either kind, by its key."""
        return self.templates.get(key) or self.residents.get(key) or self.function_templates.of(key)

    def is_there(self, process: Process) -> bool:
        return self.find(process.key) is process

    def forget(self, process: Process) -> None:
        """Remove a process that is being ended from the tables."""
        if isinstance(process, TemplateProcess):
            del self.templates[process.key]
        elif isinstance(process, FunctionTemplate):
            del self.function_templates[process.function.key]
        elif self.function_templates.is_ahead(process):
            del self.function_templates.ahead[process.key]
        else:
            del self.residents[process.key]

    def set_session_priority(self) -> None:
        """Give the whole container a low priority while it only loads in the background."""
        loading = any(process.state is State.LOADING for process in self.processes())
        self.priority.set_session(low=loading and not (self._host.is_serving or self._host.is_moving))

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
        for name, wanted in list(self.function_templates.wanted.items()):
            if wanted.key not in ending and self.has_library_template(wanted.function, background=True):
                self.function_templates.wanted.pop(name, None)
                self.make_function_template(wanted)
        self._fork_ahead()

    def _fork_ahead(self) -> None:
        """Fork a process from each function template that none waits for and whose function is not resident.

        It waits stopped, so a call that needs it need not wait for the fork.
        """
        ahead = self.function_templates.ahead
        there = {*ahead, *self.residents, *self.wanted, *self._host.ends.keys()}
        for key, template in self.function_templates.items():
            if key not in there and template.may_fork_ahead and template.is_at_rest():
                resident = self._forked_from(template)
                if resident is not None:
                    ahead[key] = resident

    def _forked_from(self, template: FunctionTemplate) -> Resident | None:
        listening = Listening(self._loop, self._host.on_message, self._host.on_closed)
        try:
            return Resident(template.function, template.next_scratch(), listening, template=template, uids=self.uids)
        except OSError:
            return None  # no descriptors are left, say

    def has_its_template(self, function: Function, background: bool) -> bool:
        """Whether the load of a function need not wait for a template. Begins to make the library template if the
        function has no template of its own and that one is missing."""
        if self.function_templates.standing(function.key) is not None:
            return True
        return self.has_library_template(function, background)

    def has_library_template(self, function: Function, background: bool) -> bool:
        """The same for a load that cannot be forked from the function's own template."""
        if function.template is None or not self._may_be_forked(function):
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
        own = None if from_nothing else self.function_templates.standing(function.key)
        if own is not None and self._take(own, background):
            return
        template = None if from_nothing else self._library_template(function)
        scratch = self._new_scratch(template)
        try:
            _make_folder(scratch, template)
            listening = Listening(self._loop, self._host.on_message, self._host.on_closed)
            resident = Resident(function, scratch, listening, template=template, uids=self.uids)
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

    def _take(self, template: FunctionTemplate, background: bool) -> bool:
        """Load a function by forking from its own template, or with the process that was forked ahead.

        Returns whether that could be begun.
        """
        resident = self.function_templates.ahead.pop(template.function.key, None)
        if resident is not None:
            resident.begin()
        else:
            resident = self._forked_from(template)
        if resident is None:
            return False
        self.residents[resident.key] = resident
        self._begun(resident, background)
        if resident.is_stopped:
            self._host.was_ahead(resident)
        return True

    def _library_template(self, function: Function) -> TemplateProcess | None:
        if function.template is None or not self._may_be_forked(function):
            return None
        return self.templates.get(function.template.key)

    def _may_be_forked(self, function: Function) -> bool:
        return self.templates.may_help(function) and self.uids.may_fork(function.key)

    def _new_scratch(self, template: TemplateProcess | None) -> str:
        return os.path.join(self._scratch if template is None else template.nursery, str(next(self._numbers)))

    def make_function_template(self, wanted: Wanted, from_nothing: bool = False) -> None:
        key, function, proves = wanted
        template = None if from_nothing else self._library_template(function)
        scratch = self._new_scratch(template)
        try:
            _make_folder(scratch, template)
            listening = Listening(self._loop, self._host.on_message, self._host.on_closed)
            process = FunctionTemplate(
                key, function, scratch, listening, template=template, uids=self.uids, proves=proves
            )
        except OSError as error:
            self.remover.remove(scratch)
            self._host.load_has_failed(key, _cannot_be_started(function.python, error), [])
            return
        self.function_templates[function.key] = process
        self._begun(process, background=True)

    def make(self, template: Template, background: bool) -> None:
        nursery = os.path.join(self._scratch, str(next(self._numbers)))
        try:
            os.mkdir(nursery, 0o711)
            modules = self.templates.modules(template)
            listening = Listening(self._loop, self._host.on_template_message, self._host.on_closed)
            process = TemplateProcess(template, modules, nursery, listening, self.uids)
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
        process.meter.find(self._host.watch.adopted(process.pid), {other.pid for other in self.processes()})
        self.priority.restore(process.meter.pids)

    def clear(self, process: Process) -> None:
        """Close what the manager has open for a process that is gone, and remove its folder and its shared memory.

        Those of a function template are also its residents'. They are removed with the last of them.
        """
        process.clear()
        if isinstance(process, FunctionTemplate):
            process.is_cleared = True
            if self._has_residents(process):
                return
        self._remove_files(process)
        if isinstance(process, Resident) and isinstance(process.template, FunctionTemplate):
            template = process.template
            if template.is_cleared and not self._has_residents(template):
                self._remove_files(template)

    def _remove_files(self, process: Process) -> None:
        self.remover.remove(process.scratch)
        # What was forked from a function template has its user id, and so have the files that it has left.
        if not isinstance(process, FunctionProcess) or not process.is_child or self._shares_files(process):
            return
        if process.own_uid is not None:
            remove_left_files(process.own_uid, self.remover.remove)

    def _shares_files(self, process: FunctionProcess) -> bool:
        """Whether files with the user id of this process may belong to another process of its function.

        With a cache, all processes of a function have one user id, in other containers too.
        """
        if not process.function.cache:
            return False
        others = (*self.processes(), *self._host.ends.processes())
        mine = (p for p in others if isinstance(p, FunctionProcess) and p is not process)
        return not is_private() or any(other.function.key == process.function.key for other in mine)

    def _has_residents(self, template: FunctionTemplate) -> bool:
        processes = (*self.residents.values(), *self._host.ends.processes())
        return any(isinstance(process, Resident) and process.template is template for process in processes)

    def start_again(self, process: Process) -> None:
        """Start a process once more, after it was ended for this purpose."""
        if isinstance(process, TemplateProcess):
            self.make(process.template, process.is_background)
        elif isinstance(process, FunctionTemplate):
            self.function_templates.want(Wanted(process.key, process.function, process.proves))
        elif isinstance(process, Resident):
            self.wanted[process.key] = process.function

    def not_born(self, process: Process) -> None:
        """A process was not forked, because its template died or could not fork. Load its function in another way."""
        if isinstance(process, FunctionTemplate):
            del self.function_templates[process.function.key]
            self.clear(process)
            self.make_function_template(Wanted(process.key, process.function, process.proves), from_nothing=True)
        elif isinstance(process, Resident):
            is_awaited = not self.function_templates.is_ahead(process)
            self.forget(process)
            self.clear(process)
            template = process.template
            if not isinstance(template, FunctionTemplate):
                self.load(process.function, process.is_background, from_nothing=True)
                return
            if is_awaited and process.is_background:
                self.wanted[process.key] = process.function
            if self.is_there(template):
                self._host.fail(template, Failure("crashed", "the template did not fork"))


def _make_folder(scratch: str, template: TemplateProcess | None) -> None:
    """Make the folder of a process, which belongs to its template first if it is forked from one. Raises OSError."""
    os.mkdir(scratch, 0o700)
    if template is not None and template.uid:
        os.chown(scratch, template.uid, template.uid)


def _cannot_be_started(python: str, error: OSError) -> Failure:
    text = "{} cannot be started: {}; build the function's environment anew".format(python, error)
    return Failure("load_failed", text)
