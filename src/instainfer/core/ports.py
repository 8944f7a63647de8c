"""The ports of the policies: what they are shown, what they may say.

A policy is pure: it gets a view, returns a choice, and keeps no clock. It suggests; `NodeState` decides, holds the
books, and writes into the story why a suggestion was not followed. What a policy sees cannot be changed by it; what it
remembers belongs to functions and containers that are there (`Remembered`). One that raises, or answers with what is no
answer, harms no call: `guard` answers in its place and says so.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from .lifecycle import ResidentState
from .model import ContainerId, FunctionKey, Origin, ResidentKey
from .values import value


class Forecast(Protocol):
    """A distribution of a function's next arrival."""

    def rate(self, at: float) -> float:
        """Calls per second expected at `at`, given the silence since the last one."""
        ...

    def probability(self, at: float, within_s: float) -> float:
        """Probability of a call in (at, at + within_s], given none between the last one and `at`."""
        ...

    def due_at(self, probability: float) -> float:
        """When a call will have come since the last one with this probability; may be ``inf``."""
        ...


class Predictor(Protocol):
    """When will this function be called next?"""

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        """From a function's past arrivals, oldest first; None without history.

        `before` is what this predictor said after the arrival before the last one. A predictor that learns carries
        what it has learned in its forecasts and finds it there, so that it has no memory of its own.
        """
        ...


@value(frozen=True, slots=True)
class Use:
    """A container has fallen idle: after a call, or because it was pre-warmed and has started."""

    at: float
    container: ContainerId
    owner: FunctionKey | None
    """The function that it served last, or was pre-warmed for."""
    after_call: bool
    size_bytes: int
    cost_s: float
    """Seconds that a cold start of its owner takes: container and load."""


@value(frozen=True, slots=True)
class Idle:
    """What becomes of an idle container if no call comes."""

    expires_at: float
    """It is stopped then; may be ``inf``."""
    shared_at: float = math.inf
    """From then on any function of its namespace may take it, and what its owner has left in it is ended."""
    prewarm_at: float | None = None
    """When a container for the same owner is to be there again, if none is by then."""


@value(frozen=True, slots=True)
class KeptContainer:
    """A container as a keep-alive policy sees it."""

    id: ContainerId
    namespace: str
    owner: FunctionKey | None
    """The function that it served last, or was pre-warmed for; None when it is kept for nobody."""
    limit_bytes: int


@value(frozen=True, slots=True)
class Remembered:
    """Of what a policy remembers anything. `NodeState.check` holds this against the node's books: a policy has no state
    about functions and containers that are not there any longer."""

    functions: Collection[FunctionKey] = ()
    containers: Collection[ContainerId] = ()


NOTHING_REMEMBERED = Remembered()


class KeepAlive(Protocol):
    """When do containers come and go?"""

    def called(self, function: FunctionKey, at: float) -> None:
        """A call has arrived."""
        ...

    def idle(self, use: Use) -> Idle: ...

    def evicted(self, container: KeptContainer) -> None:
        """An idle container was given up for room, or taken over by another function."""
        ...

    def ended(self, container: KeptContainer) -> None:
        """A container is no longer there: it was stopped, for whatever reason, or lost."""
        ...

    def forget(self, function: FunctionKey) -> None:
        """A function was removed and nothing of it is left."""
        ...

    def remembered(self) -> Remembered: ...

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        """Idle containers, given longest idle first, in the order in which they may be given up for room."""
        ...


@value(frozen=True, slots=True)
class FunctionView:
    """One function as a pre-loading policy sees it."""

    key: FunctionKey
    namespace: str
    load_s: float
    """Seconds that a call saves when it finds the function resident."""
    resident_bytes: int
    """Size of a resident loaded from nothing."""
    forked_bytes: int
    """Size of a resident forked from a template."""
    forecast: Forecast | None
    """None when the function has never been called here."""
    copies: int
    """Residents of it on this node that are loading, loaded or in use."""
    template: ResidentKey | None = None
    """The template that it is forked from where there is one; None when templates are not used for it."""
    busy_s: float = 0.0
    """Seconds that a call takes."""
    needs: float = 1.0
    """Share of its calls that would have to wait with one resident fewer; 1 where there is no other."""
    lacks: float = 1.0
    """Share of its calls that would use one resident more; 1 where there is none."""


