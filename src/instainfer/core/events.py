"""Every fact that can reach a node, failures included. `at` is the only clock the core knows: float seconds."""

from __future__ import annotations

from typing import TypeAlias

from .model import ActivationId, ContainerId, Failure, Function, FunctionKey, Profile, ResidentKey
from .values import value


@value(frozen=True, slots=True)
class FunctionRegistered:
    """A function may be called from now on; `profile` is what earlier measurements know of it."""

    at: float
    function: Function
    profile: Profile | None = None


@value(frozen=True, slots=True)
class FunctionRemoved:
    """A function was deleted or replaced; queued and running activations of it still end normally."""

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
    """No container came to be; nothing of it is left."""

    at: float
    container: ContainerId
    failure: Failure


@value(frozen=True, slots=True)
class ContainerGone:
    """A container and every process in it have ended: stopped on request (`failure` is None) or lost."""

    at: float
    container: ContainerId
    failure: Failure | None = None


@value(frozen=True, slots=True)
class LoadFinished:
    """A function, or a template, *is* loaded, whether a `Load` or a `Run` asked for it.

    A template comes unasked when a function was to be forked from it.
    """

    at: float
    container: ContainerId
    function: ResidentKey
    library_s: float
    model_s: float
    resident_bytes: int
    """Measured, not estimated: memory that only the end of its processes would give back."""
    forked: bool = False
    """Whether it was forked from a template."""


@value(frozen=True, slots=True)
class LoadFailed:
    """A load ended without a resident. When a `Run` asked for it, `RunFinished` with the same failure follows."""

    at: float
    container: ContainerId
    function: ResidentKey
    failure: Failure


@value(frozen=True, slots=True)
class ResidentGone:
    """A resident's processes have ended and their memory is free; the only event that frees it.

    Follows an `Offload`, a `Run` that ended this resident to run another, a `RunFinished` whose process died,
    or, with a `failure`, comes unasked when the process died while idle.
    """

    at: float
    container: ContainerId
    function: ResidentKey
    failure: Failure | None = None


@value(frozen=True, slots=True)
class RunFinished:
    """An activation ended. Its result and logs travel beside this event; the core does not need them."""

    at: float
    container: ContainerId
    activation: ActivationId
    compute_s: float
    resident_bytes: int
    """Measured after the run; 0 when the process is gone."""
    failure: Failure | None = None
    alive: bool = True
    """Whether the function's process survived; if not, `ResidentGone` follows."""


@value(frozen=True, slots=True)
class MemoryMeasured:
    """New measurements of idle residents of one container."""

    at: float
    container: ContainerId
    resident_bytes: tuple[tuple[ResidentKey, int], ...]


@value(frozen=True, slots=True)
class TimerFired:
    """The moment asked for by the latest `WakeAt` has come."""

    at: float


@value(frozen=True, slots=True)
class DrainAsked:
    """Take no new work, finish what runs, refuse what waits, stop every container."""

    at: float


Event: TypeAlias = (
    FunctionRegistered
    | FunctionRemoved
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
