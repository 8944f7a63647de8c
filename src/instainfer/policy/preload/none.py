"""No pre-loading: the platform as it would be without us."""

from __future__ import annotations

from ...core.ports import FunctionView, NodeView, PreloadPlan
from ..memoryless import Memoryless


class NoPreloading(Memoryless):
    active = False

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan()

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0
