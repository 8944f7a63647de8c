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
from ..environments.windows import Window
from ..errors import InternalError
from ..links.base import Link, Measures, Outcome


class Registration:
    """The description of a function that every node receives, and how many places of it shall be ready when."""

    __slots__ = ("called_ago_s", "function", "min_resident", "profile", "spec", "verdict", "warm")

    def __init__(
        self, function: Function, spec: FunctionSpec, profile: Profile | None, verdict: Verdict | None = None
    ) -> None:
        self.function = function
        self.spec = spec
        self.profile = profile
        self.verdict = verdict
        self.called_ago_s: Sequence[float] = ()
        """How long ago its calls before the registration were, oldest first."""
        self.min_resident = 0
        self.warm: tuple[Window, ...] = ()
        """As in `instainfer.environments.manifest.Manifest`."""


class ClusterDriver:
    """The only object that sends events to the cluster state. `now` is the clock of all events."""

    def __init__(self, state: ClusterState, now: Callable[[], float]) -> None:
        self._state = state
        self._now = now
        self._links: dict[str, Link] = {}
        self._registrations: dict[FunctionKey, Registration] = {}
        self._running: dict[ActivationId, asyncio.Future[Outcome]] = {}
        self._wanted: dict[FunctionKey, int] = {}
        """How many places of functions shall be ready. No entry: none."""
        self._homes: dict[FunctionKey, str | None] = {}
        """The node that was told so, for each of these functions. None: there was none."""
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
        self._tell_homes()

    def leave(self, node: str) -> None:
        self._state.handle(NodeLeft(self._now(), node))
        del self._links[node]
        self._tell_homes()

    def lose(self, node: str) -> None:
        """Report that a node is gone. Each call in flight there ends now, with an `Outcome` that says so."""
        for decision in self._state.handle(NodeLost(self._now(), node)):
            if isinstance(decision, Lost):
                self._lost[decision.activation] = node
                if (running := self._running.get(decision.activation)) is not None:
                    running.cancel()
        self._links.pop(node, None)
        self._tell_homes()

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
        self._wanted.pop(function, None)
        self._homes.pop(function, None)
        for link in self._links.values():
            link.unregister(function)

    def want(self, function: FunctionKey, places: int) -> None:
        """Keep this many places of a registered function ready from now on, on the node that gets its calls."""
        if places:
            self._wanted[function] = places
        else:
            self._wanted.pop(function, None)
        home = self._homes[function] = self._home(function)
        if home is not None:
            self._links[home].want(function, places)

    def offload(self, function: FunctionKey) -> None:
        """End all of a function that is idle, on every node."""
        for link in self._links.values():
            link.offload(function)

    def places(self, function: FunctionKey) -> Mapping[str, Any]:
        """What the node that gets a function's calls says of its places."""
        home = self._home(function)
        return {"ready": 0, "unmet": "there is no node"} if home is None else self._links[home].places(function)

    def _home(self, function: FunctionKey) -> str | None:
        return self._state.home(self._registrations[function].function.namespace, function)

    def _tell_homes(self) -> None:
        """Tell the nodes which places they have to keep ready now, after one has come or gone."""
        for function, places in self._wanted.items():
            before, home = self._homes[function], self._home(function)
            if home == before and home in self._links:
                continue
            if before is not None and before in self._links:
                self._links[before].want(function, 0)
            if home is not None:
                self._links[home].want(function, places)
            self._homes[function] = home

    def admit(
        self, activation: str, namespace: str, function: FunctionKey, *, owner: str = "", goes_on: bool = False
    ) -> Link | Refuse:
        """The link to the node that is to serve a call of a namespace, or the reason of a refusal.

        `owner` is the namespace of the function, if it is another one. `goes_on`: the call is a part of one that was
        admitted before.

        `finish` must be called exactly once for each call that was admitted.
        """
        (decision,) = self._state.handle(RequestArrived(self._now(), activation, namespace, function, owner, goes_on))
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
