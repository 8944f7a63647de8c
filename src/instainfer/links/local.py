"""A link to a node that runs in the controller's own process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from ..backends.base import Call, FunctionSpec
from ..core.model import GIB, ActivationId, Function, FunctionKey, Profile, Verdict
from ..invoker.driver import Invoker
from ..invoker.explain import explain
from ..invoker.measures import measures
from ..invoker.snapshot import places, snapshot
from .base import Measures, Outcome

#: Seconds between two measurements of the used memory.
SAMPLE_S = 0.5


class LocalLink:
    """The link. It also adds up the used memory over time, in byte-seconds."""

    def __init__(self, invoker: Invoker) -> None:
        self.invoker = invoker
        self.name = invoker.state.name
        self._used_byte_s = 0.0
        self._sampled_at = invoker.clock.now()
        self._used_bytes = 0
        self._cancel_sample = invoker.clock.call_at(self._sampled_at + SAMPLE_S, self._sample)

    def register(
        self,
        function: Function,
        spec: FunctionSpec,
        profile: Profile | None,
        verdict: Verdict | None,
        called_ago_s: Sequence[float] = (),
    ) -> None:
        self.invoker.register(function, spec, profile, verdict, called_ago_s)

    def unregister(self, function: FunctionKey) -> None:
        self.invoker.unregister(function)

    def want(self, function: FunctionKey, places: int) -> None:
        self.invoker.want(function, places)

    def offload(self, function: FunctionKey) -> None:
        self.invoker.offload(function)

    def places(self, function: FunctionKey) -> Mapping[str, Any]:
        return places(self.invoker.state, function)

    def invoke(self, call: Call) -> asyncio.Future[Outcome]:
        return self.invoker.invoke(call)

    def taken(self, activation: ActivationId, taken_bytes: int) -> None:
        self.invoker.taken(activation, taken_bytes)

    def enough(self, activation: ActivationId) -> None:
        self.invoker.enough(activation)

    def explain(self, function: FunctionKey) -> Mapping[str, Any] | None:
        return explain(self.invoker.state, function, self.invoker.clock.now())

    def measures(self) -> Measures:
        now = self.invoker.clock.now()
        # The latest sample serves, since measuring anew would take time from the calls.
        used_byte_s = self._used_byte_s + self._used_bytes * (now - self._sampled_at)
        return measures(self.invoker.state, self.invoker.tally, now) | {
            "memory_used_bytes": {(): self._used_bytes},
            "memory_used_byte_seconds": {(): used_byte_s},
        }

    def snapshot(self) -> Mapping[str, Any]:
        now = self.invoker.clock.now()
        self._integrate(now)
        shot = snapshot(self.invoker.state, now)
        shot["backend"] = self.invoker.backend.name
        shot["isolation"] = list(self.invoker.backend.isolation())
        shot["memory"]["used_bytes"] = self._used_bytes
        shot["memory"]["used_gb_s"] = self._used_byte_s / GIB
        return shot

    async def drain(self) -> None:
        """Refuse waiting calls, finish running ones and stop all containers."""
        await self.invoker.drain()

    def stop_sampling(self) -> None:
        self._cancel_sample()

    def _sample(self) -> None:
        now = self.invoker.clock.now()
        self._integrate(now)
        self._cancel_sample = self.invoker.clock.call_at(now + SAMPLE_S, self._sample)

    def _integrate(self, now: float) -> None:
        """Count the latest measurement for the time since it was made, then measure again."""
        self._used_byte_s += self._used_bytes * (now - self._sampled_at)
        self._sampled_at = now
        self._used_bytes = self.invoker.backend.used_bytes()
