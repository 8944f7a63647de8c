"""The interfaces between a node and its policies: what a policy is shown, and what it may answer.

A policy is pure: it gets a view, returns a choice, and has no clock. It only makes suggestions. `NodeState` decides,
keeps the books, and writes into the story why it did not follow a suggestion. A policy cannot change what it is shown.
It may remember things only about functions and containers that still exist (`Remembered`). A policy that raises an
error or gives an invalid answer harms no call: `guard` answers in its place and reports the failure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias

from .lifecycle import ResidentState
from .model import ContainerId, FunctionKey, Option, Origin, ResidentKey, housing
from .values import value


class Forecast(Protocol):
    """A probability distribution of the time of a function's next call."""

    def rate(self, at: float) -> float:
        """Expected calls per second at `at`, given that no call has come since the last one."""
        ...

    def probability(self, at: float, within_s: float) -> float:
        """Probability of a call in (at, at + within_s], given that none came between the last one and `at`."""
        ...

    def due_at(self, probability: float) -> float:
        """The moment by which a call will have come with this probability, as seen at the last call. May be ``inf``."""
        ...


class Predictor(Protocol):
    """Answers: when will this function be called next?"""

    def forecast(self, arrivals: Sequence[float], before: Forecast | None = None) -> Forecast | None:
        """A forecast made from the times of a function's past calls, oldest first. None if there are none.

        `before` is the forecast that this predictor made one call earlier. A predictor that learns stores what it has
        learned in its forecasts and reads it from `before`, so that the predictor object has no state of its own.
        """
        ...


@value(frozen=True, slots=True)
class Use:
    """Tells a keep-alive policy that a container has fallen idle: after a call, or after it was pre-warmed."""

    at: float
    container: ContainerId
    owner: FunctionKey | None
    """The function that the container served last, or was pre-warmed for."""
    after_call: bool
    """False for a container that was pre-warmed and has just started."""
    size_bytes: int
    """The memory limit of the container."""
    cost_s: float
    """Seconds that a cold start of the owner takes: creating a container and loading the function."""


@value(frozen=True, slots=True)
class Idle:
    """The answer of a keep-alive policy: what becomes of an idle container if no call comes. Times are moments."""

    expires_at: float
    """When the container is stopped. May be ``inf``."""
    shared_at: float = math.inf
    """When the container stops being kept for its owner. From then on any function of its namespace may take it, and
    the residents that calls left in it are ended."""
    prewarm_at: float | None = None
    """When a new container is created for the same owner, if there is none by then. None: never."""


@value(frozen=True, slots=True)
class KeptContainer:
    """One container as a keep-alive policy sees it."""

    id: ContainerId
    namespace: str
    owner: FunctionKey | None
    """The function that it served last, or was pre-warmed for. None when it is kept for no function."""
    limit_bytes: int


@value(frozen=True, slots=True)
class Remembered:
    """The functions and containers that a policy remembers something about.

    `NodeState.check` compares this with the node's books: a policy must forget what no longer exists.
    """

    functions: Collection[FunctionKey] = ()
    containers: Collection[ContainerId] = ()


NOTHING_REMEMBERED = Remembered()


class KeepAlive(Protocol):
    """Decides how long idle containers are kept, and which of them are given up first."""

    def spends(self, namespace: str) -> bool:
        """Whether memory that nobody uses may be spent on containers of this namespace.

        Then they are created ahead of calls where that saves waiting, and, of such containers, those whose contents
        save least are given up first.
        """
        ...

    def called(self, function: FunctionKey, at: float) -> None:
        """A call of the function has arrived."""
        ...

    def idle(self, use: Use) -> Idle:
        """How long to keep a container that has fallen idle."""
        ...

    def evicted(self, container: KeptContainer) -> None:
        """An idle container was stopped to free its memory, or another function has taken it over."""
        ...

    def ended(self, container: KeptContainer) -> None:
        """A container no longer exists: it was stopped for any reason, or it was lost."""
        ...

    def forget(self, function: FunctionKey) -> None:
        """A function was removed, and nothing of it is left on the node."""
        ...

    def remembered(self) -> Remembered: ...

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        """Sort idle containers by the order in which they may be stopped to free memory.

        They are given with the longest idle first. The answer must hold the same containers.
        """
        ...


