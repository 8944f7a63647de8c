"""The command ``instainfer activations [ID]`` lists the activations with start kind and times, or shows one of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import NotFound
from . import records
from .doors import platform
from .options import ApiHost, Auth, Home, Json
from .output import console, emit_json, emit_result, note, show, table
from .records import Record
from .values import duration_s, moment, seconds

if TYPE_CHECKING:
    from rich.table import Table

WIDE = 100
"""Least width of the terminal, in characters, with which the list also shows the columns COMPUTE and STATUS."""
BAR_WIDTH = 40
"""Width, in characters, of the bars of all phases together."""


def activations(
    ctx: typer.Context,
    activation: Annotated[str, typer.Argument(metavar="ID", help="One activation, in full.", show_default=False)] = "",
    *,
    limit: Annotated[int, typer.Option(min=1, max=200, help="At most so many, the newest.")] = 30,
    skip: Annotated[int, typer.Option(min=0, help="Leave out so many of the newest.")] = 0,
    name: Annotated[str, typer.Option(metavar="FUNCTION", help="Only those of one function.", show_default=False)] = "",
    since: Annotated[
        float | None,
        typer.Option(parser=duration_s, metavar="AGE", help="Only those begun within AGE: 90s, 10min, 2h."),
    ] = None,
    last: Annotated[bool, typer.Option("--last", help="The newest one in full, of one function with --name.")] = False,
    logs: Annotated[bool, typer.Option("--logs", help="Only what the activation printed.")] = False,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """List activations, newest first, or show one."""
    if logs and not (activation or last):
        raise typer.BadParameter("needs the ID of an activation, or --last", param_hint="--logs")
    if activation and last:
        raise typer.BadParameter("takes no ID", param_hint="--last")
    with platform(ctx, api_host, auth, home) as client:
        if last:
            newest = client.activations(limit=1, name=name or None)
            activation = newest[0]["activationId"] if newest else ""
            if not activation:
                raise NotFound(f"there is no activation{f' of {name}' if name else ''} yet")
        if activation:
            _show_one(client.activation(activation), logs, as_json)
            return
        since_ms = None if since is None else int((time.time() - since) * 1000)
        found = client.activations(limit=limit, name=name or None, skip=skip, since=since_ms)
    if as_json:
        emit_json(found)
    elif not found:
        note("no activation yet; call a function with `instainfer invoke NAME`")
    else:
        show(_table(found, console().width))


def _table(found: Sequence[Record], columns: int) -> Table:
    wide = columns >= WIDE
    headers = ["BEGAN", "ACTIVATION", "", "FUNCTION", "START", "START-UP", *(["COMPUTE", "STATUS"] if wide else [])]
    rows = [_cells(record)[: len(headers)] for record in found]
    return table(headers, rows, right=["START-UP", "COMPUTE"], clip=["FUNCTION"])


def _cells(record: Record) -> tuple[str, ...]:
    from rich.markup import escape

    kind = records.start_kind(record)
    return (
        moment(record["start"]),
        str(record["activationId"]),
        _mark(record),
        escape(records.function(record)),
        f"[{records.START_COLOURS[kind]}]{kind}[/]" if kind in records.START_COLOURS else kind or "–",
        seconds(records.startup_s(record)) if records.phases_s(record) else "–",
        seconds(records.compute_s(record)) if kind and records.phases_s(record) else "–",
        records.status(record),
    )


def _mark(record: Record) -> str:
    if records.running(record):
        return "[dim]…[/dim]"
    return "[green]✓[/green]" if records.succeeded(record) else "[red]✗[/red]"


def _show_one(record: Record, only_logs: bool, as_json: bool) -> None:
    lines = record.get("logs", [])
    if as_json:
        emit_json(lines if only_logs else record)
        return
    if only_logs:
        for line in lines:
            print(line)
        return
    from rich.markup import escape

    head = f"{_mark(record)} [bold]{escape(records.function(record))}[/bold]  {record['activationId']}"
    show(f"{head}  {records.status(record)}", f"[dim]began {records.started(record):%Y-%m-%d %H:%M:%S}[/dim]")
    if records.running(record):
        return
    show(f"[dim]{records.how_it_went(record)}[/dim]", "", _waterfall(records.phases_s(record)), "")
    emit_result(record["response"]["result"])
    if lines:
        show("", "[bold]logs[/bold]")
        for line in lines:
            print(line)


def _waterfall(phases: Mapping[str, float]) -> Table:
    """A chart with a bar for each phase. Each bar begins where the bar of the phase before it ended."""
    from rich.table import Table

    whole = sum(phases.values()) or 1.0
    rows = Table.grid(padding=(0, 2))
    rows.add_column()
    rows.add_column(justify="right")
    rows.add_column()
    done = 0.0
    for phase, value in phases.items():
        if value == 0:
            continue
        first, last = (round(BAR_WIDTH * share) for share in (done / whole, (done + value) / whole))
        length = max(last - first, 1)
        indent = " " * min(first, BAR_WIDTH - 1)
        rows.add_row(f"  {phase}", seconds(value), f"{indent}[{records.PHASES[phase]}]{'█' * length}[/]")
        done += value
    return rows
