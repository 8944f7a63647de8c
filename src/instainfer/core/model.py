"""The basic terms of the core: functions, their measured profiles, start kinds, failures and phases.

Sizes are integers in bytes, and times are floats in seconds. Ids are strings. The key of a function names one version
of it, ``namespace/name@version`` or ``namespace/package/name@version``, so that a new version is never served by a
resident of an old one.
"""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from typing import ClassVar, Final, TypeAlias

from .values import value

FunctionKey: TypeAlias = str
#: The key of a function or of a template.
ResidentKey: TypeAlias = str
ContainerId: TypeAlias = str
ActivationId: TypeAlias = str

MIB = 1024 * 1024
GIB = 1024 * MIB


class StartKind(StrEnum):
    """How an activation began."""

    COLD = "cold"
    """A container was created for it."""
    PREWARMED = "prewarmed"
    """An idle container took it, in which neither its function nor a template of it was loaded."""
    TEMPLATED = "templated"
    """An idle container took it that held the library template of its environment, so only the model was loaded."""
    FORKED = "forked"
    """An idle container took it that held its function template, so its process was forked with the model in it."""
    PRELOADED = "preloaded"
    """Its function was resident because pre-loading had put it there."""
    JOINED = "joined"
    """Its function was just being loaded, and the call waited for the rest of that load."""
    WARM = "warm"
    """Its function was resident from an earlier run."""


# These names are for code that runs on every call, as in `lifecycle`.
PREWARMED: Final = StartKind.PREWARMED
TEMPLATED: Final = StartKind.TEMPLATED
FORKED: Final = StartKind.FORKED
PRELOADED: Final = StartKind.PRELOADED
JOINED: Final = StartKind.JOINED
WARM: Final = StartKind.WARM

READY_KINDS = (WARM, PRELOADED)
"""The start kinds of calls that find their function loaded."""


class Origin(StrEnum):
    """Why a resident is there."""

    CALL = "call"
    """A call loaded it, or has used it since."""
    PRELOAD = "preload"


BY_CALL: Final = Origin.CALL
BY_PRELOAD: Final = Origin.PRELOAD


class EndCause(StrEnum):
    """Why a container or a resident is ended, for counting. The reason that goes with it says it in words."""

    EXPIRED = "expired"
    """A container was idle for as long as keep-alive allows."""
    ROOM = "room"
    """Its memory is wanted for something else."""
    TAKEN = "taken"
    """A call of another function has taken its container."""
    SHARED = "shared"
    """Its container is no longer kept for its function."""
    LIMIT = "limit"
    """The measured memory of its container is above the limit."""
    POLICY = "policy"
    """The pre-loading policy has suggested it."""
    OBSOLETE = "obsolete"
    """Nothing can use it any longer: its function was removed, or nothing is forked from this template."""
    ASKED = "asked"
    """Somebody has asked for it to be off-loaded."""
    AFTER_CALL = "after_call"
    """Its process ends with its call."""
    SILENT = "silent"
    """A container did not say in time what became of its work."""
    SHUTDOWN = "shutdown"
    """The node is being shut down."""


class Source(StrEnum):
    """What the process of a resident was made from."""

    NOTHING = "nothing"
    """A new interpreter: it imports its libraries and loads its model."""
    LIBRARIES = "libraries"
    """A library template, which has the libraries: it loads its model."""
    FUNCTION = "function"
    """A function template, which has the libraries and the model, warmed up."""


FROM_NOTHING: Final = Source.NOTHING
FROM_LIBRARIES: Final = Source.LIBRARIES
FROM_FUNCTION: Final = Source.FUNCTION


