"""Names of policies. Other packages add theirs as entry points of the same groups; a name here cannot be taken over.

To add a policy of our own: one file in its folder, one line here; the contract tests pick it up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Final

from ..core.ports import KeepAlive, Predictor, Preloader
from .keepalive.fixed import Fixed
from .predict.poisson import Poisson
from .preload.none import NoPreloading
from .preload.opportunistic import Opportunistic

#: A policy is built from the part of the configuration that is about its kind.
PREDICTORS: Final[Mapping[str, Callable[[Any], Predictor]]] = {
    "poisson": lambda preload: Poisson(preload.window),
}
PRELOADERS: Final[Mapping[str, Callable[[Any], Preloader]]] = {
    "opportunistic": lambda preload: Opportunistic(
        preload.p_load, preload.p_offload, preload.horizon_s, preload.hysteresis, patient=preload.patient
    ),
    "none": lambda preload: NoPreloading(),
}
KEEPALIVES: Final[Mapping[str, Callable[[Any], KeepAlive]]] = {
    "fixed": lambda keepalive: Fixed(keepalive.ttl_s),
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
