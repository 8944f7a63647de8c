"""Holds the `ClusterState` and the links to the nodes: stamps what happens, and does what was decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..backends.base import Call, FunctionSpec
from ..core.cluster import (
    ClusterState,
    DrainAsked,
    NodeJoined,
    NodeLeft,
    Refuse,
    RequestArrived,
    RequestFinished,
)
from ..core.model import Function, FunctionKey, Profile
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
        self._state.handle(RequestFinished(self._now(), activation))

    async def run(self, link: Link, call: Call) -> Outcome:
        """Have an admitted call run. Raises only for a bug of the link."""
        outcome = await link.invoke(call)
        if outcome.activation != call.activation:
            raise InternalError(f"node {link.name} answered activation {call.activation} with {outcome.activation}")
        return outcome

    def snapshots(self) -> list[Mapping[str, Any]]:
        return [link.snapshot() for link in self._links.values()]