@value(frozen=True, slots=True)
class TemplateView:
    """A template that can be made: an environment's libraries, for all functions of a namespace that use it."""

    key: ResidentKey
    namespace: str
    library_s: float
    """Seconds of importing that it saves every load."""
    resident_bytes: int


@value(frozen=True, slots=True)
class ResidentView:
    function: ResidentKey
    state: ResidentState
    origin: Origin
    charged_bytes: int
    is_template: bool


@value(frozen=True, slots=True)
class ContainerView:
    """One idle container."""

    id: ContainerId
    namespace: str
    free_bytes: int
    """May be negative for a moment, when measurements showed more than estimated."""
    freeing_bytes: int
    """Charged to residents that are being ended."""
    residents: tuple[ResidentView, ...]
    owner: FunctionKey | None = None
    """The function that keep-alive holds it for."""


@value(frozen=True, slots=True)
class NodeView:
    """What a plan looks at.

    A *thorough* view has everything, as far as a plan can bear it. Between those, a view has what has changed since the
    last plan and what that may concern, so that planning costs the same on a node with thousands of containers.
    """

    at: float
    containers: tuple[ContainerView, ...]
    """Idle containers; unless thorough, those that have changed."""
    absent: tuple[FunctionView, ...]
    """Candidates: functions without a resident, or with too few of them for calls that overlap; unless thorough, those
    that have lost their last resident or fallen due."""
    functions: Mapping[FunctionKey, FunctionView]
    """Every function; to be asked for those that are resident somewhere."""
    templates: Mapping[ResidentKey, TemplateView]
    load_slots: int
    """Loads that may be begun now."""
    first_rate: float = 0.0
    """Calls per second expected of a function that was never called."""
    thorough: bool = True
    others: tuple[ContainerView, ...] = ()
    """Unless thorough: some more idle containers, the longest idle, for the new candidates."""
    waiting: tuple[FunctionView, ...] = ()
    """Unless thorough: candidates for whom the last plan found no place; to be tried in `containers` only."""


@value(frozen=True, slots=True)
class SuggestLoad:
    """Load a function or a template, after ending `victims` of the same container (all, or the load does not fit)."""

    container: ContainerId
    function: ResidentKey
    resident_bytes: int
    value_s: float
    """Expected seconds saved within the policy's horizon."""
    victims: tuple[ResidentKey, ...]
    reason: str


@value(frozen=True, slots=True)
class SuggestOffload:
    container: ContainerId
    function: ResidentKey
    reason: str


@value(frozen=True, slots=True)
class PreloadPlan:
    suggestions: tuple[SuggestLoad | SuggestOffload, ...] = ()
    wake_at: float | None = None
    """When to look at everything again although nothing has happened."""
    waiting: tuple[FunctionKey, ...] = ()
    """Candidates that found no place, those to be tried first first."""
    later: tuple[tuple[float, FunctionKey], ...] = ()
    """Candidates that are not due yet, with the moments at which they will be."""


class Preloader(Protocol):
    """Which residents should which idle container hold?"""

    active: bool
    """False for a policy that never suggests anything and to which nothing is worth anything: it is not asked."""

    def plan(self, view: NodeView) -> PreloadPlan: ...

    def worth(self, function: FunctionView, at: float) -> float:
        """Expected seconds saved by having this function resident."""
        ...

    def ended(self, container: ContainerId) -> None:
        """A container is no longer there."""
        ...

    def forget(self, function: FunctionKey) -> None:
        """A function was removed and nothing of it is left."""
        ...

    def remembered(self) -> Remembered: ...


@value(frozen=True, slots=True)
class Policies:
    """The choices a node is built with."""

    keepalive: KeepAlive
    predictor: Predictor
    preloader: Preloader
