"""The actions that can be called, in memory: the first look-up of every call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import NotFound
from .records import Action

UNKNOWN = "The requested resource does not exist."


class Deployed:
    """One version of an action and whether its nodes know it.

    An action put while the platform runs is ready at once. After a restart its folder and environment are looked for
    in the background, and calls wait for the outcome.
    """

    __slots__ = ("_in_flight", "_on_idle", "_settled", "action", "problem", "ready")

    def __init__(self, action: Action, *, ready: bool) -> None:
        self.action = action
        self.ready = ready
        self.problem = ""
        """Why it cannot be called, once that is known."""
        self._in_flight = 0
        self._on_idle: Callable[[], None] | None = None
        self._settled = asyncio.Event()
        if ready:
            self._settled.set()

    def settle(self, problem: str = "") -> None:
        """Preparing it has ended; calls that wait go on."""
        self.ready = not problem
        self.problem = problem
        self._settled.set()

    async def settled(self) -> None:
        await self._settled.wait()

    def enter(self) -> None:
        """A call of this version has been admitted."""
        self._in_flight += 1

    def leave(self) -> None:
        """A call of this version has ended."""
        self._in_flight -= 1
        self._retire_if_idle()

    def retire(self, on_idle: Callable[[], None]) -> None:
        """This version is called no more; `on_idle` is called once, when the last call of it has ended."""
        self._on_idle = on_idle
        self._retire_if_idle()

    def _retire_if_idle(self) -> None:
        if self._on_idle is not None and self._in_flight == 0:
            self._on_idle()
            self._on_idle = None


class Catalog:
    def __init__(self) -> None:
        self._deployed: dict[tuple[str, str], Deployed] = {}

    def find(self, namespace: str, name: str) -> Deployed | None:
        return self._deployed.get((namespace, name))

    def get(self, namespace: str, name: str) -> Deployed:
        """Raises `NotFound`."""
        deployed = self._deployed.get((namespace, name))
        if deployed is None:
            raise NotFound(UNKNOWN)
        return deployed

    def put(self, deployed: Deployed) -> None:
        self._deployed[deployed.action.namespace, deployed.action.name] = deployed

    def remove(self, action: Action) -> None:
        del self._deployed[action.namespace, action.name]

    @property
    def all_ready(self) -> bool:
        """Whether each can be called, so that what it needs is known."""
        return all(deployed.ready for deployed in self._deployed.values())

    def of_namespace(self, namespace: str) -> list[Deployed]:
        """Newest first."""
        own = (deployed for deployed in self._deployed.values() if deployed.action.namespace == namespace)
        return sorted(own, key=lambda deployed: deployed.action.updated_ms, reverse=True)
