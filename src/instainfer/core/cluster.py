"""Decides whether a call may run, and on which node: ``ClusterState.handle(event) -> decisions``.

It answers two questions for every `RequestArrived`, in the same order as OpenWhisk:

1. *Admission*: has the namespace sent too many requests in this minute, or does it have too many activations in flight?
   Minutes count as in OpenWhisk: the counter restarts at each full minute of the clock, and a refused request counts.
2. *Routing*: which of the healthy nodes serves the call? A `Routing` policy suggests one by name. If the policy fails
   or names no healthy node, the node with the fewest activations in flight serves the call.

A node that has left keeps its slot. The home node of a function is computed modulo the number of slots, so without this
rule the reboot of one machine would move the functions of all others.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from .errors import IllegalEvent, InternalError
from .model import ActivationId, FunctionKey
from .values import value

MINUTE_S = 60.0
STORY_LENGTH = 32
"""Number of events and decisions that are kept for the message of an error."""


@value(frozen=True, slots=True)
class NodeJoined:
    """A node takes calls from now on, for the first time or again."""

    at: float
    node: str


@value(frozen=True, slots=True)
class NodeLeft:
    """A node takes no more calls. The calls that it has still end, each with its own `RequestFinished`."""

    at: float
    node: str


@value(frozen=True, slots=True)
class NodeLost:
    """A node is gone. The activations that were in flight there have ended without an answer."""

    at: float
    node: str


@value(frozen=True, slots=True)
class RequestArrived:
    """`namespace` is that of the caller, whose limits count."""

    at: float
    activation: ActivationId
    namespace: str
    function: FunctionKey
    owner: str = ""
    """The namespace of the function, if it is another one. All calls of a function are routed alike."""
    goes_on: bool = False
    """Whether it is a part of a call that was admitted before, so that it runs although nothing new is admitted."""


@value(frozen=True, slots=True)
class RequestFinished:
    """A dispatched activation has ended, with success or failure."""

    at: float
    activation: ActivationId


@value(frozen=True, slots=True)
class DrainAsked:
    """Admit nothing from now on."""

    at: float


ClusterEvent: TypeAlias = NodeJoined | NodeLeft | NodeLost | RequestArrived | RequestFinished | DrainAsked


class RefusalKind(StrEnum):
    """Why a request was not admitted."""

    RATE = "rate"
    CONCURRENCY = "concurrency"
    NO_NODE = "no_node"
    DRAINING = "draining"

    @property
    def is_throttle(self) -> bool:
        """Whether the caller exceeded a limit. False if the platform could not serve the call."""
        return self in (RefusalKind.RATE, RefusalKind.CONCURRENCY)


@value(frozen=True, slots=True)
class Dispatch:
    """Send the activation to this node."""

    activation: ActivationId
    node: str
    reason: str


@value(frozen=True, slots=True)
class Refuse:
    """The activation ends before it was sent to a node."""

    activation: ActivationId
    kind: RefusalKind
    message: str
    """For the caller; the same text as OpenWhisk's, where OpenWhisk has one."""


@value(frozen=True, slots=True)
class Lost:
    """The activation ends because its node is gone. It no longer counts against the limits of its namespace."""

    activation: ActivationId
    node: str


ClusterDecision: TypeAlias = Dispatch | Refuse | Lost


@value(frozen=True, slots=True)
class Limits:
    """What one namespace may ask for."""

    concurrent: int
    """Most activations in flight at a time."""
    per_minute: int
    """Most requests in one minute of the clock."""


@value(frozen=True, slots=True)
class NodeView:
    """One node's slot as a routing policy sees it."""

    name: str
    healthy: bool
    in_flight: int


@value(frozen=True, slots=True)
class Route:
    node: str
    reason: str


class Routing(Protocol):
    """A routing policy: which node serves this call? It is pure, and asked only when at least one node is healthy."""

    def route(self, namespace: str, function: FunctionKey, nodes: Sequence[NodeView]) -> Route:
        """Choose a healthy node. `nodes` are all slots, in the order in which the nodes first joined."""
        ...


@dataclass(slots=True)
class _Node:
    healthy: bool = True
    in_flight: int = 0


@dataclass(slots=True)
class _Usage:
    """What one namespace uses. `minute` is the number of a minute of the clock, `in_minute` the requests in it."""

    in_flight: int = 0
    minute: int = -1
    in_minute: int = 0


