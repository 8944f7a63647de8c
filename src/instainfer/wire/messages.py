"""What invoker and container manager say to each other. Semantics: `instainfer.backends.base`.

Times are seconds, sizes bytes. ``total_bytes`` in a report is the measured memory of the whole container when it was
made. Functions are named by their keys.
"""

from __future__ import annotations

from typing import NamedTuple

from .codec import Fields, Vocabulary


class Template(NamedTuple):
    """What a container needs to make a template (`backends.base.TemplateSpec`)."""

    key: str
    python: str
    modules: list[str]
    folders: list[str]


class Function(NamedTuple):
    """What a container needs to know of one version of a function (`backends.base.FunctionSpec`)."""

    key: str
    folder: str
    python: str
    handler: str
    main: str = "main"
    style: str = "action"
    memory_bytes: int = 0
    timeout_s: float = 60.0
    logs_bytes: int = 10 * 1024 * 1024
    env: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    fast_init: bool = False
    template: Template | None = None


class Failure(NamedTuple):
    kind: str
    """A value of `core.model.FailureKind`."""
    message: str


# -- commands: invoker to manager -------------------------------------------------------------------------------------


class Load(NamedTuple):
    """Pre-load in the background."""

    function: Function


class Run(NamedTuple):
    """End all others, load if need be, run."""

    function: Function
    activation: str
    env: dict[str, str]
    args: bytes


class Offload(NamedTuple):
    function: str


class Stop(NamedTuple):
    """End everything, then yourself."""


# -- reports: manager to invoker --------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """The manager takes commands; `isolation` says in words what this host gives."""

    pid: int
    isolation: list[str]
    total_bytes: int


class Loaded(NamedTuple):
    function: str
    library_s: float
    """From the start of the process to the end of its imports."""
    model_s: float
    resident_bytes: int
    isolation: list[str]
    """What was in fact applied to this process, in words."""
    total_bytes: int


class LoadFailed(NamedTuple):
    """The load ended and every process of it is gone."""

    function: str
    failure: Failure
    total_bytes: int


class Gone(NamedTuple):
    """A resident's processes are gone; with a failure when nobody had asked for it."""

    function: str
    failure: Failure | None
    total_bytes: int


class Ran(NamedTuple):
    """An activation ended."""

    activation: str
    function: str
    compute_s: float
    resident_bytes: int
    alive: bool
    failure: Failure | None
    answer_bytes: int
    """The first so many bytes of `rest` are the answer, what follows is the logs, a line each."""
    total_bytes: int
    rest: bytes

    @property
    def answer(self) -> bytes:
        return self.rest[: self.answer_bytes]

    @property
    def logs(self) -> list[str]:
        raw = self.rest[self.answer_bytes :]
        return raw.decode("utf-8", "replace").split("\n") if raw else []


class Measured(NamedTuple):
    """New measurements of idle residents; `total_bytes` also counts what is loading or running."""

    resident_bytes: dict[str, int]
    total_bytes: int


COMMANDS = Vocabulary(
    {
        "load": Fields(Load, nested={"function": Function}),
        "run": Fields(Run, body="args", nested={"function": Function}),
        "offload": Fields(Offload),
        "stop": Fields(Stop),
    }
)

REPORTS = Vocabulary(
    {
        "ready": Fields(Ready),
        "loaded": Fields(Loaded),
        "load_failed": Fields(LoadFailed, nested={"failure": Failure}),
        "gone": Fields(Gone, nested={"failure": Failure}),
        "ran": Fields(Ran, body="rest", nested={"failure": Failure}),
        "measured": Fields(Measured),
    }
)
