"""The interface of a link, which connects the controller with one node."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from ..backends.base import Call, FunctionSpec
from ..core.model import ActivationId, Function, FunctionKey, Profile, Verdict
from ..invoker.measures import Labels, Measures
from ..invoker.outcome import Outcome

__all__ = ["Labels", "Link", "Measures", "Outcome"]


class Link(Protocol):
    """One node as the controller sees it."""

    name: str

    def register(
        self,
        function: Function,
        spec: FunctionSpec,
        profile: Profile | None,
        verdict: Verdict | None,
        called_ago_s: Sequence[float] = (),
    ) -> None:
        """Make a function known to the node. This has to be done before it is called.

        `profile`, `verdict` and `called_ago_s` (how long ago it was called, oldest first) are what is known of it from
        before.
        """
        ...

    def unregister(self, function: FunctionKey) -> None: ...

    def want(self, function: FunctionKey, places: int) -> None:
        """Keep this many places of a function ready from now on: containers in which a call of it starts at once.

        It replaces the wish before; 0 ends it.
        """
        ...

    def offload(self, function: FunctionKey) -> None:
        """End all of a function that is idle, and load nothing of it ahead again before its next call."""
        ...

    def places(self, function: FunctionKey) -> Mapping[str, Any]:
        """How many places of a function are ready, and why not more (see `instainfer.invoker.snapshot.places`)."""
        ...

    def invoke(self, call: Call) -> Awaitable[Outcome]:
        """Run a call. It raises no error if the call fails: the `Outcome` tells that.

        If the call has `Call.on_value`, that is given the values of a generator, in order, before the outcome.
        """
        ...

    def taken(self, activation: ActivationId, taken_bytes: int) -> None:
        """The caller has got values that cost so much (`wire.bounds.cost_bytes`), so further ones may come."""
        ...

    def enough(self, activation: ActivationId) -> None:
        """Nobody wants further values of a call. It ends soon, with its `Outcome`."""
        ...

    def explain(self, function: FunctionKey) -> Mapping[str, Any] | None:
        """Why a function is loaded there or not, as plain JSON values (see `instainfer.invoker.explain`)."""
        ...

    def measures(self) -> Measures:
        """What the node has done and holds, for ``/metrics`` (see `instainfer.invoker.measures`)."""
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """What is on the node now, for ``status``, as plain JSON values (see `instainfer.invoker.snapshot`)."""
        ...