@value(frozen=True, slots=True)
class FunctionView:
    """One function as a pre-loading policy sees it."""

    key: FunctionKey
    namespace: str
    load_s: float
    """Seconds that a call saves when the function is resident: the duration of a load from what the node has now."""
    resident_bytes: int
    """Size of a resident that is loaded without a template."""
    forked_bytes: int
    """Size of a resident that is forked from a template."""
    forecast: Forecast | None
    """None when the function has never been called on this node."""
    copies: int
    """Number of its residents on this node that are loading, loaded or in use."""
    template: ResidentKey | None = None
    """Key of the template that it is forked from, in containers that hold it. None if it never uses a template."""
    busy_s: float = 0.0
    """Seconds that a call computes (``main``)."""
    needs: float = 1.0
    """Share of its calls that would have to wait if it had one resident fewer. 1 if it has at most one resident."""
    lacks: float = 1.0
    """Share of its calls that would use one more resident. 1 if it has no resident."""
    library: ResidentKey | None = None
    """Key of the library template of its environment. None if it never uses one."""
    library_bytes: int = 0
    """Size of that library template. 0 if it cannot be made."""
    memory_bytes: int = 0
    """Memory limit of its calls. A container with less is of no use to it."""
    own_template: ResidentKey | None = None
    """Key of its function template. None if it has none that could be made now."""
    own_copies: int = 0
    """Number of its function templates on this node that are being made or stand."""
    own_bytes: int = 0
    """Size of its function template, beside the library template."""
    own_saves_s: float = 0.0
    """Seconds that a load saves if it is forked from the function template, and nothing else changes."""
    misses: int = 0
    """Number of its calls that are remembered because they did not find it loaded by an earlier call."""
    missed_since: float = 0.0
    """When the first of these calls came."""
    wanted: int = 0
    """Number of its places that shall be ready, because somebody has asked for it. A place is a container in which
    its function template stands, or in which it is resident and no other function is, so that a call starts there at
    once."""
    places: int = 0
    """Number of its places that are ready or being made. 0 if nobody has asked for any."""
    image: str = ""
    """The image of its containers. Empty: the usual one."""

    @property
    def housing(self) -> str:
        """Which containers may hold it: those of the same housing."""
        return housing(self.namespace, self.image)

    @property
    def lacks_places(self) -> bool:
        """Whether more places are to be made."""
        return self.places < self.wanted

    @property
    def is_held(self) -> bool:
        """Whether each of its places is wanted, so that others are to be given up before them."""
        return 0 < self.places <= self.wanted


@value(frozen=True, slots=True)
class TemplateView:
    """A library template that can be made: the libraries of one environment, for all functions of one housing that use
    it."""

    key: ResidentKey
    namespace: str
    library_s: float
    """Seconds of importing that it saves each load of a function."""
    resident_bytes: int
    misses_per_s: float = 0.0
    """Calls per second that have to load one of its functions, and cannot fork it from a function template."""
    copies: int = 0
    """Number of such templates on this node."""
    image: str = ""
    """The image of its containers. Empty: the usual one."""

    @property
    def housing(self) -> str:
        """Which containers may hold it: those of the same housing."""
        return housing(self.namespace, self.image)


@value(frozen=True, slots=True)
class ResidentView:
    function: ResidentKey
    state: ResidentState
    origin: Origin
    charged_bytes: int
    is_template: bool


@value(frozen=True, slots=True)
class ContainerView:
    """One idle container as a pre-loading policy sees it."""

    id: ContainerId
    namespace: str
    limit_bytes: int
    free_bytes: int
    """Uncharged bytes. Negative for a moment when residents turn out to be larger than estimated."""
    freeing_bytes: int
    """Bytes of residents that are being ended."""
    residents: tuple[ResidentView, ...]
    owner: FunctionKey | None = None
    """The function that the keep-alive policy keeps it for; None for no function."""
    image: str = ""
    """The image that it was made from. Empty: the usual one."""

    @property
    def housing(self) -> str:
        """Only functions and templates of the same housing can be loaded into it."""
        return housing(self.namespace, self.image)


@value(frozen=True, slots=True)
class Stand:
    """A resident or a template that stands in an idle container, and what it is worth there."""

    key: ResidentKey
    size_bytes: int
    gain: float
    """Seconds of waiting that it is expected to save per second."""
    is_template: bool
    loss_s: float = 0.0
    """Seconds that it is expected to cost when it has to be ended for a call, and is made again later."""
    rate: float = 0.0
    """Calls per second that end its neighbours. 0 for a template."""
    saves_s: float = 0.0
    """Seconds that it saves a call."""

    @property
    def density(self) -> float:
        """`gain` per byte."""
        return self.gain / (self.size_bytes or 1)


@value(frozen=True, slots=True)
class Contents:
    """What stands in an idle container is worth."""

    stands: tuple[Stand, ...] = ()
    """All that may be ended, with the least gain per byte first."""
    rate: float = 0.0
    """Lambda: calls per second of the functions that are resident there."""
    weight: float = 0.0
    """Sum of calls per second x seconds saved over these functions."""
    loss_s: float = 0.0
    """Expected seconds that these functions lose when a call of another one takes the container and ends them."""

    @property
    def gain(self) -> float:
        """Seconds of waiting that everything there is expected to save per second."""
        return sum(stand.gain for stand in self.stands)


