"""The backend ``process``: a container is a session of processes with the Intra-Container Manager at its head.

The backend works on any Linux from 5.3 on, without root. Memory limits are enforced by measuring.
`ProcessBackend.isolation` lists the other isolation that the host gives or lacks. `instainfer.backends.base` describes
the contract that this backend keeps.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, cast

from ..core.events import (
    ContainerGone,
    ContainerStarted,
    ContainerStartFailed,
    Event,
    LoadFailed,
    LoadFinished,
    MemoryMeasured,
    ResidentGone,
    RunFinished,
)
from ..core.model import (
    Failure,
    FailureKind,
    FunctionKey,
    ResidentKey,
    Source,
    function_template_key,
    is_function_template,
    is_template,
)
from ..runtime import jail
from ..runtime.removal import remove_tree
from ..runtime.watch import BUSY_S
from ..wire import messages
from ..wire.bounds import MAX_ARGS_BYTES, MOST_MODULES
from ..wire.framing import MIB, ProtocolError
from .base import Answer, Call, Clock, ContainerSpec, FunctionSpec, Report, TemplateSpec
from .expected import Expected
from .layers import layers, namespaces_line
from .learned import LearnedModules
from .process_manager import ManagerProcess
from .result import checked_logs, checked_result

log = logging.getLogger(__name__)

STOP_GRACE_S = 5.0
"""How long a manager may take to end its container before the manager is killed."""
_KILL_GRACE_S = 10.0
"""How long `ProcessBackend.close` waits for containers after it has killed their managers."""
_MOST_UNREAD_BYTES = MAX_ARGS_BYTES + 64 * MIB
"""Limit on commands that a manager has not read: the largest request, and descriptions of functions and templates."""
_REPORTS_AT_ONCE = 64
"""After so many reports of one container, the event loop may do other work."""
_MACHINE_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
_MOST_TOLD = 20
"""How many of the modules that a template lacks are named in the log at a time."""


class ProcessBackend:
    """Runs containers as sessions of processes on this machine. It must be used inside a running event loop."""

    name = "process"

    def __init__(
        self,
        clock: Clock,
        *,
        scratch: Path,
        python: Path = Path(sys.executable),
        start_timeout_s: float = 30.0,
        memory: Path | None = None,
        env: Mapping[str, str] | None = None,
        allow_shared_uid: bool = False,
    ) -> None:
        """`scratch` takes the functions' private files, `python` runs the managers, and all functions get `env`.

        The folder `memory` keeps the names of the modules that templates should import. Without it, these are learned
        anew after each start. `allow_shared_uid`: as root, functions that cannot be given user ids of their own are
        root's; otherwise they are not run.
        """
        self.clock = clock
        self.python = python
        self.start_timeout_s = start_timeout_s
        self.scratch = scratch
        self.env = dict(env or {})
        self.allow_shared_uid = allow_shared_uid
        self.learned = LearnedModules(memory)
        self.left_out: dict[ResidentKey, dict[str, str]] = {}
        """By template, the modules that it should have imported and has not, with the reasons."""
        self.containers: set[ProcessContainer] = set()
        self.system_isolation: Sequence[str] = jail.describe()
        """Isolation of the function loaded last; before any load, the isolation that this host should allow."""
        self.templates_standing = "stopped"
        """How the function template made last is kept from running."""

    def start(self, spec: ContainerSpec, report: Report) -> ProcessContainer:
        container = ProcessContainer(self, spec, report)
        self.containers.add(container)
        return container

    def isolation(self) -> Sequence[str]:
        return [
            "user: a container holds functions of one namespace only",
            "process: no thread of any other function in the container can run any more when user code sees a request",
            f"process: templates of functions are {self.templates_standing} while calls of others run",
            namespaces_line(),
            *("system: " + words for words in self.system_isolation),
            f"memory: limits are enforced by measuring every {BUSY_S:g} s",
        ]

    def made_folder(self) -> Path:
        """Make a folder for a container's files, and read the learned modules. This blocks, so call it in a thread."""
        layers()
        self.learned.read()
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=self.scratch))
        folder.chmod(0o711)  # functions with user ids of their own must reach their private folders in it
        return folder

    def used_bytes(self) -> int:
        return sum(container.used_bytes for container in self.containers)

    def note_left_out(self, template: ResidentKey, reasons: Mapping[str, str]) -> None:
        """Log the modules that a template could not import. A module is logged again only for a new reason."""
        known = self.left_out.setdefault(template, {})
        news = {module: reason for module, reason in reasons.items() if known.get(module) != reason}
        known.update(islice(news.items(), max(0, MOST_MODULES - len(known))))
        for module, reason in islice(news.items(), _MOST_TOLD):
            log.warning("%s does without %s: %s", template, module, reason)
        if len(news) > _MOST_TOLD:
            log.warning("%s does without %d modules more", template, len(news) - _MOST_TOLD)

    async def close(self) -> None:
        containers = list(self.containers)
        for container in containers:
            container.end_silently()
        ended = [asyncio.ensure_future(container.ended.wait()) for container in containers]
        if ended:
            _, late = await asyncio.wait(ended, timeout=STOP_GRACE_S)
            if late:
                for container in containers:
                    container.kill()
                _, stuck = await asyncio.wait(late, timeout=_KILL_GRACE_S)
                if stuck:
                    log.error("%d containers are not gone %g s after they were killed", len(stuck), _KILL_GRACE_S)
        await asyncio.to_thread(self.learned.close)


