"""The backend ``process``: a container is a session of processes with the Intra-Container Manager at its head.

Works on any Linux from 5.3 on, without root. Memory limits are enforced by measuring; what else the host gives and
does not give, `ProcessBackend.isolation` says. Semantics: `instainfer.backends.base`.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
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
from ..core.model import Failure, FailureKind, FunctionKey
from ..runtime import jail
from ..runtime.watch import BUSY_S
from ..wire import messages
from ..wire.framing import Decoder, ProtocolError
from .base import Answer, Call, Clock, ContainerSpec, FunctionSpec, Report
from .process_manager import ManagerProcess

STOP_GRACE_S = 5.0
"""How long a manager may take to end everything before it is killed itself."""


class ProcessBackend:
    """Containers as sessions of processes on this machine. To be used inside a running event loop."""

    name = "process"

    def __init__(
        self, clock: Clock, *, scratch: Path, python: Path = Path(sys.executable), start_timeout_s: float = 30.0
    ) -> None:
        """`scratch` takes the functions' private files; `python` runs the managers."""
        self.clock = clock
        self.python = python
        self.start_timeout_s = start_timeout_s
        self.scratch = scratch
        self.containers: set[ProcessContainer] = set()
        self.system_isolation: Sequence[str] = jail.describe()
        """As applied to the function that was loaded last; before that, as this host should allow."""

    def start(self, spec: ContainerSpec, report: Report) -> ProcessContainer:
        container = ProcessContainer(self, spec, report)
        self.containers.add(container)
        return container

    def isolation(self) -> Sequence[str]:
        return [
            "user: a container holds functions of one namespace only",
            "process: every other function of a container has ended before user code sees a request",
            *("system: " + words for words in self.system_isolation),
            f"memory: limits are enforced by measuring every {BUSY_S:g} s",
        ]

    def used_bytes(self) -> int:
        return sum(container.used_bytes for container in self.containers)

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
                await asyncio.wait(late)


class ProcessContainer(asyncio.Protocol):
    """One container; at the same time the protocol of the connection to its manager."""

    def __init__(self, backend: ProcessBackend, spec: ContainerSpec, report: Report) -> None:
        self.id = spec.id
        self.used_bytes = 0
        self.ended = asyncio.Event()
        """Set when nothing of it is left, neither processes nor files."""
        self._backend = backend
        self._clock = backend.clock
        self._report: Report | None = report
        self._decoder = Decoder()
        self._manager: ManagerProcess | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._functions: dict[FunctionKey, tuple[FunctionSpec, messages.Function]] = {}
        self._is_started = False
        self._is_stopping = False
        self._complaint = ""
        self._cancel_timer = self._clock.call_at(self._clock.now() + backend.start_timeout_s, self._start_is_overdue)
        self._life = asyncio.get_running_loop().create_task(self._live(spec))

    # -- commands -----------------------------------------------------------------------------------------------------

    def load(self, function: FunctionSpec) -> None:
        self._send(messages.Load(self._wire_form(function)))

    def run(self, function: FunctionSpec, call: Call) -> None:
        self._send(messages.Run(self._wire_form(function), call.activation, dict(call.env), call.args))

    def offload(self, function: FunctionKey) -> None:
        self._send(messages.Offload(function))

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
        """Like `stop`, but nothing more is reported."""
        self._report = None
        self.stop()

    def kill(self) -> None:
        """End it at once; what is left of its session is ended when its manager has."""
        if self._manager is not None:
            self._manager.kill()

    def _send(self, command: object) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(messages.COMMANDS.encode(command))

    def _wire_form(self, spec: FunctionSpec) -> messages.Function:
        known = self._functions.get(spec.key)
        if known is None or known[0] is not spec:
            known = (spec, _wire_form(spec))
            self._functions[spec.key] = known
        return known[1]

    # -- its life -----------------------------------------------------------------------------------------------------

    async def _live(self, spec: ContainerSpec) -> None:
        folder: Path | None = None
        try:
            self._backend.scratch.mkdir(parents=True, exist_ok=True)
            folder = Path(tempfile.mkdtemp(prefix="container-", dir=self._backend.scratch))
            folder.chmod(0o711)  # each function's part of it is its own; one with its own uid must get there
            self._manager = ManagerProcess(self._backend.python, spec.limit_bytes, folder)
        except OSError as error:
            self._complaint = f"cannot be started: {error}"
            last_words = ""
        else:
            if self._is_stopping:
                self._manager.kill()
            last_words = await self._manager.run(self)
        self._cancel_timer()
        self.used_bytes = 0
        self._tell_end(last_words)
        if folder is not None:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
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
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        try:
            told = [self._translate(messages.REPORTS.decode(frame)) for frame in self._decoder.feed(data)]
        except (ProtocolError, ValueError) as error:
            self._complaint = f"does not keep to the protocol: {error}"
            self.kill()
            return
        for event, answer in told:
            if event is not None and self._report is not None and not self._is_stopping:
                self._report(event, answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._manager is not None:
            self._manager.disconnected.set()

    def _translate(self, message: Any) -> tuple[Event | None, Answer | None]:
        """What it says to the core, if anything. Raises ValueError for a kind of failure that is not known."""
        now = self._clock.now()
        self.used_bytes = message.total_bytes
        answer = None
        event: Event | None = None
        match message:
            case messages.Ran():
                failure = _failure(message.failure)
                answer = Answer(message.answer if failure is None else None, message.logs)
                event = RunFinished(
                    now,
                    self.id,
                    message.activation,
                    message.compute_s,
                    message.resident_bytes,
                    failure,
                    message.alive,
                )
            case messages.Loaded():
                self._backend.system_isolation = message.isolation
                event = LoadFinished(
                    now, self.id, message.function, message.library_s, message.model_s, message.resident_bytes
                )
            case messages.LoadFailed():
                event = LoadFailed(now, self.id, message.function, _known_failure(message.failure))
            case messages.Gone():
                event = ResidentGone(now, self.id, message.function, _failure(message.failure))
            case messages.Measured() if message.resident_bytes:
                event = MemoryMeasured(now, self.id, tuple(message.resident_bytes.items()))
            case messages.Ready():
                self._is_started = True
                self._cancel_timer()
                event = ContainerStarted(now, self.id)
        return event, answer


def _failure(failure: messages.Failure | None) -> Failure | None:
    return None if failure is None else _known_failure(failure)


def _known_failure(failure: messages.Failure) -> Failure:
    return Failure(FailureKind(failure.kind), failure.message)


def _wire_form(spec: FunctionSpec) -> messages.Function:
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
    )
