"""What may stand in a simulated container, with its costs under the platform's configuration."""

from __future__ import annotations

from dataclasses import replace

from ..core.model import FROM_FUNCTION, FROM_LIBRARIES, FROM_NOTHING, ResidentKey, Source
from ..core.values import value
from .costs import EnvironmentCosts, FunctionCosts, FunctionTemplateCosts
from .cpu import UNDISTURBED, Company


@value(frozen=True, slots=True)
class Loadable:
    """The costs of one function or template under the platform's configuration."""

    library_s: float
    model_s: float
    load_cores: float
    size_bytes: int
    """The size that one load adds."""
    warmup_s: float | None = None
    """Seconds of the warm-up after the load, or of what makes a function template fit and proves it."""
    first_s: float = 0.0
    """Seconds of the first call in a process that was not warmed up."""
    compute_s: float = 0.0
    compute_cores: float = 1.0
    company: Company = UNDISTURBED
    """How fast a call is beside other work."""
    template: ResidentKey | None = None
    """The library template from which it is forked; None if it is loaded without one."""
    source: Source = FROM_NOTHING
    """What it is made from."""
    is_template: bool = False


def of_library_template(costs: EnvironmentCosts, load_cores: float) -> Loadable:
    return Loadable(costs.library_s, 0.0, load_cores, costs.template_bytes, is_template=True)


def of_function(costs: FunctionCosts, template: ResidentKey | None, *, fast: bool, cores: float) -> Loadable:
    """A function without a function template; `template` is its library template, if it has one.

    `fast` tells whether the platform honours ``fast_init``, and `cores` is how many processors it has (0: enough).
    """
    forked = template is not None
    return Loadable(
        costs.fork_s if forked else costs.library_s,
        costs.model(fast=fast),
        costs.load_cores,
        costs.forked_bytes if forked else costs.resident_bytes,
        costs.warmup_s,
        costs.first_compute(forked=forked),
        costs.compute(forked=forked),
        costs.compute_cores,
        Company(costs.crowded(cores), 1.0 / costs.beside_load) if cores else UNDISTURBED,
        template,
        FROM_NOTHING if template is None else FROM_LIBRARIES,
    )


def of_function_template(own: FunctionTemplateCosts, costs: FunctionCosts, loaded: Loadable) -> Loadable:
    """A function template, which is loaded as its function is (`loaded`), and then made fit."""
    libraries_bytes = max(0, costs.resident_bytes - costs.forked_bytes) if loaded.template is None else 0
    return replace(
        loaded, size_bytes=own.bytes + libraries_bytes, warmup_s=own.make_s if own.make_s else None, is_template=True
    )


def of_forked(own: FunctionTemplateCosts, loaded: Loadable) -> Loadable:
    """A function as it is forked from its function template: it is warmed up."""
    return replace(
        loaded,
        library_s=own.fork_s,
        model_s=0.0,
        size_bytes=own.forked_bytes,
        warmup_s=None,
        first_s=loaded.compute_s if own.first_compute_s is None else own.first_compute_s,
        template=None,
        source=FROM_FUNCTION,
    )
