"""Everything a node can ask of the world. A driver turns each into an effect whose outcome comes back as an event."""

from __future__ import annotations

from typing import TypeAlias

from .model import NO_TIME, ActivationId, ContainerId, Failure, FunctionKey, Phases, Profile, ResidentKey, StartKind
from .values import value


@value(frozen=True, slots=True)
class StartContainer:
    """Answered by `ContainerStarted` or `ContainerStartFailed`."""

    container: ContainerId
    namespace: str
    limit_bytes: int
    reason: str


@value(frozen=True, slots=True)
class StopContainer:
    """End the container and everything in it; answered by `ContainerGone`."""

    container: ContainerId
    reason: str


@value(frozen=True, slots=True)
class Load:
    """Pre-load a function or a template, in the background and at low priority; answered by `LoadFinished` or
    `LoadFailed`."""

    container: ContainerId
    function: ResidentKey
    reason: str


@value(frozen=True, slots=True)
class Offload:
    """End a resident (or cut its load short); answered by `ResidentGone`."""

    container: ContainerId
    function: ResidentKey
    reason: str


@value(frozen=True, slots=True)
class Run:
    """End every other resident of the container, load the function if it is not resident, then run the activation.

    Answered by `RunFinished`; before it by `LoadFinished` when the function was not loaded yet. There is also one
    `ResidentGone` for each of `ends`, at any time: the run waits until none of them can run any more, not until their
    memory is free.
    """

    container: ContainerId
    activation: ActivationId
    function: FunctionKey
    start_kind: StartKind
    ends: tuple[ResidentKey, ...] = ()


@value(frozen=True, slots=True)
class Reply:
    """An activation has ended; give its record to whoever waits for it."""

    activation: ActivationId
    function: FunctionKey
    container: ContainerId
    start_kind: StartKind
    phases: Phases
    failure: Failure | None = None


@value(frozen=True, slots=True)
class Refuse:
    """An activation ends without having run."""

    activation: ActivationId
    failure: Failure
    phases: Phases = NO_TIME


@value(frozen=True, slots=True)
class Remember:
    """A profile changed; keep it for the next start of the platform."""

    function: ResidentKey
    profile: Profile


@value(frozen=True, slots=True)
class Forget:
    """A function was removed, or no function uses a template any longer, and nothing of it is left here: forget what
    was kept for it."""

    function: ResidentKey


@value(frozen=True, slots=True)
class WakeAt:
    """Send `TimerFired` at this time; replaces every earlier `WakeAt`."""

    when: float


Decision: TypeAlias = (
    StartContainer | StopContainer | Load | Offload | Run | Reply | Refuse | Remember | Forget | WakeAt
)