class FailureKind(StrEnum):
    """Every way in which an activation, a load or a container can fail. `Failure.fault` says whose fault it is."""

    LOAD_FAILED = "load_failed"
    """The handler's import or its ``load()`` raised (import error, missing model file, no ``main``)."""
    CRASHED = "crashed"
    """The function's process ended before it answered."""
    TIMED_OUT = "timed_out"
    """The function did not answer, or did not load, before its deadline."""
    RAISED = "raised"
    """``main`` raised an exception. The process of the function still runs."""
    BAD_ANSWER = "bad_answer"
    """The answer was not a JSON object or array, or was too large."""
    OUT_OF_MEMORY = "out_of_memory"
    """The function needed more memory than its limit."""
    CANCELLED = "cancelled"
    """Its caller did not want the rest of a streamed answer."""
    CONTAINER_START_FAILED = "container_start_failed"
    CONTAINER_LOST = "container_lost"
    """The container, or its manager process, ended while it had work."""
    QUEUE_FULL = "queue_full"
    UNKNOWN_FUNCTION = "unknown_function"
    TOO_LARGE = "too_large"
    """The function's memory limit is larger than the memory of the whole node."""
    DRAINING = "draining"
    """The node is being shut down and takes no new work."""


_FUNCTION_FAULTS = frozenset(
    {
        FailureKind.LOAD_FAILED,
        FailureKind.CRASHED,
        FailureKind.TIMED_OUT,
        FailureKind.RAISED,
        FailureKind.BAD_ANSWER,
        FailureKind.OUT_OF_MEMORY,
    }
)


@value(frozen=True, slots=True)
class Failure:
    """Why something did not work. The message tells a person what to do about it."""

    kind: FailureKind
    message: str

    @property
    def fault(self) -> str:
        """``"function"`` when its author has to act, ``"caller"`` when nobody has, otherwise ``"platform"``."""
        if self.kind is FailureKind.CANCELLED:
            return "caller"
        return "function" if self.kind in _FUNCTION_FAULTS else "platform"


@value(frozen=True, slots=True)
class Function:
    """What the core needs to know of one version of a user's function."""

    key: FunctionKey
    namespace: str
    environment: str
    """Digest of the locked requirements. Functions with the same digest share one set of installed packages."""
    memory_bytes: int
    """The memory limit of the function, or the size that was learned for it. A container that runs it is at least as
    large."""
    timeout_s: float
    estimate_bytes: int
    """Guessed size of a resident, used until one has been measured."""
    templated: bool = True
    """Whether it may be forked from a library template. False for a function that sets environment variables, since its
    imports may read them."""
    forkable: bool = True
    """Whether it may be forked from a function template (``fork`` in ``function.toml``)."""
    fresh: bool = False
    """Whether each call gets a process of its own, which ends with the call (``fresh`` in ``function.toml``)."""
    keep_alive_s: float | None = None
    """Seconds that its container is kept after a call (``keep_alive`` in ``function.toml``). May be ``inf``. None: as
    the keep-alive policy says."""
    idempotent: bool = False
    """Whether a call may be repeated although it had begun to run (``idempotent`` in ``function.toml``)."""
    most_bytes: int = 0
    """The largest size that may be learned for it (``memory = "auto"``). 0: its memory limit is declared."""
    least_bytes: int = 0
    """The smallest size that may be learned for it."""
    image: str = ""
    """The image that its containers are made from. Empty: the usual one."""

    @property
    def is_auto(self) -> bool:
        """Whether the size of its containers is learned."""
        return self.most_bytes > 0

    @property
    def template(self) -> ResidentKey:
        """The key of the library template of its housing and environment."""
        return template_key(self.housing, self.environment)

    @property
    def housing(self) -> str:
        """Which containers may hold it: those of the same housing."""
        return housing(self.namespace, self.image)


@value(frozen=True, slots=True)
class Verdict:
    """Whether processes of a function can be forked from a function template. Making one shows it."""

    fit: bool
    reason: str = ""
    """Why they cannot, for the author of the function. Empty if they can."""


_TEMPLATE = "template:"
_FUNCTION_TEMPLATE = "loaded:"


def housing(namespace: str, image: str) -> str:
    """What a container and all in it have in common: the namespace and, unless it is the usual one, the image."""
    return f"{namespace} in {image}" if image else namespace


