"""What invoker and container manager say to each other. Semantics: `instainfer.backends.base`.

Times are seconds, sizes bytes. ``total_bytes`` in a report is the measured memory of the whole container when it was
made. Functions and templates are named by their keys; what a key stands for is said once, by `Define`, so that the
commands of every call stay small.
"""

from __future__ import annotations

from typing import NamedTuple

from .bounds import (
    ACTIVATION,
    ENV,
    FAILURE_KIND,
    FOLDERS,
    ISOLATION,
    KEY,
    LOGS_SLACK_BYTES,
    MAX_ANSWER_BYTES,
    MAX_ARGS_BYTES,
    MAX_COMMAND_HEADER_BYTES,
    MAX_LOGS_BYTES,
    MAX_REPORT_HEADER_BYTES,
    MESSAGE,
    MODULES,
    PATH,
    PID,
    SECONDS,
    SIZE,
    SKIPPED,
    WORD,
)
from .codec import Fields, Vocabulary, nested
from .schema import boolean, integer, optional, table


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


class Define(NamedTuple):
    """What a function's key means from now on; precedes the first command that names it."""

    function: Function


class Load(NamedTuple):
    """Pre-load in the background."""

    function: str


class LoadTemplate(NamedTuple):
    """Make a template in the background."""

    template: Template


class Run(NamedTuple):
    """End all others, load if need be, run."""

    function: str
    activation: str
    env: dict[str, str]
    args: bytes


class Offload(NamedTuple):
    function: str
    """Or a template."""


class Forget(NamedTuple):
    """No command will name this function again: what was defined for it is not needed any more."""

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
    """A function, or a template, is loaded."""

    function: str
    library_s: float
    """From the start of the process, or from the request to fork it, to the end of its imports."""
    model_s: float
    resident_bytes: int
    isolation: list[str]
    """What was in fact applied to this process, in words."""
    total_bytes: int
    forked: bool = False
    """From a template."""
    modules: list[str] = []  # noqa: RUF012 - a default of a named tuple, never changed
    """Of the environment, imported by this function and not by a template before: what one should import, in order."""
    left_out: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """Modules that this template should have imported and has not, and why."""


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
    def logs(self) -> bytes:
        return self.rest[self.answer_bytes :]


class Measured(NamedTuple):
    """New measurements of idle residents; `total_bytes` also counts what is loading or running."""

    resident_bytes: dict[str, int]
    total_bytes: int


_TEMPLATE = nested(Fields(Template, key=KEY, python=PATH, modules=MODULES, folders=FOLDERS))
FUNCTION = nested(
    Fields(
        Function,
        key=KEY,
        folder=PATH,
        python=PATH,
        handler=WORD,
        main=WORD,
        style=WORD,
        memory_bytes=SIZE,
        timeout_s=SECONDS,
        logs_bytes=integer(0, MAX_LOGS_BYTES),
        env=ENV,
        fast_init=boolean(),
        template=optional(_TEMPLATE),
    )
)
_FAILURE = nested(Fields(Failure, kind=FAILURE_KIND, message=MESSAGE))
_FAILED = optional(_FAILURE)
_SAID = {"function": KEY, "total_bytes": SIZE}

COMMANDS = Vocabulary(
    {
        "define": Fields(Define, function=FUNCTION),
        "load": Fields(Load, function=KEY),
        "load_template": Fields(LoadTemplate, template=_TEMPLATE),
        "run": Fields(Run, "args", function=KEY, activation=ACTIVATION, env=ENV),
        "offload": Fields(Offload, function=KEY),
        "forget": Fields(Forget, function=KEY),
        "stop": Fields(Stop),
    },
    MAX_COMMAND_HEADER_BYTES,
    MAX_ARGS_BYTES,
)

REPORTS = Vocabulary(
    {
        "ready": Fields(Ready, pid=PID, isolation=ISOLATION, total_bytes=SIZE),
        "loaded": Fields(
            Loaded,
            **_SAID,
            library_s=SECONDS,
            model_s=SECONDS,
            resident_bytes=SIZE,
            isolation=ISOLATION,
            forked=boolean(),
            modules=MODULES,
            left_out=SKIPPED,
        ),
        "load_failed": Fields(LoadFailed, **_SAID, failure=_FAILURE),
        "gone": Fields(Gone, **_SAID, failure=_FAILED),
        "ran": Fields(
            Ran,
            "rest",
            **_SAID,
            activation=ACTIVATION,
            compute_s=SECONDS,
            resident_bytes=SIZE,
            alive=boolean(),
            failure=_FAILED,
            answer_bytes=integer(0, MAX_ANSWER_BYTES),
        ),
        "measured": Fields(Measured, resident_bytes=table(KEY, SIZE, 10_000), total_bytes=SIZE),
    },
    MAX_REPORT_HEADER_BYTES,
    MAX_ANSWER_BYTES + MAX_LOGS_BYTES + LOGS_SLACK_BYTES,
)
