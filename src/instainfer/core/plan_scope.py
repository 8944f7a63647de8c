"""Chooses which containers and functions the next pre-load plan looks at.

The cost of planning for everything grows with the number of functions times the number of containers. This is too much
for every call. So a plan looks at everything (a *thorough* view) only now and then, when the policy asks for it. The
plans in between look at what is new: containers that have changed, functions that have lost their last resident or
whose forecast has fallen due, and the most wanted of the functions that found no place before.
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
"""Largest numbers of idle containers and of functions for which every view is thorough."""
MAX_CHANGED: Final = 3
"""Changed containers in one view, the earliest changed first. The others wait for the next view."""
MAX_NEW: Final = 24
"""New candidates in one view. The others wait for the next view."""
MAX_OTHERS: Final = 8
"""Idle containers that new candidates are tried in, besides those that have changed."""
MAX_WAITING: Final = 8
"""Earlier candidates without a place that are tried in the changed containers of one view."""


@dataclass(slots=True)
class PlanScope:
    """Remembers what the next view has to show."""

    thorough_at: float | None = 0.0
    """When the next thorough view is due. None: not before a policy asks for one."""
    waiting: tuple[FunctionKey, ...] = ()
    """Candidates that the last plans found no place for, the most wanted first."""

    def next_view(self, registry: Registry, pool: Pool, at: float, load_slots: int) -> NodeView:
        """The view for a plan that is made now. What it shows no longer counts as new."""
        small = len(pool.idle) <= SMALL_NODE[0] and len(registry) <= SMALL_NODE[1]
        if small or (self.thorough_at is not None and self.thorough_at <= at):
            pool.changed.clear()
            # `node_view` shows only the functions called last. One whose forecast fell due may not be among them.
            due = [key for key in islice(pool.new_candidates, MAX_NEW) if registry.is_absent(key, pool)]
            everything = node_view(registry, pool, at, load_slots, due=due)
            seen = {function.key for function in everything.absent}
            pool.new_candidates = {key: None for key in islice(pool.new_candidates, MAX_NEW, None) if key not in seen}
            return everything
        # Lists instead of generators, and `container.view` read directly: this code runs on every call.
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
        """Note what a plan says about the next views.

        `put_off` are functions whose load was suggested and did not begin: room is being made for them (a call may
        still take it), or the suggestion was rejected.
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
