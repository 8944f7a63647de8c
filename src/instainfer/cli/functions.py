"""The commands ``instainfer functions`` and ``instainfer function show|delete``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.model import MIB
from .doors import platform
from .forking import details, forked, in_words
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, emit_result, note, show, table
from .records import annotation
from .values import moment, seconds, size

if TYPE_CHECKING:
    from rich.table import Table

app = typer.Typer(help="Show or delete one function.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Function, as `instainfer functions` names it.", show_default=False)]


def list_functions(
    ctx: typer.Context, *, as_json: Json = False, api_host: ApiHost = "", auth: Auth = "", home: Home = None
) -> None:
    """List the deployed functions."""
    with platform(ctx, api_host, auth, home) as client:
        found = client.functions()
    if as_json:
        emit_json(found)
    elif not found:
        note("no function is deployed yet; deploy one with `instainfer deploy DIR`")
    else:
        show(_table(found))


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    headers = ["FUNCTION", "VERSION", "KIND", "MEMORY", "TIMEOUT", "DEPLOYED"]
    return table(headers, [_cells(each) for each in found], right=["MEMORY", "TIMEOUT"], clip=["FUNCTION"])


def _cells(function: Mapping[str, Any]) -> tuple[str, ...]:
    from rich.markup import escape

    return (
        escape(function["name"]),
        function["version"],
        str(annotation(function, "exec")),
        size(function["limits"]["memory"] * MIB),
        seconds(function["limits"]["timeout"] / 1000),
        moment(function["updated"]),
    )


@app.command(name="show")
def show_function(
    ctx: typer.Context,
    name: Name,
    *,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Show one function without its code."""
    with platform(ctx, api_host, auth, home) as client:
        found = client.action(name)
        more = details(client, name)
    found |= {"forked": forked(more), "cache_bytes": more.get("cache_bytes")}
    (emit_json if as_json else emit_result)(found)
    if not as_json:
        note(in_words(found["forked"], name))
        if found["cache_bytes"] is not None:
            note(f"its libraries keep {size(found['cache_bytes'])} from one process to the next")


@app.command(name="delete")
def delete_function(
    ctx: typer.Context,
    name: Name,
    *,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Delete one function; its records stay."""
    with platform(ctx, api_host, auth, home) as client:
        deleted = client.delete_action(name)
    if as_json:
        emit_json(deleted)
    else:
        note(f"deleted {deleted['name']}")
