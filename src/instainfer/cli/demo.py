"""The command ``instainfer demo`` measures on this machine what pre-loading saves."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .doors import Doors
from .options import BackendName, Json
from .output import console, emit_json
from .settings import configuration


def demo(
    ctx: typer.Context,
    *,
    full: Annotated[
        bool, typer.Option("--full", help="All eight functions over five minutes, instead of four over one.")
    ] = False,
    trace: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Replay this trace, Azure Functions 2019 layout.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where the results go; default: ./demo-out.")] = None,
    seed: Annotated[int | None, typer.Option(metavar="N", help="Seed of the trace and of the calls in it.")] = None,
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Real weights; default: full-size ones made from a seed.")
    ] = None,
    runs: Annotated[
        str,
        typer.Option(
            metavar="LABEL,LABEL",
            help="Only these: stateless, keep-alive, instainfer, instainfer+templates.",
            show_default=False,
        ),
    ] = "",
    backend: BackendName = None,
    as_json: Json = False,
) -> None:
    """Replay one trace without and with pre-loading, and compare.

    Four times, each on a platform of its own: stateless (a function's process ends with its call), keep-alive (it
    stays), instainfer (idle containers are pre-loaded as well), and instainfer+templates (a miss is fast too: the
    default configuration). Writes output.log, results.json and report.html, anew after every run.
    About four minutes; --full about twenty, or fifteen with three --runs.
    """
    # The set-up takes minutes, so a mistake in the configuration has to be reported before it.
    configuration()
    from ..experiments.demo import Options

    given: dict[str, Any] = {"trace": trace, "out": out, "seed": seed, "weights": weights, "backend": backend}
    labels = tuple(label.strip() for label in runs.split(",") if label.strip())
    options = Options(full=full, runs=labels, **{key: value for key, value in given.items() if value is not None})
    document = ctx.ensure_object(Doors).demo(options, console(sys.stderr if as_json else sys.stdout))
    if as_json:
        emit_json(document)
