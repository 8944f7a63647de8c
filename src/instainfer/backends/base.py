"""The contract that every backend keeps.

A backend creates containers and passes commands into them. No command blocks, and none returns a result. The backend
reports each result later, once: it calls the `Report` that was given to `Backend.start` with an event of
`instainfer.core.events`, stamped by the backend's `Clock`. Reports are made in the event loop's thread, never from
inside a command, and in the order in which things happened in that container. For each command it reports:

=================  ===================================================================================================
``Backend.start``  exactly one of `ContainerStarted`, `ContainerStartFailed`
``load``           exactly one of `LoadFinished`, `LoadFailed`; a load that a later ``offload`` or ``run`` of another
                   function cuts short reports only `ResidentGone`. A ``load`` of a function that is loaded or is being
                   loaded already reports nothing new
``run``            `LoadFinished`/`LoadFailed` if the function was not loaded; then exactly one `RunFinished` with an
                   `Answer`; then `ResidentGone` if the process did not survive. Also one `ResidentGone` for each other
                   function that was resident or loading; it may come at any time, even after `RunFinished` (see below).
                   With `Call.only_warms` the function is loaded and warmed up in place of being run. With
                   `Call.on_value` a generator's values are handed on before `RunFinished` (see below)
``taken``          nothing. The run may go on with further values
``enough``         nothing new. A run that yields another value ends with ``CANCELLED`` in place of handing it on; one
                   that does not ends as ever
``load_template``  the same as ``load``, with the template's key; ``library_s`` is the time of the template's imports,
                   and ``model_s`` is 0
``load_function_`` the same as ``load``, with the key ``loaded:FUNCTION``. A template that was made and is unfit reports
``template``       `LoadFailed` with the reason, which is final. A ``run`` of another function while it is being made
                   cuts it short: only `ResidentGone`
``offload``        exactly one `ResidentGone` (nothing when the function is not there)
``resize``         nothing. The new limit holds at once, and nothing ends for it before it is exceeded
``stop``           exactly one `ContainerGone`, after which nothing more is reported. Work in progress ends without
                   any other report
=================  ===================================================================================================

Ends. When user code gets a request, no thread of any other function in the container can run any more. If the
container's limit has room for both, the ended function's memory may be given back later; its `ResidentGone` reports
that this has happened, and until then the memory counts as used. Reports about two processes of the same function never
mix: when a function is ended and loaded again, a ``load`` or ``run`` of the function waits for the `ResidentGone` of
the old process, which therefore comes before the next `LoadFinished` or `LoadFailed`.

Time. The container has the function's time limit for a run, and the same time again for everything before the run:
ending other functions, making the template, loading the function. A run that takes longer ends with a failure.

Streamed answers. If a function returns a generator and the call has `Call.on_value`, each value is passed to that as
JSON without line breaks, when it was yielded, in order, in the event loop's thread, and never from inside a command.
`Answer.result` is then empty bytes. Without `Call.on_value` the answer is the list of the values. A function waits with
its next value, inside its time limit, while those that were handed on and not ``taken`` cost `wire.bounds.WINDOW_BYTES`
or more (`wire.bounds.cost_bytes`), so a caller that reads slowly costs little memory. ``taken`` and ``enough`` mean
nothing for a run that has ended.

Templates. A function with a `FunctionSpec.template` is forked from that template. If the template does not exist yet,
the container makes the template first, and the template's `LoadFinished` comes before the function's. If the template
reports `LoadFailed`, the function is loaded from nothing. While the modules to import are not known, no template is
made and nothing is reported about it. A ``run`` does not end templates.

Function templates. `Container.load_function_template` makes a process that has loaded the function and warmed it up,
and that stands stopped from then on. It is forked from the function's library template, which is made first if the
function has one. Once it stands, a ``load`` or a ``run`` of the function forks the resident from it, and says so in
`LoadFinished.source`; while it is being made, they load the function in the other ways. No ``run`` ends a standing
function template, and a resident that was forked from it lives on when it ends. With `proves`, a function that has a
``sample.json`` also has to answer it, in that process and in two that are forked from it, and is unfit if the forked
ones answer alike and otherwise than that process. It is given only until this is known: the sample may have effects.

A backend also reports without a command: `ResidentGone` with a failure (a resident died while idle, or a template was
given up because memory was short), `MemoryMeasured`, and `ContainerGone` with a failure (the container died, and
everything in it).
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
        """Call `callback` at `when`. Returns a function that cancels the call."""
        ...


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """A container to be created."""

    id: ContainerId
    namespace: str
    limit_bytes: int
    image: str = ""
    """What it is made from, as `Environment.image` names it. Empty: the usual image."""


@dataclass(frozen=True, slots=True)
class TemplateSpec:
    """What a container needs to make a library template: a process with only an environment's libraries imported."""

    key: ResidentKey
    """``template:<namespace>/<environment>``; `core.model.template_key` makes such keys."""
    python: Path
    modules: tuple[str, ...] = ()
    """Modules to import, from ``function.toml``. If empty, those that loads of this environment have imported."""
    folders: tuple[Path, ...] = ()
    """Folders of the functions that may be forked from this template. All have one namespace and environment."""
    caches: Path | None = None
    """The folder in which the caches of these functions lie. None if they have none."""


