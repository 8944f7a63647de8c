"""The command ``instainfer profile`` measures a cost set on this machine, for ``instainfer simulate --costs``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .doors import Doors
from .output import console, note, show, table, try_writing
from .settings import configuration
from .values import seconds, size

if TYPE_CHECKING:
    from ..sim.costs import CostSet, FunctionCosts


def profile(
    ctx: typer.Context,
    functions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|DIR",
            help="Example functions by name, others by folder; default: every example.",
            show_default=False,
        ),
    ] = None,
    *,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the cost set there; default: to standard output.", show_default=False),
    ] = None,
    repeat: Annotated[int, typer.Option(metavar="N", min=1, help="Starts of each kind; medians are taken.")] = 5,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Real weights; default: the folder's own, of examples seeded ones."),
    ] = None,
) -> None:
    """Measure what things cost on this machine, as a cost set for `instainfer simulate --costs`.

    Functions are deployed on private platforms and called until every kind of start has been seen. A folder is as for
    `instainfer deploy`, with a sample.json: the request of its calls. Leave the machine alone meanwhile. Every example,
    five times each, takes about a quarter of an hour, and the first time as long again for environments and weights.
    """
    # The set-up takes minutes, so a mistake in the configuration has to be reported before it.
    configuration()
    from ..experiments.profile import Options
    from ..sim.costs import dump

    if out is not None:
        try_writing(out)
    costs = ctx.ensure_object(Doors).profile(Options(tuple(functions or ()), repeat, weights), console(sys.stderr))
    if out is None:
        sys.stdout.write(dump(costs).decode())
    else:
        out.write_bytes(dump(costs))
        _show(costs)
        note(costs.source)
        note(f"written to {out}; simulate with it: instainfer simulate TRACE --costs {out}")


def _show(costs: CostSet) -> None:
    columns = ("libraries", "forked", "model", "fast", "compute", "resident", "forked adds", "own fork")
    rows = [(name, *_cells(each)) for name, each in costs.functions.items()]
    end_s = costs.end_s + costs.end_s_per_gib / 4
    show(
        table(["function", *columns], rows, right=columns),
        "",
        f"container {seconds(costs.container_s)}, hand-off {seconds(costs.handoff_s)}, "
        f"end of 256 MB {seconds(end_s)}, spread {costs.noise_sigma:.0%}",
    )


def _cells(each: FunctionCosts) -> tuple[str, ...]:
    fast = seconds(each.fast_model_s) if each.fast_model_s is not None else "–"
    times = (seconds(value) for value in (each.library_s, each.fork_s, each.model_s))
    sizes = (size(value) for value in (each.resident_bytes, each.forked_bytes))
    own = seconds(each.function_template.fork_s) if each.function_template is not None else "–"
    return (*times, fast, seconds(each.compute_s), *sizes, own)
