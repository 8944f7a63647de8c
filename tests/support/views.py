"""Hand-made views of a node, for pre-loading policies."""

from __future__ import annotations

from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import MIB, Origin
from instainfer.core.ports import ContainerView, FunctionView, NodeView, ResidentView, TemplateView
from instainfer.policy.predict.poisson import PoissonForecast

AT = 1000.0
TEMPLATE = "template:t/env"


def every(seconds: float, last: float = AT - 5.0) -> PoissonForecast:
    """Called once in so many seconds."""
    return PoissonForecast(5, last - 5 * seconds, last, 5 * seconds)


def view(
    functions: dict[str, tuple[PoissonForecast | None, float, int]],
    containers: dict[str, tuple[int, list[str]]],
    slots: int = 1,
    origin: Origin = Origin.PRELOAD,
    *,
    templates: bool = False,
) -> NodeView:
    """Functions: forecast, load seconds, MiB. Containers: free MiB, loaded residents."""
    places = [f for _, residents in containers.values() for f in residents]
    views = {
        key: FunctionView(
            key,
            "t",
            load_s,
            size * MIB,
            size * MIB // 4,
            forecast,
            places.count(key),
            TEMPLATE if templates else None,
        )
        for key, (forecast, load_s, size) in functions.items()
    }
    return NodeView(
        AT,
        tuple(
            ContainerView(
                name,
                "t",
                free * MIB,
                0,
                tuple(
                    ResidentView(
                        f,
                        ResidentState.LOADED,
                        origin,
                        (150 if f == TEMPLATE else functions[f][2]) * MIB,
                        f == TEMPLATE,
                    )
                    for f in residents
                ),
            )
            for name, (free, residents) in containers.items()
        ),
        tuple(each for each in views.values() if each.copies == 0),
        views,
        {TEMPLATE: TemplateView(TEMPLATE, "t", 1.3, 150 * MIB)} if templates else {},
        slots,
        first_rate=1 / 1800,
    )