@dataclass(frozen=True, slots=True)
class FunctionSpec:
    """What a container needs to load and run one version of a function."""

    key: FunctionKey
    folder: Path
    """Unpacked code with the weights in place; read-only."""
    python: Path
    """Interpreter of the function's environment, Python 3.9 or newer."""
    handler: str
    """Name of the module to import; for a script, the name of the file without ``.py``."""
    main: str = "main"
    """Name of the function in the handler that answers a request."""
    style: str = "action"
    """``"action"`` (``load()`` and ``main(args)``) or ``"script"`` (``instainfer.load``, ``instainfer.receive``)."""
    memory_bytes: int = 0
    """Limit on the memory of the function alone. 0: only the container's limit counts."""
    timeout_s: float = 60.0
    """Limit on the time of one run, and separately on the time of one load."""
    logs_bytes: int = 10 * 1024 * 1024
    env: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further environment variables, which only the function's own processes get to know. They override `env`."""
    fast_init: bool = False
    """Whether to skip the random initialisation of weights that the loading of the model replaces anyway."""
    template: TemplateSpec | None = None
    """The template to fork the function from. It is made first if it does not exist. None: load from nothing."""
    cache: Path | None = None
    """The folder of its libraries' caches, which outlives containers (`runtime.caches`). None: nothing does."""


@dataclass(frozen=True, slots=True)
class Call:
    """One activation on its way into a container."""

    activation: ActivationId
    function: FunctionKey
    args: bytes
    """The request, a JSON object in UTF-8. It is passed on unchanged."""
    env: Mapping[str, str] = field(default_factory=dict)
    """``__OW_*`` variables of this activation."""
    only_warms: bool = False
    """Whether the function is only loaded and warmed up, which the call answers with an empty object."""
    on_value: Callable[[bytes], None] | None = field(default=None, compare=False, repr=False)
    """Takes the values of a generator as they come. None: they are gathered into one answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The result and the logs of a run, reported together with its `RunFinished` event."""

    result: bytes | None = None
    """A JSON object or array in UTF-8, or None when the run failed. Empty if the values that were handed on are it."""
    logs: Sequence[str] = ()
    """``"%-30s %s: %s" % (iso_time, "stdout"|"stderr", text)``, OpenWhisk's form."""


Report: TypeAlias = Callable[[Event, Answer | None], None]


class Container(Protocol):
    """One container. Commands may be given once its `ContainerStarted` has been reported."""

    @property
    def id(self) -> ContainerId: ...

    def load(self, function: FunctionSpec) -> None: ...

    def load_template(self, template: TemplateSpec) -> None: ...

    def load_function_template(self, function: FunctionSpec, *, proves: bool = False) -> None: ...

    def run(self, function: FunctionSpec, call: Call) -> None: ...

    def taken(self, activation: ActivationId, taken_bytes: int) -> None:
        """The caller has got values of this run that cost so much."""
        ...

    def enough(self, activation: ActivationId) -> None:
        """Nobody wants further values of this run."""
        ...

    def offload(self, function: ResidentKey) -> None: ...

    def resize(self, limit_bytes: int) -> None:
        """Change the container's memory limit."""
        ...

    def forget(self, function: ResidentKey) -> None:
        """Drop everything known of a function or template that is not there and will not be named again."""
        ...

    def stop(self) -> None: ...


class Backend(Protocol):
    name: str

    def start(self, spec: ContainerSpec, report: Report) -> Container: ...

    def isolation(self) -> Sequence[str]:
        """Lines that say which isolation this host gives and which it lacks, for start-up and ``status``."""
        ...

    def used_bytes(self) -> int:
        """The latest measured memory of all containers together."""
        ...

    async def close(self) -> None:
        """End everything that is still running, and report nothing more."""
        ...
