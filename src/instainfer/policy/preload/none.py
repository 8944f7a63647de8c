"""The policy that never pre-loads anything: a platform without InstaInfer's main idea, to compare with."""

from __future__ import annotations

from ...core.ports import FunctionView, NodeView, PreloadPlan
from ..objective import Valued


class NoPreloading(Valued):
    """Suggests nothing."""

    active = False

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan()

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0