def template_key(housing: str, environment: str) -> ResidentKey:
    """The key of the library template that all functions of one housing and environment share."""
    return f"{_TEMPLATE}{housing}/{environment}"


def function_template_key(function: FunctionKey) -> ResidentKey:
    """The key of the function template of one version of a function."""
    return f"{_FUNCTION_TEMPLATE}{function}"


def templated_function(key: ResidentKey) -> FunctionKey:
    """The function that a function template, given by its key, has loaded."""
    return key.removeprefix(_FUNCTION_TEMPLATE)


def is_function_template(key: ResidentKey) -> bool:
    return key.startswith(_FUNCTION_TEMPLATE)


def is_template(key: ResidentKey) -> bool:
    """Whether this is the key of a template of either kind."""
    return key.startswith((_TEMPLATE, _FUNCTION_TEMPLATE))


@value(frozen=True, slots=True)
class Profile:
    """What has been measured of a function or a template. Times are exponentially weighted means in seconds.

    There are three separate costs of a start: importing the libraries from nothing, getting them from a template, and
    loading the model. In the profile of a template, `fork_s` and `forked_bytes` are those of the residents that were
    forked from it; only function templates have them.
    """

    WEIGHT: ClassVar[float] = 0.3
    """Weight of the newest measurement in a mean."""
    PEAK_FALLS: ClassVar[int] = 100
    """A peak falls by one part in so many of the difference to the peak of the newest run. So about one run in a
    hundred had as much memory."""

    loads: int = 0
    """Number of loads without a template."""
    library_s: float = 0.0
    """Seconds that the imports take without a template."""
    resident_bytes: int = 0
    """Size of a resident loaded without a template. It grows at once and shrinks slowly, because with a size that is
    too small a container exceeds its limit."""
    forks: int = 0
    """Number of loads by forking from a template."""
    fork_s: float = 0.0
    """Seconds that the imports take when the function is forked from a template."""
    forked_bytes: int = 0
    """Size of a resident forked from a template: its own pages, and its share of the pages in common."""
    models: int = 0
    """Number of loads of the model, with or without a template."""
    model_s: float = 0.0
    """Seconds that loading the model takes."""
    runs: int = 0
    compute_s: float = 0.0
    """Seconds that one run of ``main`` takes."""
    peak_bytes: int = 0
    """The most memory that the function had while it loaded or ran, with the templates that it was forked from. It
    grows at once and falls slowly. 0: it has not run."""

    def load_s(self, *, forked: bool) -> float:
        """Seconds that a call saves when the function is already resident."""
        return (self.fork_s if forked else self.library_s) + self.model_s

    def size_bytes(self, *, forked: bool) -> int:
        """Measured size of a resident. 0 when no resident of this kind (forked or not) has been measured."""
        return self.forked_bytes if forked else self.resident_bytes

    def with_load(self, library_s: float, model_s: float, size_bytes: int, *, forked: bool = False) -> Profile:
        # `dataclasses.replace` is slow, and simulations come here for every other call. So all fields are written out,
        # here and in the methods below.
        plain = not forked
        return Profile(
            self.loads + plain,
            _mix(self.library_s, library_s, self.loads) if plain else self.library_s,
            _slowly_down(self.resident_bytes, size_bytes) if plain else self.resident_bytes,
            self.forks + forked,
            _mix(self.fork_s, library_s, self.forks) if forked else self.fork_s,
            _slowly_down(self.forked_bytes, size_bytes) if forked else self.forked_bytes,
            self.models + 1,
            _mix(self.model_s, model_s, self.models),
            self.runs,
            self.compute_s,
            self.peak_bytes,
        )

    def with_run(self, compute_s: float, peak_bytes: int = 0) -> Profile:
        """`peak_bytes`: the most memory that the run had. 0: that was not measured."""
        fallen_bytes = self.peak_bytes - (self.peak_bytes - peak_bytes) // self.PEAK_FALLS if peak_bytes else 0
        return Profile(
            self.loads,
            self.library_s,
            self.resident_bytes,
            self.forks,
            self.fork_s,
            self.forked_bytes,
            self.models,
            self.model_s,
            self.runs + 1,
            _mix(self.compute_s, compute_s, self.runs),
            max(peak_bytes, fallen_bytes) or self.peak_bytes,
        )

    def with_peak(self, peak_bytes: int) -> Profile:
        """The same with another peak, because a run had more memory than any before."""
        return replace(self, peak_bytes=peak_bytes)

    def with_fork(self, fork_s: float, size_bytes: int) -> Profile:
        """The profile of a function template from which a resident was forked: that resident took `fork_s` in all."""
        return Profile(
            self.loads,
            self.library_s,
            self.resident_bytes,
            self.forks + 1,
            _mix(self.fork_s, fork_s, self.forks),
            _slowly_down(self.forked_bytes, size_bytes),
            self.models,
            self.model_s,
            self.runs,
            self.compute_s,
            self.peak_bytes,
        )

    def with_bytes(self, size_bytes: int, *, forked: bool) -> Profile:
        old = self.size_bytes(forked=forked)
        if size_bytes == old:
            return self
        new = _slowly_down(old, size_bytes)
        if new == old:
            return self
        return Profile(
            self.loads,
            self.library_s,
            self.resident_bytes if forked else new,
            self.forks,
            self.fork_s,
            new if forked else self.forked_bytes,
            self.models,
            self.model_s,
            self.runs,
            self.compute_s,
            self.peak_bytes,
        )


