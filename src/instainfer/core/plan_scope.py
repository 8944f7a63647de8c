"""What the next pre-load plan looks at.

A plan for everything costs functions times containers; calls cannot pay for that. So everything is looked at from time
to time (*thorough*), when the policy asks for it, and between those only what is new: containers that have changed,
functions that have lost their place or have fallen due, and of those that found none before the most wanted ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from .model import FunctionKey
from .pool import Container, Pool
from .ports import FunctionView, NodeView, PreloadPlan
from .registry import Registry
from .views import TemplateViews, Views, container_view, node_view

SMALL_NODE: Final = (8, 16)
"""Idle containers and functions up to which every look is thorough: there is nothing to be spared."""
MAX_CHANGED: Final = 3
"""Containers that have changed, in one look, those first that have first; more wait for the next."""
MAX_NEW: Final = 24
"""New candidates in one look; more wait for the next."""
MAX_OTHERS: Final = 8
"""Containers that new candidates are tried in beside those that have changed."""
MAX_WAITING: Final = 8
"""Candidates without a place that are tried in containers that have changed."""


@dataclass(slots=True)
class PlanScope:
    thorough_at: float | None = 0.0
    """When everything is to be looked at again."""
    waiting: tuple[FunctionKey, ...] = ()
    """Candidates for whom the last plans found no place, the most wanted first."""

    def next_view(self, registry: Registry, pool: Pool, at: float, load_slots: int) -> NodeView:
        small = len(pool.idle) <= SMALL_NODE[0] and len(registry) <= SMALL_NODE[1]
        if small or (self.thorough_at is not None and self.thorough_at <= at):
            pool.changed.clear()
            # Those that have fallen due may not be among the latest called, which are all that is looked at otherwise.
            due = [key for key in islice(pool.new_candidates, MAX_NEW) if registry.is_absent(key, pool)]
            everything = node_view(registry, pool, at, load_slots, due=due)
            seen = {function.key for function in everything.absent}
            pool.new_candidates = {key: None for key in islice(pool.new_candidates, MAX_NEW, None) if key not in seen}
            return everything
        # Lists and no generators, and views that are there are not asked for: all calls pay for this.
        changed = list(islice((pool.idle[id_] for id_ in pool.changed if id_ in pool.idle), MAX_CHANGED))
        for container in changed:
            del pool.changed[container.id]
        fresh: dict[FunctionKey, FunctionView] = {}
        for key in list(islice(pool.new_candidates, MAX_NEW)):
            del pool.new_candidates[key]
            if (view := registry.absent_view(key, pool)) is not None:
                fresh[key] = view
        waiting = [registry.absent_view(key, pool) for key in self.waiting[:MAX_WAITING] if key not in fresh]
        others: list[Container] = []
        if fresh:
            seen = {container.id for container in changed}
            others = [container for container in islice(pool.idle.values(), MAX_OTHERS) if container.id not in seen]
        return NodeView(
            at,
            tuple([container.view or container_view(container, pool) for container in changed]),
            tuple(fresh.values()),
            Views(registry, pool),
            TemplateViews(registry),
            load_slots,
            registry.first_calls.rate(at),
            thorough=False,
            others=tuple([container.view or container_view(container, pool) for container in others]),
            waiting=tuple([view for view in waiting if view is not None]),
        )

    def note_plan(self, view: NodeView, plan: PreloadPlan, put_off: Sequence[FunctionKey]) -> None:
        """Take note of what a plan says about the next ones.

        `put_off`: for whom room is being made, which a call may take away again, or could not be made.
        """
        waiting = (*put_off, *plan.waiting)
        if view.thorough:
            self.thorough_at, self.waiting = plan.wake_at, waiting
            return
        tried = set(waiting)
        untried = [key for key in self.waiting[MAX_WAITING:] if key not in tried]
        self.waiting = (*waiting, *untried)[: 4 * MAX_WAITING]
        if plan.wake_at is not None and (self.thorough_at is None or plan.wake_at < self.thorough_at):
            self.thorough_at = plan.wake_at
