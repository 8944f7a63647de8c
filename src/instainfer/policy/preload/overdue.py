"""Finds overdue residents: their functions were very likely to be called by now, and were not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...core.lifecycle import UNLOADING
from ...core.model import Origin
from ...core.ports import NodeView, SuggestOffload

LOOK_EVERY_S: Final = 10.0
"""Seconds between two thorough plans of the policies that off-load: residents lose value while they are not called."""


def overdue(view: NodeView, p_offload: float) -> Iterator[SuggestOffload]:
    """Suggest to end pre-loaded residents whose call should have come with probability `p_offload`."""
    for container in view.containers:
        for resident in container.residents:
            function = view.known.functions.get(resident.function)
            if function is None or function.forecast is None or resident.origin is not Origin.PRELOAD:
                continue
            if resident.state is not UNLOADING and function.forecast.due_at(p_offload) <= view.at:
                yield SuggestOffload(
                    container.id, function.key, f"not called although P(call) has passed {p_offload:g}"
                )


def overdue_at(view: NodeView, p_offload: float) -> Iterator[float]:
    """The moments at which functions with residents are overdue. Some may have passed already."""
    for container in view.containers:
        for resident in container.residents:
            function = view.known.functions.get(resident.function)
            if function is not None and function.forecast is not None:
                yield function.forecast.due_at(p_offload)
