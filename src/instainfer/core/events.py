"""The events: every fact that can reach a node, including failures. `at` (seconds) is the only clock of the core."""

from __future__ import annotations

from typing import TypeAlias

from .model import (
    FROM_NOTHING,
    ActivationId,
    ContainerId,
    Failure,
    Function,
    FunctionKey,
    Profile,
    ResidentKey,
    Source,
    Verdict,
)
from .values import value


@value(frozen=True, slots=True)
class FunctionRegistered:
    """A function may be called from now on. `profile` holds earlier measurements of it, if there are any, and `verdict`
    tells whether it can be forked, if that is known. `calls` are the times of its calls in the past, oldest first: of
    an earlier version, or of a time before the node was started."""

    at: float
    function: Function
    profile: Profile | None = None
    verdict: Verdict | None = None
    calls: tuple[float, ...] = ()


@value(frozen=True, slots=True)
class FunctionRemoved:
    """A function was deleted or replaced. Its queued and running activations still end normally."""

    at: float
    function: FunctionKey


@value(frozen=True, slots=True)
class PlacesWanted:
    """From now on this many places of a function shall be ready: containers in which a call of it starts at once.

    It replaces the wish before. 0 ends it.
    """

    at: float
    function: FunctionKey
    places: int


@value(frozen=True, slots=True)
class OffloadAsked:
    """All of a function that is idle shall end: its residents and its function templates.

    Nothing of it is loaded ahead again before its next call, or before places of it are wanted anew.
    """

    at: float
    function: FunctionKey


@value(frozen=True, slots=True)
class RequestArrived:
    """An accepted activation reached this node."""

    at: float
    activation: ActivationId
    function: FunctionKey


@value(frozen=True, slots=True)
class ContainerStarted:
    at: float
    container: ContainerId


@value(frozen=True, slots=True)
class ContainerStartFailed:
    """A container could not be created, and nothing of it is left."""

    at: float
    container: ContainerId
    failure: Failure


@value(frozen=True, slots=True)
class ContainerGone:
    """A container and all its processes have ended. `failure` is None if the node had asked for it."""

    at: float
    container: ContainerId
    failure: Failure | None = None


@value(frozen=True, slots=True)
class LoadFinished:
    """A function or a template is loaded now, because a `Load` or a `Run` asked for it.

    A template may also be loaded without a `Load`, when the container makes it in order to fork a function from it.
    """

    at: float
    container: ContainerId
    function: ResidentKey
    library_s: float
    model_s: float
    resident_bytes: int
    """Measured size: the memory that becomes free when its processes end."""
    source: Source = FROM_NOTHING
    """What its process was made from."""


@value(frozen=True, slots=True)
class LoadFailed:
    """A load failed, and there is no resident. If a `Run` asked for it, `RunFinished` with the same failure follows."""

    at: float
    container: ContainerId
    function: ResidentKey
    failure: Failure


@value(frozen=True, slots=True)
class ResidentGone:
    """The processes of a resident have ended, and their memory is free. No other event of a resident frees memory.

    It follows an `Offload`, a `Run` of another function in the same container, or a `RunFinished` whose process died.
    If the process died while it was idle, the event comes without any of these and has a `failure`.
    """

    at: float
    container: ContainerId
    function: ResidentKey
    failure: Failure | None = None


@value(frozen=True, slots=True)
class RunFinished:
    """An activation ended. The driver keeps its result and logs; the core does not need them."""

    at: float
    container: ContainerId
    activation: ActivationId
    compute_s: float
    resident_bytes: int
    """Size of the resident, measured after the run. 0 when its process has ended."""
    failure: Failure | None = None
    alive: bool = True
    """Whether the process of the function still runs. If not, `ResidentGone` follows."""
    peak_bytes: int = 0
    """The most memory that the resident had while it ran, and while it was loaded if this is its first run. 0 when its
    process has ended."""
    has_yielded: bool = False
    """Whether its caller has got a part of its answer already, so that it cannot be repeated."""


@value(frozen=True, slots=True)
class MemoryMeasured:
    """Idle residents of one container were measured. Each entry is a resident's key and its size in bytes."""

    at: float
    container: ContainerId
    resident_bytes: tuple[tuple[ResidentKey, int], ...]


@value(frozen=True, slots=True)
class TimerFired:
    """The time of the latest `WakeAt` has come."""

    at: float


@value(frozen=True, slots=True)
class DrainAsked:
    """The node shall take no new work, finish running calls, refuse waiting calls, and stop every container."""

    at: float


Event: TypeAlias = (
    FunctionRegistered
    | FunctionRemoved
    | PlacesWanted
    | OffloadAsked
    | RequestArrived
    | ContainerStarted
    | ContainerStartFailed
    | ContainerGone
    | LoadFinished
    | LoadFailed
    | ResidentGone
    | RunFinished
    | MemoryMeasured
    | TimerFired
    | DrainAsked
)
