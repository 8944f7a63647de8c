"""Holds in memory all actions that can be called. Every call begins with a look-up here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ..errors import NotFound
from .paths import EntityPath
from .records import Action

UNKNOWN = "The requested resource does not exist."


class Deployed:
    """One version of an action, and whether the nodes know it.

    An action that is put while the platform runs is ready at once. After a restart its folder and environment are
    prepared in the background, and calls wait until that has succeeded or failed.
    """

    __slots__ = ("_in_flight", "_on_idle", "_settled", "action", "problem", "ready")

    def __init__(self, action: Action, *, ready: bool) -> None:
        self.action = action
        self.ready = ready
        self.problem = ""
        """Why the action cannot be called. Empty if no reason is known."""
        self._in_flight = 0
        self._on_idle: Callable[[], None] | None = None
        self._settled = asyncio.Event()
        if ready:
            self._settled.set()

    def settle(self, problem: str = "") -> None:
        """Record that the preparation has ended, with `problem` if it has failed. Waiting calls go on."""
        self.ready = not problem
        self.problem = problem
        self._settled.set()

    async def settled(self) -> None:
        await self._settled.wait()

    def enter(self) -> None:
        """Count a call of this version that has been admitted."""
        self._in_flight += 1

    def leave(self) -> None:
        """Count off a call of this version that has ended."""
        self._in_flight -= 1
        self._retire_if_idle()

    def retire(self, on_idle: Callable[[], None]) -> None:
        """Call `on_idle` once, as soon as no call of this version is in flight. No new call may come after this."""
        self._on_idle = on_idle
        self._retire_if_idle()

    def _retire_if_idle(self) -> None:
        if self._on_idle is not None and self._in_flight == 0:
            self._on_idle()
            self._on_idle = None


class Catalog:
    def __init__(self) -> None:
        self._deployed: dict[EntityPath, Deployed] = {}

    def find(self, path: EntityPath) -> Deployed | None:
        return self._deployed.get(path)

    def get(self, path: EntityPath) -> Deployed:
        """The current version of an action. Raises `NotFound`."""
        deployed = self._deployed.get(path)
        if deployed is None:
            raise NotFound(f"{UNKNOWN} There is no action {path.relative} in the namespace {path.namespace}.")
        return deployed

    def put(self, deployed: Deployed) -> None:
        self._deployed[deployed.action.path] = deployed

    def remove(self, action: Action) -> None:
        del self._deployed[action.path]

    @property
    def all_ready(self) -> bool:
        """Whether every action is ready, so that the environment of each is known."""
        return all(deployed.ready for deployed in self._deployed.values())

    def of_package(self, namespace: str, package: str) -> list[Deployed]:
        """The actions of a package, the one changed last first."""
        return [each for each in self.of_namespace(namespace) if each.action.path.package == package]

    def of_namespace(self, namespace: str) -> list[Deployed]:
        """The actions of a namespace, the one changed last first."""
        own = (deployed for deployed in self._deployed.values() if deployed.action.namespace == namespace)
        return sorted(own, key=lambda deployed: deployed.action.updated_ms, reverse=True)
