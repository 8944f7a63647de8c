"""Residents whose forecast has failed: loaded ahead of a call that was very likely to have come, and has not."""

from __future__ import annotations

from collections.abc import Iterator

from ...core.lifecycle import UNLOADING
from ...core.model import Origin
from ...core.ports import NodeView, SuggestOffload


def overdue(view: NodeView, p_offload: float) -> Iterator[SuggestOffload]:
    """The ends of those that pre-loading has brought, once a call was likely by `p_offload`."""
    for container in view.containers:
        for resident in container.residents:
            function = view.functions.get(resident.function)
            if function is None or function.forecast is None or resident.origin is not Origin.PRELOAD:
                continue
            if resident.state is not UNLOADING and function.forecast.due_at(p_offload) <= view.at:
                yield SuggestOffload(
                    container.id, function.key, f"not called although P(call) has passed {p_offload:g}"
                )


def overdue_at(view: NodeView, p_offload: float) -> Iterator[float]:
    """When those that are resident will be; moments that have passed among them."""
    for container in view.containers:
        for resident in container.residents:
            function = view.functions.get(resident.function)
            if function is not None and function.forecast is not None:
                yield function.forecast.due_at(p_offload)
