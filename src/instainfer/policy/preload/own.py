"""Pre-loading without a scheduler (the ablation NS of SoCC 2024, Fig. 15).

A function is loaded only into an idle container that is kept for it, when its forecast falls due and the container
holds no other function. No function is ever displaced.
"""

from __future__ import annotations

import math

from ...core.lifecycle import LOADED, UNLOADING
from ...core.model import FunctionKey, is_template
from ...core.ports import ContainerView, FunctionView, NodeView, PreloadPlan, SuggestLoad
from ..objective import Valued
from .overdue import LOOK_EVERY_S


class Own(Valued):
    """`p_load` is the probability of a call at which a function is due."""

    active = True

    def __init__(self, p_load: float = 0.06) -> None:
        self.p_load = p_load

    def plan(self, view: NodeView) -> PreloadPlan:
        loads: list[SuggestLoad] = []
        later: list[float] = []
        begun: set[FunctionKey] = set()
        for container in view.containers:
            function = self._wanted(container, view)
            if function is None or function.key in begun:
                continue
            due_at = -math.inf if function.forecast is None else function.forecast.due_at(self.p_load)
            if due_at > view.at:
                later.append(due_at)
            elif len(loads) < view.load_slots:
                loads.append(self._suggest(container, function, view.at))
                begun.add(function.key)  # it may have several idle containers
            else:
                later.append(view.at + LOOK_EVERY_S)
        return PreloadPlan(tuple(loads), min((when for when in later if when < math.inf), default=None))

    def _wanted(self, container: ContainerView, view: NodeView) -> FunctionView | None:
        function = view.known.functions.get(container.owner) if container.owner is not None else None
        if function is None or any(r.function == function.key for r in container.residents):
            return None
        others = any(not is_template(r.function) and r.state is not UNLOADING for r in container.residents)
        need_bytes = self._bytes(container, function)
        return None if others or container.free_bytes < need_bytes else function

    def _suggest(self, container: ContainerView, function: FunctionView, at: float) -> SuggestLoad:
        need_bytes = self._bytes(container, function)
        return SuggestLoad(container.id, function.key, need_bytes, self.worth(function, at), (), "served here last")

    def _bytes(self, container: ContainerView, function: FunctionView) -> int:
        ready = any(r.function == function.template and r.state is LOADED for r in container.residents)
        return function.forked_bytes if ready else function.resident_bytes
