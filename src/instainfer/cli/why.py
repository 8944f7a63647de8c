"""The command ``instainfer why WHAT`` explains how a call was placed, or why a function is loaded or not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import records
from .doors import platform
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, show, table
from .records import Record
from .values import seconds, size

if TYPE_CHECKING:
    from rich.table import Table

_ACTIVATION = re.compile(r"[0-9a-f]{32}")
_ACTIONS = {
    "take": "take the idle {container}",
    "wait": "wait until {container} is idle",
    "await": "wait for {container}, which is being created",
    "create": "create a container",
    "make room": "stop {stops}, then create a container",
}
"""The actions of `core.model.Action` in words."""


def why(
    ctx: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="ACTIVATION|FUNCTION", help="An activation's ID or a name.", show_default=False)
    ],
    *,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Explain a decision: how a call was placed, or why a function is loaded or not; with seconds and prices."""
    with platform(ctx, api_host, auth, home) as client:
        if _ACTIVATION.fullmatch(what):
            record = client.activation(what)
            if as_json:
                emit_json(_of_activation(record))
            else:
                _show_activation(record)
            return
        told = client.why(what)
    if as_json:
        emit_json(told)
        return
    for node in told["nodes"]:
        _show_function(what, node)


def _of_activation(record: Record) -> dict[str, Any]:
    return {
        "activationId": record["activationId"],
        "function": records.function(record),
        "startKind": records.start_kind(record) or None,
        "startup_s": records.startup_s(record) if records.phases_s(record) else None,
        "options": records.annotation(record, "options") or [],
    }


def _show_activation(record: Record) -> None:
    from rich.markup import escape

    show(f"[bold]{escape(records.function(record))}[/bold]  {record['activationId']}")
    if records.running(record):
        show("[dim]it has not ended yet; what was decided is told with its end[/dim]")
        return
    show(f"[dim]{records.how_it_went(record)}[/dim]", "")
    options: Sequence[Mapping[str, Any]] = records.annotation(record, "options") or []
    if options:
        show(_options(options), "", "[dim]The first one was chosen: it costs least. What calls of other functions")
        show("[dim]lose is what their residents there are expected to save them.[/dim]")
    elif records.start_kind(record):
        container = records.annotation(record, "container")
        show(f"It was loaded in its own idle container, {container}: nothing costs less, so nothing else was compared.")
    else:
        show("It was refused before a container was chosen.")


def _options(options: Sequence[Mapping[str, Any]]) -> Table:
    rows = []
    for number, option in enumerate(options):
        stops = ", ".join(option.get("stops", ()))
        text = _ACTIONS.get(option["action"], option["action"]).format(container=option.get("container"), stops=stops)
        cost_s = option["start_s"] + option["lost_s"]
        mark = "[green]✓[/green]" if number == 0 else ""
        told = [seconds(value) for value in (option["start_s"], option["lost_s"], cost_s)]
        rows.append((mark, text, option.get("startKind", ""), *told))
    headers = ["", "COULD", "START", "STARTS IN", "OTHERS LOSE", "COSTS"]
    return table(headers, rows, right=["STARTS IN", "OTHERS LOSE", "COSTS"], clip=["COULD"])


def _show_function(name: str, node: Mapping[str, Any]) -> None:
    from rich.markup import escape

    show(f"[bold]{escape(name)}[/bold] on {node['node']}")
    rate = node["calls_per_s"]
    expected = "never called yet" if rate is None else f"{rate * 60:.3g} calls a minute expected"
    show(f"[dim]{expected}; {node['misses_per_s'] * 60:.3g} a minute did not find it loaded[/dim]")
    load = ", ".join(f"{seconds(value)} from {what}" for what, value in node["load_s"].items() if value is not None)
    show(f"[dim]a load takes {load}; a call computes {seconds(node['compute_s'])}[/dim]")
    if node["load_failure"]:
        show(f"[red]not loaded ahead of calls, since its last load failed:[/red] {escape(node['load_failure'])}")
    show("")
    show(_stands(node["stands"]) if node["stands"] else "It is loaded nowhere.", "")
    if node["could_be_made"]:
        show(_could_be_made(node["could_be_made"]), "")
    for each in node["lately"]:
        show(f"[dim]{seconds(each['ago_s'])} ago:[/dim] {escape(each['text'])}")


def _stands(stands: Sequence[Mapping[str, Any]]) -> Table:
    headers = ["CONTAINER", "WHAT", "STATE", "SIZE", "SAVES A MINUTE", "FOR"]
    rows = [
        (
            each["container"],
            each["what"],
            each["state"],
            size(each["bytes"]),
            "–" if each["gain"] is None else seconds(each["gain"] * 60),
            seconds(each["age_s"]),
        )
        for each in stands
    ]
    return table(headers, rows, right=["SIZE", "SAVES A MINUTE", "FOR"])


def _could_be_made(options: Sequence[Mapping[str, Any]]) -> Table:
    headers = ["ONE MORE", "CALLS A MINUTE", "SAVES EACH", "SAVES IN ALL", "PRICE", "SO"]
    rows = [
        (
            each["what"],
            f"{each['calls_per_s'] * 60:.3g}",
            seconds(each["saves_s"]),
            seconds(each["saves_in_all_s"]),
            seconds(each["price_s"]),
            _verdict(each),
        )
        for each in options
    ]
    return table(headers, rows, right=["CALLS A MINUTE", "SAVES EACH", "SAVES IN ALL", "PRICE"])


def _verdict(each: Mapping[str, Any]) -> str:
    if each["saves_in_all_s"] <= each["price_s"]:
        return "not worth its making"
    if each["due_in_s"] is not None:
        return f"due in {seconds(each['due_in_s'])}"
    return "stands already" if each["stands"] else "made where it displaces nothing better"