@value(frozen=True, slots=True)
class Known:
    """What a node knows besides its containers: every function and every library template, by its key."""

    functions: Mapping[FunctionKey, FunctionView]
    templates: Mapping[ResidentKey, TemplateView]


@value(frozen=True, slots=True)
class NodeView:
    """What a pre-load plan is made from.

    A *thorough* view shows all idle containers, and as many candidates as a plan can afford. The views in between show
    only what has changed since the last plan and a few more containers and candidates that it may concern. So most
    plans cost the same on a node with ten containers and on one with thousands.
    """

    at: float
    containers: tuple[ContainerView, ...]
    """All idle containers. In a view that is not thorough: some of those that have changed."""
    candidates: tuple[FunctionView, ...]
    """Functions that may be loaded, or whose function template may be made. In a view that is not thorough: functions
    that were called, or have lost something, or whose forecast has fallen due, since the last plan."""
    known: Known
    load_slots: int
    """How many loads may begin now."""
    contents: Callable[[ContainerView], Contents]
    """What stands in one of these containers is worth, as the policy has said."""
    first_rate: float = 0.0
    """Expected calls per second of a function that was never called."""
    thorough: bool = True
    others: tuple[ContainerView, ...] = ()
    """In a view that is not thorough: the idle containers that are longest idle, as more places for `candidates`."""
    spare_bytes: int = 0
    """Memory in which containers may be created ahead of calls, for the namespaces for which `spends` is True. 0 while
    calls wait, or while such a container is being created."""
    spends: Callable[[str], bool] = lambda namespace: False
    waiting: tuple[FunctionView, ...] = ()
    """In a view that is not thorough: candidates that the last plans found no place for. They are to be tried in
    `containers` only."""


@value(frozen=True, slots=True)
class SuggestLoad:
    """Load a function or a template. All `victims`, residents of the same container, have to end first to make room."""

    container: ContainerId
    function: ResidentKey
    resident_bytes: int
    value_s: float
    """Expected seconds of waiting that it saves within the policy's horizon."""
    victims: tuple[ResidentKey, ...]
    reason: str


@value(frozen=True, slots=True)
class SuggestOffload:
    container: ContainerId
    function: ResidentKey
    reason: str


@value(frozen=True, slots=True)
class SuggestCreate:
    """Create a container, of the size that a function needs, ahead of any call."""

    function: FunctionKey
    reason: str


Suggestion: TypeAlias = SuggestLoad | SuggestOffload | SuggestCreate


@value(frozen=True, slots=True)
class PreloadPlan:
    suggestions: tuple[Suggestion, ...] = ()
    wake_at: float | None = None
    """When the next thorough plan is due even if nothing happens before."""
    waiting: tuple[FunctionKey, ...] = ()
    """Candidates that found no place, in the order in which the next plan should try them."""
    later: tuple[tuple[float, FunctionKey], ...] = ()
    """Candidates whose forecasts are not due yet, each with the moment at which it will be due."""


@value(frozen=True, slots=True)
class Weighed:
    """What a function template or one more resident of a function would save, and what its making would cost."""

    key: ResidentKey
    calls_per_s: float
    """Calls that would use it."""
    saves_s: float
    """Seconds that it would save each of them."""
    saves_in_all_s: float
    """Seconds that it is expected to save as far as the policy looks ahead, alone in its container."""
    price_s: float
    """The price of the processor time for making it, in seconds of waiting. It is made only if it saves more."""
    due_at: float = -math.inf
    """It is not made before this moment, because no call is expected yet."""


class Preloader(Protocol):
    """Answers: what should each idle container hold, and what is it worth? It remembers nothing."""

    active: bool
    """False for a policy that never suggests anything. Such a policy is never asked, and nothing has a worth."""

    def plan(self, view: NodeView) -> PreloadPlan: ...

    def contents(self, container: ContainerView, known: Known, at: float) -> Contents:
        """What stands in an idle container is worth."""
        ...

    def worth(self, function: FunctionView, at: float) -> float:
        """Expected seconds of waiting that a resident of this function saves. At least 0."""
        ...

    def weigh(self, function: FunctionView, at: float) -> Sequence[Weighed]:
        """What could be made for a function, to explain why that is done or not."""
        ...


class Placement(Protocol):
    """Answers: what is done with a call?"""

    def choose(self, options: Sequence[Option]) -> Option:
        """One of the options; there is at least one."""
        ...


class Cheapest:
    """The placement policy of every node: least seconds for the call and for those that it displaces.

    Of equal options it chooses the first (`options` tells their order).
    """

    def choose(self, options: Sequence[Option]) -> Option:
        return min(options, key=lambda option: option.start_s + option.lost_s)


@value(frozen=True, slots=True)
class Policies:
    """The policies that a node is built with."""

    keepalive: KeepAlive
    predictor: Predictor
    preloader: Preloader
    placement: Placement = Cheapest()
