"""The names of all policies. Other packages can add policies by entry points, but cannot replace a name listed here.

To add a policy to this package, write one file in its folder and add one line here. The contract tests then test it.
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
from .keepalive.objective import Objective
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
    """Load a function of `instainfer.forecasting`, the only package that may import statistics libraries, and call it.

    `place` is ``module:function``. It is loaded by name, like an entry point of another package, because `policy` may
    not import that package. Raises `HostError` when the library is not installed.
    """
    return EntryPoint(place, f"instainfer.forecasting.{place}", "instainfer.forecasting").load()()


def _auto(preload: Any) -> Predictor:
    """Build `Auto` from the predictors that the configuration names. Raises `KeyError` for an unknown one."""
    # `by_gaps`: the rates of all members have to be comparable, so the paper's surplus of one call is left out.
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


#: Each function builds a policy from the part of the configuration for its kind of policy.
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
        preload.p_load, preload.processor_price_s, max_residents=preload.max_residents
    ),
    "templates": lambda preload: Opportunistic(preload.p_load, preload.processor_price_s, residents=False),
    "own": lambda preload: Own(preload.p_load),
    "published": lambda preload: Published(preload.p_load, preload.p_offload),
    "none": lambda preload: NoPreloading(),
}
KEEPALIVES: Final[Mapping[str, Callable[[Any], KeepAlive]]] = {
    "objective": lambda keepalive: Objective(keepalive.memory_price_s),
    "fixed": lambda keepalive: Fixed(keepalive.ttl_s),
    "histogram": _hybrid_histogram,
    "greedy_dual": lambda keepalive: GreedyDual(),
    "pagurus": lambda keepalive: Pagurus(keepalive.zygote_s, keepalive.lifetime_s),
}


def find(kind: str, known: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The function that builds the policy `name`. `kind` is ``predictors``, ``preloaders`` or ``keepalives``.

    Raises `KeyError`, which lists the known names, if the name is unknown.
    """
    if name in known:
        return known[name]
    found = {entry.name: entry for entry in entry_points(group=f"instainfer.{kind}")}
    if name in found:
        added: Callable[..., Any] = found[name].load()
        return added
    raise KeyError(f"no policy {name!r} among the {kind}; there are: {', '.join(sorted({*known, *found}))}")


def keepalive(config: Any) -> KeepAlive:
    """The keep-alive policy that this part of the configuration describes, with separate ones for some namespaces.

    Raises `KeyError`, which lists the known names, if a policy is unknown.
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
    """All policies of a node, built from the two parts of the configuration.

    Raises `KeyError`, which lists the known names, if a policy is unknown.
    """
    return Policies(
        keepalive(keepalive_config),
        find("predictors", PREDICTORS, preload_config.predictor)(preload_config),
        find("preloaders", PRELOADERS, preload_config.policy)(preload_config),
    )