def _slowly_down(old: int, new: int) -> int:
    return max(new, int(_mix(old, new, old)))


def _mix(old: float, new: float, samples: int) -> float:
    return new if samples == 0 else old + Profile.WEIGHT * (new - old)


class Action(StrEnum):
    """What may be done with a call."""

    TAKE = "take"
    """Run it in an idle container."""
    WAIT = "wait"
    """Leave it in the queue until a particular busy container is idle."""
    AWAIT = "await"
    """Give it a container that is being created for its function ahead of any call."""
    CREATE = "create"
    """Create a container for it."""
    MAKE_ROOM = "make room"
    """Stop idle containers. When they are gone, there is room for a new one."""


TAKE: Final = Action.TAKE
WAIT: Final = Action.WAIT
AWAIT: Final = Action.AWAIT
CREATE: Final = Action.CREATE
MAKE_ROOM: Final = Action.MAKE_ROOM


@value(frozen=True, slots=True)
class Option:
    """One thing that may be done with a call, and what that is expected to cost."""

    action: Action
    start_s: float
    """Seconds until the function can run."""
    lost_s: float = 0.0
    """Seconds of waiting that calls of other functions lose by it."""
    container: ContainerId | None = None
    """The container to take or to wait for."""
    start_kind: StartKind | None = None
    """How the call begins when it takes the container."""
    stops: tuple[ContainerId, ...] = ()
    """The containers to stop."""

    @property
    def cost_s(self) -> float:
        return self.start_s + self.lost_s


@value(frozen=True, slots=True)
class Phases:
    """Where the time of an activation went, in seconds. The six phases add up to its latency as seen by the node."""

    queue: float = 0.0
    """Waiting in the queue, because no container could take it."""
    container: float = 0.0
    """Waiting for a container to be created."""
    libraries: float = 0.0
    """Waiting for the function's imports."""
    model: float = 0.0
    """Waiting for the function's model."""
    handoff: float = 0.0
    """All other time that the platform takes: ending other residents, messages between processes, bookkeeping."""
    compute: float = 0.0
    """The function's own ``main``."""

    @property
    def startup(self) -> float:
        """The start-up latency: the sum of all phases except `compute`."""
        return self.queue + self.container + self.libraries + self.model + self.handoff

    @property
    def total(self) -> float:
        return self.startup + self.compute


NO_TIME = Phases()
