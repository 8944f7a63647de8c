"""The decisions: everything that a node can ask of its driver. The driver reports each outcome as an event."""

from __future__ import annotations

from typing import TypeAlias

from .model import (
    NO_TIME,
    ActivationId,
    ContainerId,
    EndCause,
    Failure,
    FunctionKey,
    Option,
    Phases,
    Profile,
    ResidentKey,
    StartKind,
    Verdict,
)
from .values import value


@value(frozen=True, slots=True)
class StartContainer:
    """Create a container. `ContainerStarted` or `ContainerStartFailed` answers it."""

    container: ContainerId
    namespace: str
    limit_bytes: int
    reason: str
    image: str = ""
    """What it is made from. Empty: the usual image."""


@value(frozen=True, slots=True)
class ResizeContainer:
    """Give a container another memory limit, at once. Nothing answers it."""

    container: ContainerId
    limit_bytes: int
    reason: str


@value(frozen=True, slots=True)
class StopContainer:
    """End a container and all its processes. `ContainerGone` answers it."""

    container: ContainerId
    reason: str
    cause: EndCause


@value(frozen=True, slots=True)
class Load:
    """Pre-load a function or a template, at low priority. `LoadFinished` or `LoadFailed` answers it."""

    container: ContainerId
    function: ResidentKey
    reason: str
    proves: bool = False
    """Whether a function template has to show that processes forked from it answer as it does itself. That is asked
    until it is known whether the function can be forked."""


@value(frozen=True, slots=True)
class Offload:
    """End a resident, or its load if that is still under way. `ResidentGone` answers it."""

    container: ContainerId
    function: ResidentKey
    reason: str
    cause: EndCause


@value(frozen=True, slots=True)
class Run:
    """End every other resident of the container, load the function if it is not resident, then run the activation.

    `RunFinished` answers it, after a `LoadFinished` if the function was not loaded yet. `ends` are the other residents;
    one `ResidentGone` comes for each of them, before or after the answer. The run waits until none of their processes
    can run any more, but not until their memory is free.
    """

    container: ContainerId
    activation: ActivationId
    function: FunctionKey
    start_kind: StartKind
    ends: tuple[ResidentKey, ...] = ()


@value(frozen=True, slots=True)
class Reply:
    """An activation has ended. The driver gives its outcome to the caller who waits for it."""

    activation: ActivationId
    function: FunctionKey
    container: ContainerId
    start_kind: StartKind
    phases: Phases
    failure: Failure | None = None
    options: tuple[Option, ...] = ()
    """What could have been done with the call: the choice, and then the cheapest of the others. Empty where there was
    nothing to choose, because its function was loaded in its own idle container."""


@value(frozen=True, slots=True)
class Refuse:
    """An activation ends without having run."""

    activation: ActivationId
    failure: Failure
    phases: Phases = NO_TIME


@value(frozen=True, slots=True)
class Remember:
    """A profile has changed. The driver stores it for the next start of the platform."""

    function: ResidentKey
    profile: Profile


@value(frozen=True, slots=True)
class Judged:
    """It has become known whether a function can be forked. The driver stores it for the next start of the platform."""

    function: FunctionKey
    verdict: Verdict


@value(frozen=True, slots=True)
class Forget:
    """A removed function, or a template that no function uses, has left the node. The driver forgets what it keeps for
    it."""

    function: ResidentKey


@value(frozen=True, slots=True)
class WakeAt:
    """Send `TimerFired` at this time. It replaces every earlier `WakeAt`."""

    when: float


Decision: TypeAlias = (
    StartContainer
    | ResizeContainer
    | StopContainer
    | Load
    | Offload
    | Run
    | Reply
    | Refuse
    | Remember
    | Judged
    | Forget
    | WakeAt
)