class ClusterState:
    """The nodes, and what each namespace uses. Only `handle` changes it."""

    def __init__(self, limits: Limits, routing: Routing) -> None:
        self._limits = limits
        self._routing = routing
        self._nodes: dict[str, _Node] = {}
        self._usage: dict[str, _Usage] = {}
        self._in_flight: dict[ActivationId, tuple[str, str]] = {}
        self._draining = False
        self.routing_failures = 0
        """How often the routing policy has failed, so that the default rule chose the node."""
        self.routing_failure = ""
        """Text of the latest failure; empty if there was none."""
        self._at = float("-inf")
        self._story: deque[ClusterEvent | ClusterDecision] = deque(maxlen=STORY_LENGTH)

    @property
    def in_flight(self) -> int:
        """Number of activations that were dispatched and have not finished."""
        return len(self._in_flight)

    @property
    def draining(self) -> bool:
        return self._draining

    def nodes(self) -> tuple[NodeView, ...]:
        return tuple(NodeView(name, node.healthy, node.in_flight) for name, node in self._nodes.items())

    def home(self, namespace: str, function: FunctionKey) -> str | None:
        """The node to which a call of this function would go now. None if no node is healthy."""
        route = self._route(namespace, function)
        return None if route is None else route.node

    def handle(self, event: ClusterEvent) -> list[ClusterDecision]:
        """Take in one event and return the decisions that follow from it.

        A `RequestArrived` gives exactly one decision. A `NodeLost` gives one `Lost` for each activation that was in
        flight on that node. All other events give none. An illegal event raises `IllegalEvent` and changes nothing.
        """
        if event.at < self._at:
            raise self._illegal(event, f"the clock stood at {self._at} already")
        decisions: list[ClusterDecision] = []
        match event:
            case RequestArrived():
                decisions.append(self._arrived(event))
            case RequestFinished():
                self._finished(event)
            case NodeJoined():
                self._joined(event)
            case NodeLeft():
                self._left(event)
            case NodeLost():
                decisions += self._lost(event)
            case DrainAsked():
                self._draining = True
        self._at = event.at
        self._story.append(event)
        self._story.extend(decisions)
        return decisions

    def check(self) -> None:
        """Raise `InternalError` unless all counts agree with the activations in flight."""
        per_node = Counter(node for node, _ in self._in_flight.values())
        per_namespace = Counter(namespace for _, namespace in self._in_flight.values())
        for name, node in self._nodes.items():
            if node.in_flight != per_node.pop(name, 0):
                raise InternalError(
                    f"node {name} counts {node.in_flight} activations in flight, but they are not there"
                )
        for namespace, usage in self._usage.items():
            if usage.in_flight != per_namespace.pop(namespace, 0):
                raise InternalError(f"namespace {namespace} counts {usage.in_flight} in flight, but they are not there")
            if usage.in_flight > self._limits.concurrent:
                raise InternalError(
                    f"namespace {namespace} has {usage.in_flight} activations in flight: over its limit"
                )
        if per_node or per_namespace:
            raise InternalError(f"in flight, but counted nowhere: {dict(per_node)} {dict(per_namespace)}")

    def _arrived(self, event: RequestArrived) -> ClusterDecision:
        activation, namespace = event.activation, event.namespace
        if activation in self._in_flight:
            raise self._illegal(event, f"activation {activation} is in flight already")
        if self._draining and not event.goes_on:
            return Refuse(activation, RefusalKind.DRAINING, "The platform is shutting down and takes no new work.")

        usage = self._usage.get(namespace) or _Usage()
        minute = int(event.at // MINUTE_S)
        in_minute = usage.in_minute + 1 if usage.minute == minute else 1
        route: Route | None = None
        if in_minute <= self._limits.per_minute and usage.in_flight < self._limits.concurrent:
            route = self._route(event.owner or namespace, event.function)

        self._usage[namespace] = usage
        usage.minute, usage.in_minute = minute, in_minute
        if in_minute > self._limits.per_minute:
            return Refuse(
                activation,
                RefusalKind.RATE,
                f"Too many requests in the last minute (count: {in_minute}, allowed: {self._limits.per_minute}).",
            )
        if usage.in_flight >= self._limits.concurrent:
            return Refuse(
                activation,
                RefusalKind.CONCURRENCY,
                "Too many concurrent requests in flight "
                f"(count: {usage.in_flight}, allowed: {self._limits.concurrent}).",
            )
        if route is None:
            return Refuse(activation, RefusalKind.NO_NODE, "No node is there to run the action; try again later.")
        self._in_flight[activation] = (route.node, namespace)
        self._nodes[route.node].in_flight += 1
        usage.in_flight += 1
        return Dispatch(activation, route.node, route.reason)

    def _route(self, namespace: str, function: FunctionKey) -> Route | None:
        views = self.nodes()
        if not any(view.healthy for view in views):
            return None
        try:
            route = self._routing.route(namespace, function, views)
            if not self._nodes[route.node].healthy:
                raise ValueError(f"{route.node!r} is no healthy node")
        except Exception as error:
            # A policy may raise any error, and that must not harm the call.
            self.routing_failures += 1
            self.routing_failure = f"{type(self._routing).__name__}: {type(error).__name__}: {error}"[:500]
            quietest = min((view for view in views if view.healthy), key=lambda view: view.in_flight)
            return Route(quietest.name, f"the quietest node, since the routing failed: {self.routing_failure}")
        return route

    def _finished(self, event: RequestFinished) -> None:
        if event.activation not in self._in_flight:
            raise self._illegal(event, f"activation {event.activation} is not in flight")
        self._release(event.activation)

    def _joined(self, event: NodeJoined) -> None:
        node = self._nodes.get(event.node)
        if node is None:
            self._nodes[event.node] = _Node()
        elif node.healthy:
            raise self._illegal(event, f"node {event.node} is there already")
        else:
            node.healthy = True

    def _left(self, event: NodeLeft) -> None:
        node = self._nodes.get(event.node)
        if node is None or not node.healthy:
            raise self._illegal(event, f"node {event.node} is not there")
        node.healthy = False

    def _lost(self, event: NodeLost) -> list[ClusterDecision]:
        node = self._nodes.get(event.node)
        if node is None or (not node.healthy and not node.in_flight):
            raise self._illegal(event, f"node {event.node} is not there")
        node.healthy = False
        lost = [activation for activation, (where, _) in self._in_flight.items() if where == event.node]
        for activation in lost:
            self._release(activation)
        return [Lost(activation, event.node) for activation in lost]

    def _release(self, activation: ActivationId) -> None:
        node, namespace = self._in_flight.pop(activation)
        self._nodes[node].in_flight -= 1
        self._usage[namespace].in_flight -= 1

    def _illegal(self, event: ClusterEvent, why: str) -> IllegalEvent:
        story = "\n".join(f"  {step}" for step in self._story)
        return IllegalEvent(f"{event}: {why}. What came before:\n{story}")