class ProcessContainer(asyncio.Protocol):
    """One container, and also the asyncio protocol of the connection to its manager."""

    def __init__(self, backend: ProcessBackend, spec: ContainerSpec, report: Report) -> None:
        self.id = spec.id
        self.used_bytes = 0
        self.ended = asyncio.Event()
        """Set when the container has neither processes nor files any more."""
        self._backend = backend
        self._clock = backend.clock
        self._report: Report | None = report
        self._decoder = messages.REPORTS.decoder()
        self._expected = Expected()
        self._manager: ManagerProcess | None = None
        self._transport: asyncio.Transport | None = None
        self._defined: dict[FunctionKey, tuple[FunctionSpec, tuple[str, ...]]] = {}
        """By function, what the manager was last told: the function, and the modules that its template is to import."""
        self._is_started = False
        self._is_stopping = False
        self._is_refused = False
        """Whether the manager has broken the protocol. Its reports are ignored from then on."""
        self._complaint = ""
        self._cancel_timer = self._clock.call_at(self._clock.now() + backend.start_timeout_s, self._start_is_overdue)
        self._life = asyncio.get_running_loop().create_task(self._live(spec))

    # -- commands -----------------------------------------------------------------------------------------------------

    def load(self, function: FunctionSpec) -> None:
        self._define(function)
        self._expected.load(function.key, _template_key(function), self._clock.now())
        self._send(messages.Load(function.key))

    def load_template(self, template: TemplateSpec) -> None:
        self._expected.load(template.key, None, self._clock.now())
        self._send(messages.LoadTemplate(_wire_template(template, self._modules(template))))

    def load_function_template(self, function: FunctionSpec, *, proves: bool = False) -> None:
        key = function_template_key(function.key)
        self._define(function)
        self._expected.load(key, _template_key(function), self._clock.now())
        self._send(messages.LoadFunctionTemplate(function.key, key, proves))

    def run(self, function: FunctionSpec, call: Call) -> None:
        self._define(function)
        self._expected.run(call.activation, function.key, _template_key(function), self._clock.now())
        self._send(messages.Run(function.key, call.activation, dict(call.env), call.args, call.only_warms))

    def offload(self, function: FunctionKey) -> None:
        self._expected.offload(function)
        self._send(messages.Offload(function))

    def resize(self, limit_bytes: int) -> None:
        self._send(messages.Resize(limit_bytes))

    def forget(self, function: ResidentKey) -> None:
        if self._defined.pop(function, None) is not None:
            self._expected.forget(function)
            self._send(messages.Forget(function))

    def stop(self) -> None:
        if self._is_stopping:
            return
        self._is_stopping = True
        self._cancel_timer()
        if self._is_started:
            self._send(messages.Stop())
            self._cancel_timer = self._clock.call_at(self._clock.now() + STOP_GRACE_S, self.kill)
        else:
            self.kill()

    def end_silently(self) -> None:
        """Stop the container, as `stop` does, but report nothing more."""
        self._report = None
        self.stop()

    def kill(self) -> None:
        """Kill the manager. `ManagerProcess.run` ends the rest of the session once the manager has ended."""
        if self._manager is not None:
            self._manager.kill()

    def _send(self, command: object) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.write(messages.COMMANDS.encode(command))
        if self._transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self._refuse("does not read what it is told")

    def _define(self, spec: FunctionSpec) -> None:
        """Describe a function to the manager, unless the manager has the same description already."""
        modules = self._modules(spec.template) if spec.template is not None else ()
        told = self._defined.get(spec.key)
        if told is None or told[0] is not spec or told[1] is not modules:
            self._defined[spec.key] = (spec, modules)
            self._send(messages.Define(_wire_form(spec, modules)))

    def _modules(self, template: TemplateSpec) -> tuple[str, ...]:
        """Names of the modules that a template is to import; the same object as long as the names are the same."""
        return template.modules or self._backend.learned.of(template.key)

    # -- its life -----------------------------------------------------------------------------------------------------

    async def _live(self, spec: ContainerSpec) -> None:
        folder: Path | None = None
        try:
            folder = await asyncio.to_thread(self._backend.made_folder)
            backend = self._backend
            self._manager = ManagerProcess(
                backend.python, spec.limit_bytes, folder, backend.env, may_share_uid=backend.allow_shared_uid
            )
        except OSError as error:
            self._complaint = f"cannot be started: {error}"
            await self._has_ended("", folder)
            return
        if self._is_stopping or self._complaint:
            self._manager.kill()  # `kill` found no manager at that time
        last_words = "cannot be talked to"
        try:
            last_words = await self._manager.run(self)
        finally:
            await self._has_ended(last_words, folder)

    async def _has_ended(self, last_words: str, folder: Path | None) -> None:
        """Report the container's end, remove its files, and let `ProcessBackend.close` go on."""
        self._cancel_timer()
        self.used_bytes = 0
        try:
            self._tell_end(last_words)
        finally:
            if folder is not None:
                await asyncio.to_thread(remove_tree, str(folder))
            self._backend.containers.discard(self)
            self.ended.set()

    def _start_is_overdue(self) -> None:
        self._complaint = f"did not report within {self._backend.start_timeout_s:g} s"
        self.kill()

    def _tell_end(self, last_words: str) -> None:
        report, self._report = self._report, None
        if report is None:
            return
        now = self._clock.now()
        if self._is_stopping:
            report(ContainerGone(now, self.id), None)
            return
        text = "the container's manager " + "\n".join(filter(None, (self._complaint, last_words)))
        if self._is_started:
            report(ContainerGone(now, self.id, Failure(FailureKind.CONTAINER_LOST, text)), None)
        else:
            failure = Failure(FailureKind.CONTAINER_START_FAILED, text)
            report(ContainerStartFailed(now, self.id, failure), None)

    # -- reports ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not instances of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._take_reports(data, _REPORTS_AT_ONCE)

    def _take_reports(self, data: bytes = b"", at_most: int | None = None) -> None:
        """Handle the received reports, in order. After `at_most` reports, the event loop does other work first."""
        if self._is_refused:
            return
        taken = 0
        try:
            for frame in islice(self._decoder.feed(data), at_most):
                taken += 1
                self._take(messages.REPORTS.decode(frame))
        except ProtocolError as error:
            self._refuse(f"does not keep to the protocol: {error}")
        except Exception as error:
            # This is a bug of ours, which must not break the transport. The report is lost, so the state of the
            # container is no longer known. The container ends, and its end answers every call that waits for it.
            log.exception("a report of container %s could not be taken", self.id)
            self._refuse(f"has reported what could not be taken: {type(error).__name__}: {error}")
        transport = self._transport
        if taken == at_most and transport is not None and not transport.is_closing() and not self._is_refused:
            transport.pause_reading()
            asyncio.get_running_loop().call_soon(self._go_on)

    def _go_on(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()
            self._take_reports(at_most=_REPORTS_AT_ONCE)

    def _take(self, message: Any) -> None:
        event, answer = self._translate(message)
        if event is not None and self._report is not None and not self._is_stopping:
            self._report(event, answer)

    def _refuse(self, complaint: str) -> None:
        """Ignore the manager from now on, and kill it. The end is reported when the whole session has ended."""
        if not self._is_refused:
            self._is_refused = True
            self._complaint = complaint
            self.kill()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._take_reports()
        if self._manager is not None:
            self._manager.disconnected.set()

    def _translate(self, message: Any) -> tuple[Event | None, Answer | None]:
        """The event for the core, if there is one. Raises `ProtocolError` for a message that cannot be true.

        Times and sizes are the manager's measurements, so they are limited by our clock and by the machine's memory.
        """
        now = self._clock.now()
        answer = None
        event: Event | None = None
        if isinstance(message, messages.Ready):
            self._expected.ready()
            self._is_started = True
            self._cancel_timer()
            event = ContainerStarted(now, self.id)
        else:
            self._expected.check_ready()
        self.used_bytes = _possible(message.total_bytes)
        match message:
            case messages.Ran():
                most_s = self._expected.ran(message, now)
                failure = _failure(message.failure)
                result = None
                if failure is None:
                    result, failure = checked_result(message.answer)
                told = self._defined.get(message.function)
                logs = checked_logs(message.logs, told[0].logs_bytes if told is not None else 0)
                answer = Answer(result, logs)
                event = RunFinished(
                    now,
                    self.id,
                    message.activation,
                    min(message.compute_s, most_s),
                    _possible(message.resident_bytes),
                    failure,
                    message.alive,
                    _possible(message.peak_bytes),
                )
            case messages.Loaded():
                most_s = self._expected.loaded(message, now)
                if not is_template(message.function):
                    self._backend.system_isolation = message.isolation
                elif is_function_template(message.function) and message.isolation:
                    self._backend.templates_standing = message.isolation[-1]
                self._learn(message)
                model_s = min(message.model_s, most_s)
                event = LoadFinished(
                    now,
                    self.id,
                    message.function,
                    min(message.library_s, most_s - model_s),
                    model_s,
                    _possible(message.resident_bytes),
                    Source(message.source),
                )
            case messages.LoadFailed():
                self._expected.load_failed(message)
                event = LoadFailed(now, self.id, message.function, _known_failure(message.failure))
            case messages.Gone():
                self._expected.gone(message)
                event = ResidentGone(now, self.id, message.function, _failure(message.failure))
            case messages.Measured():
                self._expected.measured(message)
                if message.resident_bytes:
                    sizes = ((key, _possible(size)) for key, size in message.resident_bytes.items())
                    event = MemoryMeasured(now, self.id, tuple(sizes))
        return event, answer

    def _learn(self, message: messages.Loaded) -> None:
        """Note the modules that the load of a function imported, and those that a template could not import."""
        if message.left_out and is_template(message.function):
            self._backend.note_left_out(message.function, message.left_out)
        spec, _ = self._defined.get(message.function, (None, ()))
        if message.modules and spec is not None and spec.template is not None:
            self._backend.learned.add(spec.template.key, message.modules)


def _possible(size_bytes: int) -> int:
    """The size, but at most the memory that the machine has."""
    return min(size_bytes, _MACHINE_BYTES)


def _template_key(function: FunctionSpec) -> ResidentKey | None:
    return None if function.template is None else function.template.key


def _failure(failure: messages.Failure | None) -> Failure | None:
    return None if failure is None else _known_failure(failure)


def _known_failure(failure: messages.Failure) -> Failure:
    return Failure(FailureKind(failure.kind), failure.message)


def _wire_form(spec: FunctionSpec, modules: Sequence[str]) -> messages.Function:
    return messages.Function(
        key=spec.key,
        folder=str(spec.folder),
        python=str(spec.python),
        handler=spec.handler,
        main=spec.main,
        style=spec.style,
        memory_bytes=spec.memory_bytes,
        timeout_s=spec.timeout_s,
        logs_bytes=spec.logs_bytes,
        env=dict(spec.env),
        secrets=dict(spec.secrets),
        fast_init=spec.fast_init,
        template=_wire_template(spec.template, modules) if spec.template is not None else None,
        cache=_path(spec.cache),
    )


def _wire_template(spec: TemplateSpec, modules: Sequence[str]) -> messages.Template:
    folders = [str(folder) for folder in spec.folders]
    return messages.Template(spec.key, str(spec.python), list(modules), folders, _path(spec.caches))


def _path(path: Path | None) -> str:
    return "" if path is None else str(path)
