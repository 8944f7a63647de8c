"""The command ``instainfer status`` shows the memory, the containers, and which functions they hold and why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from .doors import Doors, platform
from .options import ApiHost, Auth, Home, Json
from .output import console, emit_json
from .values import duration_s
from .views import Shape, status_view

if TYPE_CHECKING:
    from ..client import Client


def status(
    ctx: typer.Context,
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again and again until Ctrl-C.")] = False,
    every: Annotated[
        float | None,
        typer.Option(parser=duration_s, metavar="SECONDS", help="With --watch: time between two looks; default: 1."),
    ] = None,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Show what is resident where and why, memory, queue and isolation."""
    with platform(ctx, api_host, auth, home) as client:
        if watch:
            _watch(_looks(client, ctx.ensure_object(Doors), every or 1.0), as_json)
        elif as_json:
            emit_json(client.status())
        else:
            out = console()
            out.print(status_view(client.status(), out.width))


def _looks(client: Client, doors: Doors, every_s: float) -> Iterator[Shape]:
    while True:
        yield client.status()
        doors.tick(every_s)


def _watch(looks: Iterator[Shape], as_json: bool) -> None:
    if as_json:
        for found in looks:
            emit_json(found)
        return
    from rich.live import Live

    out = console()
    with Live(console=out, auto_refresh=False, screen=out.is_terminal) as live:
        for found in looks:
            live.update(status_view(found, out.width), refresh=True)
