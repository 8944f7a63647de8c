"""Turns what happens into timed events for the `ClusterState`, and carries out its decisions on the nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
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
from ..core.model import NO_TIME, ActivationId, Failure, FailureKind, Function, FunctionKey, Profile, Verdict
from ..errors import InternalError
from ..links.base import Link, Measures, Outcome


class Registration:
    """The description of a function that every node receives."""

    __slots__ = ("called_ago_s", "function", "profile", "spec", "verdict")

    def __init__(
        self, function: Function, spec: FunctionSpec, profile: Profile | None, verdict: Verdict | None = None
    ) -> None:
        self.function = function
        self.spec = spec
        self.profile = profile
        self.verdict = verdict
        self.called_ago_s: Sequence[float] = ()
        """How long ago its calls before the registration were, oldest first."""


class ClusterDriver:
    """The only object that sends events to the cluster state. `now` is the clock of all events."""

    def __init__(self, state: ClusterState, now: Callable[[], float]) -> None:
        self._state = state
        self._now = now
        self._links: dict[str, Link] = {}
        self._registrations: dict[FunctionKey, Registration] = {}
        self._running: dict[ActivationId, asyncio.Future[Outcome]] = {}
        self._lost: dict[ActivationId, str] = {}
        """Activations whose node was lost, with its name, until `finish` is called for them."""

    @property
    def in_flight(self) -> int:
        return self._state.in_flight

    @property
    def draining(self) -> bool:
        return self._state.draining

    @property
    def registrations(self) -> list[Registration]:
        """All versions that the nodes know. This includes a replaced version while calls of it still run."""
        return list(self._registrations.values())

    def join(self, link: Link) -> None:
        """Add a node. It first receives all functions, and then gets calls."""
        for known in self._registrations.values():
            link.register(known.function, known.spec, known.profile, known.verdict, known.called_ago_s)
        self._links[link.name] = link
        self._state.handle(NodeJoined(self._now(), link.name))

    def leave(self, node: str) -> None:
        self._state.handle(NodeLeft(self._now(), node))
        del self._links[node]

    def lose(self, node: str) -> None:
        """Report that a node is gone. Each call in flight there ends now, with an `Outcome` that says so."""
        for decision in self._state.handle(NodeLost(self._now(), node)):
            if isinstance(decision, Lost):
                self._lost[decision.activation] = node
                if (running := self._running.get(decision.activation)) is not None:
                    running.cancel()
        self._links.pop(node, None)

    def drain(self) -> None:
        """Refuse all new calls from now on. The calls in flight go on."""
        self._state.handle(DrainAsked(self._now()))

    def register(self, registration: Registration) -> None:
        self._registrations[registration.function.key] = registration
        for link in self._links.values():
            link.register(
                registration.function,
                registration.spec,
                registration.profile,
                registration.verdict,
                registration.called_ago_s,
            )

    def unregister(self, function: FunctionKey) -> None:
        del self._registrations[function]
        for link in self._links.values():
            link.unregister(function)

    def admit(self, activation: str, namespace: str, function: FunctionKey) -> Link | Refuse:
        """The link to the node that is to serve a call, or the reason of a refusal.

        `finish` must be called exactly once for each call that was admitted.
        """
        (decision,) = self._state.handle(RequestArrived(self._now(), activation, namespace, function))
        return decision if isinstance(decision, Refuse) else self._links[decision.node]

    def finish(self, activation: str) -> None:
        if self._lost.pop(activation, None) is None:
            self._state.handle(RequestFinished(self._now(), activation))

    async def run(self, link: Link, call: Call) -> Outcome:
        """Run an admitted call on its node. Raises an error only for a bug of the link."""
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
        """How often the routing policy has failed, and its last error. None when it has never failed."""
        if not self._state.routing_failures:
            return None
        return {"count": self._state.routing_failures, "last": self._state.routing_failure}

    def explain(self, function: FunctionKey) -> list[Mapping[str, Any]]:
        """What each node that knows a function says of why it is loaded there or not."""
        told = [link.explain(function) for link in self._links.values()]
        return [each for each in told if each is not None]

    def measures(self) -> dict[str, Measures]:
        """What each node has done and holds, by its name."""
        return {name: link.measures() for name, link in self._links.items()}

    def snapshots(self) -> list[Mapping[str, Any]]:
        return [link.snapshot() for link in self._links.values()]
