"""Names of policies. Other packages add theirs as entry points of the same groups; a name here cannot be taken over.

To add a policy of our own: one file in its folder, one line here; the contract tests pick it up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from ..core.ports import KeepAlive, Policies, Predictor, Preloader
from .keepalive.by_namespace import ByNamespace
from .keepalive.fixed import Fixed
from .keepalive.greedy_dual import GreedyDual
from .keepalive.histogram import HybridHistogram
from .keepalive.pagurus import Pagurus
from .predict.arima import Arima
from .predict.auto import Auto
from .predict.forest import Forest
from .predict.histogram import Histogram
from .predict.none import NoPredictor
from .predict.poisson import Poisson
from .preload.none import NoPreloading
from .preload.opportunistic import Opportunistic
from .preload.own import Own
from .preload.published import Published


def _library_backed(place: str) -> Any:
    """What makes a fit, from the room that may import libraries, as if another package had added it.

    Raises `HostError` when the library is not installed.
    """
    return EntryPoint(place, f"instainfer.forecasting.{place}", "instainfer.forecasting").load()()


def _auto(preload: Any) -> Predictor:
    """Raises `KeyError` for an unknown member, and for itself."""
    # Rates of its members are compared with each other: without the paper's surplus of one call.
    comparable = {"poisson": lambda preload: Poisson(preload.window, by_gaps=True)}
    others = {name: comparable.get(name, build) for name, build in PREDICTORS.items() if name != "auto"}
    names = [name.strip() for name in preload.members.split(",")]
    return Auto({name: find("predictors", others, name)(preload) for name in names}, preload.horizon_s)


def _hybrid_histogram(keepalive: Any) -> KeepAlive:
    return HybridHistogram(
        bin_s=keepalive.bin_s,
        range_s=keepalive.range_s,
        head=keepalive.head,
        tail=keepalive.tail,
        forecast=_library_backed("arima:forecaster") if keepalive.forecast == "arima" else None,
    )


#: A policy is built from the part of the configuration that is about its kind.
PREDICTORS: Final[Mapping[str, Callable[[Any], Predictor]]] = {
    "poisson": lambda preload: Poisson(preload.window),
    "histogram": lambda preload: Histogram(preload.horizon_s),
    "arima": lambda preload: Arima(_library_backed("arima:fitter"), preload.horizon_s),
    "forest": lambda preload: Forest(_library_backed("forest:fitter"), preload.horizon_s),
    "auto": _auto,
    "none": lambda preload: NoPredictor(),
}
PRELOADERS: Final[Mapping[str, Callable[[Any], Preloader]]] = {
    "opportunistic": lambda preload: Opportunistic(
        preload.p_load,
        preload.p_offload,
        preload.horizon_s,
        preload.hysteresis,
        preload.least_chance,
        patient=preload.patient,
        max_residents=preload.max_residents,
    ),
    "own": lambda preload: Own(preload.p_load),
    "published": lambda preload: Published(preload.p_load, preload.p_offload),
    "none": lambda preload: NoPreloading(),
}
KEEPALIVES: Final[Mapping[str, Callable[[Any], KeepAlive]]] = {
    "fixed": lambda keepalive: Fixed(keepalive.ttl_s),
    "histogram": _hybrid_histogram,
    "greedy_dual": lambda keepalive: GreedyDual(),
    "pagurus": lambda keepalive: Pagurus(keepalive.zygote_s, keepalive.lifetime_s),
}


def find(kind: str, known: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """What builds the policy called `name`; `kind` is ``predictors``, ``preloaders`` or ``keepalives``.

    Raises `KeyError`, with the names there are, for an unknown one.
    """
    if name in known:
        return known[name]
    found = {entry.name: entry for entry in entry_points(group=f"instainfer.{kind}")}
    if name in found:
        added: Callable[..., Any] = found[name].load()
        return added
    raise KeyError(f"no policy {name!r} among the {kind}; there are: {', '.join(sorted({*known, *found}))}")


def keepalive(config: Any) -> KeepAlive:
    """The policy that this part of the configuration names, and another one for each namespace that differs.

    Raises `KeyError`, with the names there are, for an unknown policy.
    """

    def built(part: Any) -> KeepAlive:
        policy: KeepAlive = find("keepalives", KEEPALIVES, part.policy)(part)
        return policy

    default, own = built(config), {}
    for namespace, part in config.namespaces.items():
        try:
            own[namespace] = built(part)
        except KeyError as error:
            raise KeyError(f"namespace {namespace}: {error.args[0]}") from error
    return ByNamespace(default, own) if own else default


def policies(keepalive_config: Any, preload_config: Any) -> Policies:
    """All that a node is built with, from the two parts of the configuration.

    Raises `KeyError`, with the names there are, for an unknown policy.
    """
    return Policies(
        keepalive(keepalive_config),
        find("predictors", PREDICTORS, preload_config.predictor)(preload_config),
        find("preloaders", PRELOADERS, preload_config.policy)(preload_config),
    )
