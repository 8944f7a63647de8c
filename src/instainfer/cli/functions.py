"""The commands ``instainfer functions`` and ``instainfer function show|delete``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..core.model import MIB
from .doors import platform
from .function_page import LATELY, page, problem_lines, problems
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note, show, table
from .records import annotation, full_name
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
        details = client.details() if found else []
        failing = {} if as_json or not found else problems(client.status(), details)
    places = {each["name"]: each.get("places") for each in details}
    found = [{**each, "places": places.get(full_name(each))} for each in found]
    if as_json:
        emit_json(found)
    elif not found:
        note("no function is deployed yet; deploy one with `instainfer deploy DIR`")
    else:
        show(_table(found), *problem_lines(failing))


def _table(found: Sequence[Mapping[str, Any]]) -> Table:
    headers = ["FUNCTION", "VERSION", "KIND", "MEMORY", "TIMEOUT", "READY", "DEPLOYED"]
    return table(headers, [_cells(each) for each in found], right=["MEMORY", "TIMEOUT", "READY"], clip=["FUNCTION"])


def _cells(function: Mapping[str, Any]) -> tuple[str, ...]:
    from rich.markup import escape

    return (
        escape(full_name(function)),
        function["version"],
        str(annotation(function, "exec")),
        _memory(function),
        seconds(function["limits"]["timeout"] / 1000),
        _ready(function["places"]),
        moment(function["updated"]),
    )


def _ready(places: Mapping[str, Any] | None) -> str:
    """How many of the places that are wanted are ready. Empty if none are wanted."""
    return f"{places['ready']} of {places['wanted']}" if places and places["wanted"] else ""


def _memory(function: Mapping[str, Any]) -> str:
    limit = size(function["limits"]["memory"] * MIB)
    return f"auto ({limit})" if annotation(function, "memory") == "auto" else limit


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
        action, detail = client.action(name), client.detail(name)
        keys = [secret["key"] for secret in client.secrets(name)]
        if as_json:
            more = {key: detail[key] for key in ("forked", "places", "cache_bytes")}
            emit_json({**action, **more, "secrets": keys})
        else:
            lately = client.activations(limit=LATELY, name=name)
            show(page(action, detail, client.why(name)["nodes"], lately, keys))


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
        note(f"deleted {full_name(deleted)}")
