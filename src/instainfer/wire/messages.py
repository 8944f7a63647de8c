"""The messages between an invoker and a container's manager. `instainfer.backends.base` describes the contract.

Times are in seconds, and sizes are in bytes. ``total_bytes`` is the measured memory of the whole container at the time
of the report. Commands name functions by their keys. `Define` describes the function of a key once, so that the
commands of each call stay small.
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
    SOURCE,
    WORD,
)
from .codec import Fields, Vocabulary, nested
from .schema import boolean, integer, optional, table


class Template(NamedTuple):
    """A template as a container needs it to make the template (`backends.base.TemplateSpec`)."""

    key: str
    python: str
    modules: list[str]
    folders: list[str]
    caches: str = ""


class Function(NamedTuple):
    """One version of a function, as a container needs it (`backends.base.FunctionSpec`)."""

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
    secrets: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """Further environment variables. They are set inside the process, so that no list of processes shows them."""
    fast_init: bool = False
    template: Template | None = None
    cache: str = ""


class Failure(NamedTuple):
    kind: str
    """A value of `core.model.FailureKind`."""
    message: str


# -- commands: invoker to manager -------------------------------------------------------------------------------------


class Define(NamedTuple):
    """Describe a function. Sent before the first command that names the function, and after changes."""

    function: Function


class Load(NamedTuple):
    """Pre-load a function in the background."""

    function: str


class LoadTemplate(NamedTuple):
    """Make a template in the background."""

    template: Template


class LoadFunctionTemplate(NamedTuple):
    """Make a function template in the background: load the function and warm it up, then stop."""

    function: str
    template: str
    """Key of the function template."""
    proves: bool = False
    """Whether it has to show with the function's ``sample.json`` that forked processes answer as it does itself."""


class Run(NamedTuple):
    """End all other functions, load this function if it is not loaded, and run it."""

    function: str
    activation: str
    env: dict[str, str]
    args: bytes
    only_warms: bool = False
    """Whether to warm it up in place of running it. The answer is an empty object."""
    streams: bool = False
    """Whether the values of a generator are to be reported one by one."""


class Taken(NamedTuple):
    """The caller has got values of this activation that cost so much (`bounds.cost_bytes`)."""

    activation: str
    taken_bytes: int


class Enough(NamedTuple):
    """Nobody wants further values of this activation, which ends as soon as its function yields the next one."""

    activation: str


class Offload(NamedTuple):
    function: str
    """Key of a function or a template."""


class Forget(NamedTuple):
    """Drop the description of this function, because no later command will name the function."""

    function: str


class Resize(NamedTuple):
    """The memory limit of the container is another one from now on."""

    limit_bytes: int


class Stop(NamedTuple):
    """End everything in the container, then the manager."""


# -- reports: manager to invoker --------------------------------------------------------------------------------------


class Ready(NamedTuple):
    """The manager takes commands. `isolation` has texts about the isolation that this host gives."""

    pid: int
    isolation: list[str]
    total_bytes: int


class Loaded(NamedTuple):
    """A function or a template is loaded."""

    function: str
    library_s: float
    """Time from the start of the process, or from the request to fork it, to the end of its imports."""
    model_s: float
    resident_bytes: int
    isolation: list[str]
    """Texts about the isolation that was in fact applied to this process."""
    total_bytes: int
    source: str = "nothing"
    """What the process was made from, a value of `core.model.Source`."""
    modules: list[str] = []  # noqa: RUF012 - a default of a named tuple, never changed
    """Modules of the environment that this function imported itself. Its template should import them, in this order."""
    left_out: dict[str, str] = {}  # noqa: RUF012 - a default of a named tuple, never changed
    """Modules that this template should have imported and has not, with the reasons."""


class LoadFailed(NamedTuple):
    """The load has failed, and all its processes are gone."""

    function: str
    failure: Failure
    total_bytes: int


class Gone(NamedTuple):
    """The processes of a resident are gone. There is a failure if no command had asked for the end."""

    function: str
    failure: Failure | None
    total_bytes: int


class Value(NamedTuple):
    """One value of an activation that streams its answer, as JSON."""

    activation: str
    value: bytes


class Ran(NamedTuple):
    """An activation has ended."""

    activation: str
    function: str
    compute_s: float
    resident_bytes: int
    peak_bytes: int
    """The most memory that the function had since its last run ended, or since it was started. 0 when it has ended."""
    alive: bool
    failure: Failure | None
    answer_bytes: int
    """Length of the answer at the start of `rest`. The rest of `rest` is the lines of the logs."""
    total_bytes: int
    rest: bytes

    @property
    def answer(self) -> bytes:
        return self.rest[: self.answer_bytes]

    @property
    def logs(self) -> bytes:
        return self.rest[self.answer_bytes :]


class Measured(NamedTuple):
    """New measurements of idle residents. `total_bytes` also counts the functions that are being loaded or run."""

    resident_bytes: dict[str, int]
    total_bytes: int


_TEMPLATE = nested(Fields(Template, key=KEY, python=PATH, modules=MODULES, folders=FOLDERS, caches=PATH))
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
        secrets=ENV,
        fast_init=boolean(),
        template=optional(_TEMPLATE),
        cache=PATH,
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
        "load_function_template": Fields(LoadFunctionTemplate, function=KEY, template=KEY, proves=boolean()),
        "run": Fields(
            Run, "args", function=KEY, activation=ACTIVATION, env=ENV, only_warms=boolean(), streams=boolean()
        ),
        "taken": Fields(Taken, activation=ACTIVATION, taken_bytes=SIZE),
        "enough": Fields(Enough, activation=ACTIVATION),
        "offload": Fields(Offload, function=KEY),
        "forget": Fields(Forget, function=KEY),
        "resize": Fields(Resize, limit_bytes=SIZE),
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
            source=SOURCE,
            modules=MODULES,
            left_out=SKIPPED,
        ),
        "load_failed": Fields(LoadFailed, **_SAID, failure=_FAILURE),
        "gone": Fields(Gone, **_SAID, failure=_FAILED),
        "value": Fields(Value, "value", activation=ACTIVATION),
        "ran": Fields(
            Ran,
            "rest",
            **_SAID,
            activation=ACTIVATION,
            compute_s=SECONDS,
            resident_bytes=SIZE,
            peak_bytes=SIZE,
            alive=boolean(),
            failure=_FAILED,
            answer_bytes=integer(0, MAX_ANSWER_BYTES),
        ),
        "measured": Fields(Measured, resident_bytes=table(KEY, SIZE, 10_000), total_bytes=SIZE),
    },
    MAX_REPORT_HEADER_BYTES,
    MAX_ANSWER_BYTES + MAX_LOGS_BYTES + LOGS_SLACK_BYTES,
)
