"""Chooses which containers and functions the next pre-load plan looks at.

The cost of planning for everything grows with the number of functions times the number of containers. This is too much
for every call. So a plan looks at everything (a *thorough* view) only when the policy asks for it, or when functions
have been registered. The plans in between look at what is new: containers that have changed, functions that were
called, have lost something, or whose forecast has fallen due, and the most wanted of those that found no place before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .model import FunctionKey
from .pool import Container, Pool
from .ports import FunctionView, PreloadPlan
from .registry import Registry
from .values import value

SMALL_NODE: Final = (8, 16)
"""Largest numbers of idle containers and of functions for which every view is thorough."""
MAX_CHANGED: Final = 3
"""Changed containers in one view, the earliest changed first. The others wait for the next view."""
MAX_NEW: Final = 24
"""New candidates in one view. The others wait for the next view."""
MAX_OTHERS: Final = 16
"""Idle containers that new candidates are tried in, besides those that have changed."""
MAX_WAITING: Final = 8
"""Earlier candidates without a place that are tried in the changed containers of one view."""


@value(frozen=True, slots=True)
class Scope:
    """What one plan looks at. The fields mean the same as those of `ports.NodeView`."""

    containers: tuple[Container, ...]
    others: tuple[Container, ...]
    candidates: tuple[FunctionView, ...]
    waiting: tuple[FunctionView, ...]
    thorough: bool


@dataclass(slots=True)
class PlanScope:
    """Remembers what the next view has to show."""

    thorough_at: float | None = 0.0
    """When the next thorough view is due. None: not before a policy asks for one."""
    waiting: tuple[FunctionKey, ...] = ()
    """Candidates that the last plans found no place for, the most wanted first."""
    _tried: int = MAX_WAITING
    """How many of them the latest view showed."""
    _plan: int = 0
    """Number of the latest plan."""
    _renewed: int = 1
    """Number of the latest plan that found no place for a new candidate. Containers that a plan has looked at since,
    and that have not changed, have no place for any that waits."""

    def next(self, registry: Registry, pool: Pool, at: float, *, may_create: bool = False) -> Scope:
        """What the plan that is made now looks at. It no longer counts as new. `may_create`: containers, too."""
        self._plan += 1
        small = len(pool.idle) <= SMALL_NODE[0] and len(registry) <= SMALL_NODE[1]
        if small or (self.thorough_at is not None and self.thorough_at <= at):
            pool.changed.clear()
            for container in pool.idle.values():
                container.looked_at = self._plan
            # `candidates` yields only the functions called last. One whose forecast fell due may not be among them.
            fresh = self._fresh(registry, pool)
            for key in registry.candidates(pool):
                if key not in fresh:
                    fresh[key] = registry.view(key, pool)
            return Scope(tuple(pool.idle.values()), (), tuple(fresh.values()), (), thorough=True)
        # Lists instead of generators: this code runs on every call.
        changed = list(islice((pool.idle[id_] for id_ in pool.changed if id_ in pool.idle), MAX_CHANGED))
        for container in changed:
            del pool.changed[container.id]
        fresh = self._fresh(registry, pool)
        if not fresh:
            changed = [container for container in changed if container.looked_at < self._renewed]
        for container in changed:
            container.looked_at = self._plan
        # Where nothing has changed, and none can be created, there is no place for those that found none before.
        self._tried = MAX_WAITING if changed or may_create else 0
        waiting = [registry.candidate_view(key, pool) for key in self.waiting[: self._tried] if key not in fresh]
        others: list[Container] = []
        if fresh:
            seen = {container.id for container in changed}
            others = [container for container in islice(pool.idle.values(), MAX_OTHERS) if container.id not in seen]
        tried = tuple([view for view in waiting if view is not None])
        return Scope(tuple(changed), tuple(others), tuple(fresh.values()), tried, thorough=False)

    def _fresh(self, registry: Registry, pool: Pool) -> dict[FunctionKey, FunctionView]:
        fresh: dict[FunctionKey, FunctionView] = {}
        for key in list(islice(pool.new_candidates, MAX_NEW)):
            del pool.new_candidates[key]
            if (view := registry.candidate_view(key, pool)) is not None:
                fresh[key] = view
        return fresh

    def note_plan(self, scope: Scope, plan: PreloadPlan, put_off: Sequence[FunctionKey]) -> None:
        """Note what a plan says about the next views.

        `put_off` are functions whose load was suggested and did not begin: room is being made for them (a call may
        still take it), or the suggestion was rejected.
        """
        waiting = (*put_off, *plan.waiting)
        if any(view.key in waiting for view in scope.candidates):
            self._renewed = self._plan
        if scope.thorough:
            self.thorough_at, self.waiting = plan.wake_at, waiting
            return
        tried = set(waiting)
        untried = [key for key in self.waiting[self._tried :] if key not in tried]
        self.waiting = (*waiting, *untried)[: 4 * MAX_WAITING]
        if plan.wake_at is not None and (self.thorough_at is None or plan.wake_at < self.thorough_at):
            self.thorough_at = plan.wake_at
