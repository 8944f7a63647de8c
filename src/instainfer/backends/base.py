"""The contract of a backend: a way to have containers.

A backend creates containers and passes commands into them. No command blocks and none returns a result: whatever
happens is told later, once, by calling the `Report` that `Backend.start` was given, with the event of
`instainfer.core.events` that says it (stamped by the backend's `Clock`). Reports are made in the event loop's thread,
never from inside a command, and in the order in which things happened in that container. For each command:

=================  ===================================================================================================
``Backend.start``  exactly one of `ContainerStarted`, `ContainerStartFailed`
``load``           exactly one of `LoadFinished`, `LoadFailed`; a load that a later ``offload`` or ``run`` of another
                   function cuts short reports only `ResidentGone`. Loading what is loaded or loading already reports
                   nothing new
``run``            `LoadFinished`/`LoadFailed` if the function was not loaded; then exactly one `RunFinished` with an
                   `Answer`; then `ResidentGone` if the process did not survive. And one `ResidentGone` for each other
                   function that was resident or loading, at any time, also after `RunFinished` (see below)
``load_template``  as ``load``, with the template's key; ``library_s`` is the time of its imports, ``model_s`` is 0
``offload``        exactly one `ResidentGone` (nothing when the function is not there)
``stop``           exactly one `ContainerGone`, after which nothing more is reported. Work in progress ends without
                   any other report
=================  ===================================================================================================

Ends. When user code sees a request, no thread of any other function in the container can run any more. Its memory may
follow, where the container's limit holds both meanwhile; `ResidentGone` says that it has been given back, and only
then does the container not take it any more. The end of a process and what is reported of a later one of the same
function never mix: where a function ends and is loaded again, its `ResidentGone` comes before its next `LoadFinished`
or `LoadFailed`, and a ``load`` or ``run`` of it waits for that.

Time. A run ends within the function's limit from when the container takes it up, plus the same again for whatever comes
before: ends of others, the template's making, the function's load. `RunFinished` says so with a failure otherwise.

Templates. A function with a `FunctionSpec.template` is forked from that template, which is made first when it is not
there: then its `LoadFinished` comes before the function's (or its `LoadFailed`, and the function is loaded from
nothing; no template is made and nothing reported while it is not known what to import). A template is not ended by a
``run``.

Unasked: `ResidentGone` with a failure (a resident died while idle, or a template was given up for want of memory),
`MemoryMeasured`, and `ContainerGone` with a failure (the container died; it stands for everything that was in it).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from ..core.events import Event
from ..core.model import ActivationId, ContainerId, FunctionKey, ResidentKey


class Clock(Protocol):
    """Monotonic time in float seconds, and timers on it."""

    def now(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back at `when`; returns a function that cancels it."""
        ...


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be created."""

    id: ContainerId
    namespace: str
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """What a container needs to make a template: a process with an environment's libraries imported, nothing else."""

    key: ResidentKey
    """``template:<namespace>/<environment>``, see `core.model.template_key`."""
    python: Path
    modules: tuple[str, ...] = ()
    """What to import, as declared in ``function.toml``; empty: what loads of this environment were seen to import."""
    folders: tuple[Path, ...] = ()
    """Folders of the functions that may be forked from it: all of one namespace and environment."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What a container needs to load and run one version of a function."""

    key: FunctionKey
    folder: Path
    """Unpacked code with the weights in place; read-only."""
    python: Path
    """Interpreter of the function's environment, Python 3.9 or newer."""
    handler: str
    """Module to import, without ``.py``; for a script the file's stem."""
    main: str = "main"
    """Name of the function in the handler that answers a request."""
    style: str = "action"
    """``"action"`` (``load()`` and ``main(args)``) or ``"script"`` (``instainfer.load``, ``instainfer.receive``)."""
    memory_bytes: int = 0
    timeout_s: float = 60.0
    """Bound on one run, and separately on one load."""
    logs_bytes: int = 10 * 1024 * 1024
    env: Mapping[str, str] = field(default_factory=dict)
    fast_init: bool = False
    """Skip random initialisation while the model is built for loading."""
    template: TemplateSpec | None = None
    """The template to fork it from, which is made first if it is not there; None: load it from nothing."""


@dataclass(frozen=True, slots=True)
class Call:
    """One activation on its way into a container."""

    activation: ActivationId
    function: FunctionKey
    args: bytes
    """The request as UTF-8 JSON object, passed on as it is."""
    env: Mapping[str, str] = field(default_factory=dict)
    """``__OW_*`` variables of this activation."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a run left behind, beside its `RunFinished` event."""

    result: bytes | None = None
    """JSON object or array as UTF-8; None when there is a failure."""
    logs: Sequence[str] = ()
    """``"%-30s %s: %s" % (iso_time, "stdout"|"stderr", text)``, OpenWhisk's form."""


Report: TypeAlias = Callable[[Event, Answer | None], None]


class Container(Protocol):
    """One container. Commands are accepted from its `ContainerStarted` on."""

    @property
    def id(self) -> ContainerId: ...

    def load(self, function: FunctionSpec) -> None: ...

    def load_template(self, template: TemplateSpec) -> None: ...

    def run(self, function: FunctionSpec, call: Call) -> None: ...

    def offload(self, function: ResidentKey) -> None: ...

    def forget(self, function: ResidentKey) -> None:
        """No command will name this function or template again, and nothing of it is in the container."""
        ...

    def stop(self) -> None: ...


class Backend(Protocol):
    name: str

    def start(self, spec: ContainerSpec, report: Report) -> Container: ...

    def isolation(self) -> Sequence[str]:
        """What isolation this host gives and what it does not, a line each, for start-up and ``status``."""
        ...

    def used_bytes(self) -> int:
        """Measured memory of all containers now."""
        ...

    async def close(self) -> None:
        """End whatever is still running, report nothing more."""
        ...
