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

PREDICTORS: Final[Mapping[str, Callable[..., Predictor]]] = {"poisson": Poisson}
PRELOADERS: Final[Mapping[str, Callable[..., Preloader]]] = {"opportunistic": Opportunistic, "none": NoPreloading}
KEEPALIVES: Final[Mapping[str, Callable[..., KeepAlive]]] = {"fixed": Fixed}


def find(kind: str, known: Mapping[str, Callable[..., Any]], name: str) -> Callable[..., Any]:
    """The class for `name`; `kind` is ``predictors``, ``preloaders`` or ``keepalives``. Unknown names: `KeyError`."""
    if name in known:
        return known[name]
    found = {entry.name: entry for entry in entry_points(group=f"instainfer.{kind}")}
    if name in found:
        added: Callable[..., Any] = found[name].load()
        return added
    raise KeyError(f"no policy {name!r} among the {kind}; there are: {', '.join(sorted({*known, *found}))}")
