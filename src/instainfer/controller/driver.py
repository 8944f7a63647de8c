"""Holds the `ClusterState` and the links to the nodes: stamps what happens, and does what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from ..backends.base import Call, FunctionSpec
from ..core.cluster import (
    ClusterState,
    DrainAsked,
    Lost,
    NodeJoined,
    NodeLeft,
    NodeLost,
    Refuse,
    RequestArrived,
    RequestFinished,
)
from ..core.model import NO_TIME, ActivationId, Failure, FailureKind, Function, FunctionKey, Profile
from ..errors import InternalError
from ..links.base import Link, Outcome


class Registration:
    """A function as every node is told of it."""

    __slots__ = ("function", "profile", "spec")

    def __init__(self, function: Function, spec: FunctionSpec, profile: Profile | None) -> None:
        self.function = function
        self.spec = spec
        self.profile = profile


class ClusterDriver:
    """The only one that tells the cluster state anything; `now` is the clock of every event."""

    def __init__(self, state: ClusterState, now: Callable[[], float]) -> None:
        self._state = state
        self._now = now
        self._links: dict[str, Link] = {}
        self._registrations: dict[FunctionKey, Registration] = {}
        self._running: dict[ActivationId, asyncio.Future[Outcome]] = {}
        self._lost: dict[ActivationId, str] = {}
        """Activations whose node was lost and whose ends have not been asked for yet, with that node."""

    @property
    def in_flight(self) -> int:
        return self._state.in_flight

    @property
    def draining(self) -> bool:
        return self._state.draining

    @property
    def registrations(self) -> list[Registration]:
        """Every version that nodes know, also one that is called no more and has calls that go on."""
        return list(self._registrations.values())

    def join(self, link: Link) -> None:
        """A node takes calls from now on; it learns of every function first."""
        for known in self._registrations.values():
            link.register(known.function, known.spec, known.profile)
        self._links[link.name] = link
        self._state.handle(NodeJoined(self._now(), link.name))

    def leave(self, node: str) -> None:
        self._state.handle(NodeLeft(self._now(), node))
        del self._links[node]

    def lose(self, node: str) -> None:
        """A node is gone, and with it all that it had: its calls end now, each with an `Outcome` that says so."""
        for decision in self._state.handle(NodeLost(self._now(), node)):
            if isinstance(decision, Lost):
                self._lost[decision.activation] = node
                if (running := self._running.get(decision.activation)) is not None:
                    running.cancel()
        self._links.pop(node, None)

    def drain(self) -> None:
        """Admit nothing from now on; what is in flight goes on."""
        self._state.handle(DrainAsked(self._now()))

    def register(self, registration: Registration) -> None:
        self._registrations[registration.function.key] = registration
        for link in self._links.values():
            link.register(registration.function, registration.spec, registration.profile)

    def unregister(self, function: FunctionKey) -> None:
        del self._registrations[function]
        for link in self._links.values():
            link.unregister(function)

    def admit(self, activation: str, namespace: str, function: FunctionKey) -> Link | Refuse:
        """The node that is to serve a call, or why none does. An admitted call must be `finish`-ed, once."""
        (decision,) = self._state.handle(RequestArrived(self._now(), activation, namespace, function))
        return decision if isinstance(decision, Refuse) else self._links[decision.node]

    def finish(self, activation: str) -> None:
        if self._lost.pop(activation, None) is None:
            self._state.handle(RequestFinished(self._now(), activation))

    async def run(self, link: Link, call: Call) -> Outcome:
        """Have an admitted call run. Raises only for a bug of the link."""
        if call.activation in self._lost:
            return self._gone(call)
        running = self._running[call.activation] = asyncio.ensure_future(link.invoke(call))
        try:
            outcome = await running
        except asyncio.CancelledError:
            if call.activation in self._lost:
                return self._gone(call)
            raise
        finally:
            del self._running[call.activation]
        if outcome.activation != call.activation:
            raise InternalError(f"node {link.name} answered activation {call.activation} with {outcome.activation}")
        return outcome

    def _gone(self, call: Call) -> Outcome:
        text = f"the node {self._lost[call.activation]} is gone, and with it this activation; call again"
        failure = Failure(FailureKind.CONTAINER_LOST, text)
        return Outcome(call.activation, call.function, "", None, NO_TIME, failure, None)

    @property
    def routing_failures(self) -> dict[str, Any] | None:
        """How often the routing has failed and how it did last; None when it has not."""
        if not self._state.routing_failures:
            return None
        return {"count": self._state.routing_failures, "last": self._state.routing_failure}

    def snapshots(self) -> list[Mapping[str, Any]]:
        return [link.snapshot() for link in self._links.values()]
