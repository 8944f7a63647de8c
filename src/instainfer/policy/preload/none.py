"""The policy that never pre-loads anything: a platform without InstaInfer's main idea, to compare with."""

from __future__ import annotations

from collections.abc import Sequence

from ...core.ports import FunctionView, NodeView, PreloadPlan, Weighed
from ..objective import Valued


class NoPreloading(Valued):
    """Suggests nothing."""

    active = False

    def plan(self, view: NodeView) -> PreloadPlan:
        return PreloadPlan()

    def weigh(self, function: FunctionView, at: float) -> Sequence[Weighed]:
        return ()

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0
