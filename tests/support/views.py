"""Hand-made views of a node, for pre-loading policies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import MIB, Origin, function_template_key, is_template
from instainfer.core.ports import (
    ContainerView,
    FunctionView,
    Known,
    NodeView,
    Preloader,
    ResidentView,
    TemplateView,
)
from instainfer.policy.objective import Valued
from instainfer.policy.predict.poisson import PoissonForecast

AT = 1000.0
TEMPLATE = "template:t/env"
LIBRARY_MIB = 150
FORK_S = 0.005


def every(seconds: float, last: float = AT - 5.0) -> PoissonForecast:
    """Called once in so many seconds."""
    return PoissonForecast(5, last - 5 * seconds, last, 5 * seconds)


def exactly(rate: float) -> PoissonForecast:
    """So many calls per second at `AT`, and due since long."""
    return PoissonForecast(5, AT - 5 / rate, AT - 4 / rate, 1 / rate)


def function(
    key: str,
    forecast: PoissonForecast | None,
    load_s: float = 2.0,
    mib: int = 100,
    *,
    lacks: float = 0.0,
    own: bool = False,
    **more: Any,
) -> FunctionView:
    """A function. `lacks` counts once it has a resident. With `own`, a function template can be made, which saves the
    whole load and is as large as a resident."""
    if own:
        more = {
            "own_template": function_template_key(key),
            "own_bytes": mib * MIB,
            "own_saves_s": load_s,
            "misses": 0 if forecast is None else forecast.count,
            "missed_since": 0.0 if forecast is None else forecast.first_at,
        } | more
    return FunctionView(key, "t", load_s, mib * MIB, mib * MIB // 4, forecast, 0, lacks=lacks, **more)


def resident(
    key: str, mib: int, state: ResidentState = ResidentState.LOADED, origin: Origin = Origin.PRELOAD
) -> ResidentView:
    return ResidentView(key, state, origin, mib * MIB, is_template(key))


def container(
    name: str, free_mib: int, residents: Sequence[ResidentView] = (), *, namespace: str = "t", limit_mib: int = 0
) -> ContainerView:
    """An idle container. Its limit is what its residents leave free, unless it is given."""
    charged_bytes = sum(each.charged_bytes for each in residents)
    freeing_bytes = sum(each.charged_bytes for each in residents if each.state is ResidentState.UNLOADING)
    limit_bytes = limit_mib * MIB or free_mib * MIB + charged_bytes
    return ContainerView(name, namespace, limit_bytes, free_mib * MIB, freeing_bytes, tuple(residents))


def library(misses_per_s: float = 1 / 60, *, library_s: float = 1.3) -> TemplateView:
    return TemplateView(TEMPLATE, "t", library_s, LIBRARY_MIB * MIB, misses_per_s)


def node(
    functions: Sequence[FunctionView],
    containers: Sequence[ContainerView],
    slots: int = 1,
    *,
    libraries: Sequence[TemplateView] = (),
    preloader: Preloader | Valued | None = None,
    spare_mib: int = 0,
    spends: Callable[[str], bool] = lambda namespace: False,
    **more: Any,
) -> NodeView:
    """What a node knows of these functions, which are all candidates. What has copies is seen from the containers."""
    stands = [
        each.function for place in containers for each in place.residents if each.state is not ResidentState.UNLOADING
    ]
    policy = Valued() if preloader is None else preloader
    views = {each.key: _counted(each, stands) for each in functions}
    templates = {each.key: replace(each, copies=stands.count(each.key)) for each in libraries}
    sizes = {each.key: each.resident_bytes for each in libraries}
    views = {key: replace(each, library_bytes=sizes.get(each.library or "", 0)) for key, each in views.items()}
    known = Known(views, templates)
    fields: dict[str, Any] = {"candidates": tuple(views.values()), "first_rate": 1 / 1800} | more
    return NodeView(
        AT,
        tuple(containers),
        known=known,
        load_slots=slots,
        contents=lambda place: policy.contents(place, known, AT),
        spare_bytes=spare_mib * MIB,
        spends=spends,
        **fields,
    )


def _counted(function: FunctionView, stands: Sequence[str]) -> FunctionView:
    copies, own = stands.count(function.key), function_template_key(function.key)
    view = replace(function, copies=copies, own_copies=stands.count(own), lacks=function.lacks if copies else 1.0)
    # With a function template at hand, this is what everything is forked from.
    return replace(view, load_s=FORK_S, template=own) if view.own_copies else view


def view(
    functions: Mapping[str, tuple[PoissonForecast | None, float, int]],
    containers: Mapping[str, tuple[int, Sequence[str]]],
    slots: int = 1,
    origin: Origin = Origin.PRELOAD,
    *,
    templates: bool = False,
) -> NodeView:
    """Functions: forecast, load seconds, MiB. Containers: free MiB, loaded residents. No function has a template of its
    own; with `templates`, all may be forked from a library template."""
    places = [
        container(
            name,
            free_mib,
            [resident(each, LIBRARY_MIB if each == TEMPLATE else functions[each][2], origin=origin) for each in holds],
        )
        for name, (free_mib, holds) in containers.items()
    ]
    forked_from = TEMPLATE if templates else None
    known = [
        function(key, forecast, load_s, mib, template=forked_from, library=forked_from)
        for key, (forecast, load_s, mib) in functions.items()
    ]
    seen = node(known, places, slots, libraries=[library()] if templates else [])
    return replace(seen, candidates=tuple(each for each in seen.candidates if each.copies == 0))
