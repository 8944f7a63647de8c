"""The command ``instainfer replay`` sends the calls of a trace to a running platform."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import NotFound
from .doors import Doors, address_of, platform
from .options import ApiHost, Auth, Home, Json
from .output import compact, emit_json, note, show, try_writing
from .records import full_name
from .values import data, seconds

if TYPE_CHECKING:
    from ..report.results import Run

_AS_IT_IS = "as configured"
"""Stands for the names of the policies, which a replay does not know: they are set in the running platform."""


def replay(
    ctx: typer.Context,
    trace_file: Annotated[
        Path,
        typer.Argument(
            metavar="TRACE", help="Azure 2019, Azure 2021, or function,seconds; may be .gz.", show_default=False
        ),
    ],
    *,
    function: Annotated[
        list[str] | None,
        typer.Option(
            "-f", "--function", metavar="NAME", help="Take these in turn for its rows; default: all deployed."
        ),
    ] = None,
    data_source: Annotated[
        str,
        typer.Option("--data", metavar="@FILE|JSON|-", help="What every function is asked.", show_default=False),
    ] = "",
    samples: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Without --data: DIR/NAME/sample.json; default: the example functions."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Places the calls inside their minute.")] = 1,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a JSON line for every call.")] = None,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Replay a trace, open-loop, and sum up how its calls went."""
    from ..experiments.platform import Books
    from ..experiments.workload import plan
    from ..report.results import Run, to_json
    from ..traces.read import read

    trace = read(trace_file)
    if log is not None:
        try_writing(log)
    with platform(ctx, api_host, auth, home) as client:
        names = function or sorted(map(full_name, client.functions()))
        if not names:
            raise NotFound("no function is deployed; deploy one with `instainfer deploy DIR`")
        calls = plan(trace, seed, names, _requests(names, data_source, samples))
        before = Books.of(client.status())
        note(f"replaying {len(calls)} calls of {len(names)} functions over {seconds(trace.duration_s)}")
        records = ctx.ensure_object(Doors).replay(calls, address_of(ctx, api_host, auth, home), trace.duration_s)
        books = Books.of(client.status()).since(before)
    if log is not None:
        log.write_text("".join(f"{compact(record.to_json())}\n" for record in records), encoding="utf-8")
    run = Run("replay", _AS_IT_IS, _AS_IT_IS, None, records, books.committed_gb_s, books.used_gb_s, books.preloads)
    if as_json:
        emit_json(to_json([run], seed))
    else:
        _show(run)


def _requests(names: Sequence[str], data_source: str, samples: Path | None) -> dict[str, bytes]:
    """The request for each function: the value of ``--data`` for all of them, else the function's ``sample.json``."""
    from ..environments.sample import sample_request
    from ..examples import examples_dir

    if data_source:
        return dict.fromkeys(names, compact(data(data_source)).encode())
    folder = samples if samples is not None else examples_dir() / "functions"
    return {name: sample_request(folder / name) for name in names}


def _show(run: Run) -> None:
    from ..report.tables import functions, overall

    for part in (*functions([run]), *overall([run])):
        show(part, "")
