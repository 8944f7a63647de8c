"""Decides how many places of each function shall be ready now, and tells the nodes when the number changes.

A place is a container in which a call of the function starts at once. The larger of two numbers counts: that of
``min_resident`` in ``function.toml``, always or in the times that ``warm`` names there, and that of the latest request
``POST functions/{name}/preload``, for some time. What such a request asked for is forgotten when the platform ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from ..core.model import FunctionKey
from ..environments.windows import Window, is_open, next_change
from .driver import ClusterDriver, Registration
from .paths import EntityPath

LOOK_AGAIN_S: Final = 600.0
"""Longest time until the clock is looked at again. It may have been set, or the host may have slept."""
AHEAD_S: Final = 8 * 86_400.0
"""How far ahead the end of a wish is looked for. Windows come every week."""


@dataclass(slots=True)
class _Wish:
    """What is asked for one function. Moments are seconds since the epoch."""

    key: FunctionKey | None = None
    """The version that the nodes know. None while the function is not ready."""
    min_resident: int = 0
    warm: tuple[Window, ...] = ()
    asked: int = 0
    """Places that a request has asked for."""
    asked_until: float = 0.0
    told: int = 0
    """Places that the nodes were told of."""

    def places(self, at: float) -> int:
        places = self.min_resident
        if self.warm:
            places = max(1, places) if is_open(self.warm, at) else 0
        return max(places, self.asked if at < self.asked_until else 0)

    def next_change(self, at: float) -> float | None:
        """The next moment at which the number of places may change. None: never."""
        change = next_change(self.warm, at)
        if self.asked and at < self.asked_until:
            return self.asked_until if change is None else min(change, self.asked_until)
        return change

    def until(self, at: float) -> float | None:
        """When fewer places will be wanted than at `at`. None if that is not within `AHEAD_S`."""
        places, moment = self.places(at), self.next_change(at)
        while moment is not None and moment < at + AHEAD_S:
            if self.places(moment) < places:
                return moment
            moment = self.next_change(moment)
        return None


class Wishes:
    """The wishes of all functions. `wall` is the clock, in seconds since the epoch."""

    def __init__(self, driver: ClusterDriver, wall: Callable[[], float] = time.time) -> None:
        self._driver = driver
        self._wall = wall
        self._wishes: dict[EntityPath, _Wish] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def registered(self, path: EntityPath, registration: Registration) -> None:
        """A version of a function is known to the nodes now. It inherits what was asked for the version before."""
        wish = self._wishes.setdefault(path, _Wish())
        if wish.key is not None and wish.told:
            self._driver.want(wish.key, 0)
        wish.key, wish.told = registration.function.key, 0
        wish.min_resident, wish.warm = registration.min_resident, registration.warm
        self._tell(wish)

    def removed(self, path: EntityPath) -> None:
        """A function was deleted."""
        wish = self._wishes.pop(path, None)
        if wish is not None and wish.key is not None and wish.told:
            self._driver.want(wish.key, 0)

    def ask(self, path: EntityPath, places: int, for_s: float) -> None:
        """Keep this many places ready for some seconds, whatever was asked for before. 0 takes that back."""
        wish = self._wishes.setdefault(path, _Wish())
        wish.asked, wish.asked_until = places, self._wall() + for_s
        wish.told = -1  # the node is told even if the number stays: it may try again what has failed before
        self._tell(wish)

    def put_away(self, path: EntityPath) -> None:
        """End what is idle of a function, and take back what was asked for by a request."""
        wish = self._wishes.setdefault(path, _Wish())
        wish.asked = 0
        self._tell(wish)
        if wish.key is not None:
            self._driver.offload(wish.key)

    def of(self, path: EntityPath) -> dict[str, Any]:
        """``{wanted, ready, until_ms, unmet}``: places of a function, how long they are wanted, and why not all can be
        ready. `until_ms` is in milliseconds since the epoch; null: no end is known."""
        wish = self._wishes.get(path, _Wish())
        at = self._wall()
        wanted, until = wish.places(at), wish.until(at)
        there = self._driver.places(wish.key) if wish.key is not None else {"ready": 0, "unmet": None}
        return {
            "wanted": wanted,
            "ready": there["ready"],
            "until_ms": None if until is None else round(until * 1000),
            "unmet": there["unmet"] if wanted else None,
        }

    def all(self) -> list[dict[str, Any]]:
        """The same for each function of which places are wanted, with its `namespace` and its `name`."""
        at = self._wall()
        wanted = [path for path, wish in self._wishes.items() if wish.places(at)]
        return [{"namespace": path.namespace, "name": path.relative, **self.of(path)} for path in wanted]

    def renew(self) -> float:
        """Tell the nodes what has changed with time. Returns the seconds until the next look."""
        for wish in self._wishes.values():
            self._tell(wish)
        at = self._wall()
        changes: Iterable[float | None] = [wish.next_change(at) for wish in self._wishes.values()]
        return min((change - at for change in changes if change is not None), default=LOOK_AGAIN_S)

    def _tell(self, wish: _Wish) -> None:
        places = wish.places(self._wall())
        if wish.key is not None and places != wish.told:
            self._driver.want(wish.key, places)
            wish.told = places
        self._changed.set()

    async def _keep(self) -> None:
        while True:
            wait_s = min(self.renew(), LOOK_AGAIN_S)
            self._changed.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass
