"""The command ``instainfer deploy`` makes a function of a folder and shows the progress."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .doors import Doors, platform
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note
from .values import duration_s, size_mb


def deploy(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with function.toml.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(metavar="N", help="Name; default: function.toml's.", show_default=False)] = "",
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the weights; default: the function's own.")
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(parser=size_mb, metavar="SIZE", help="Memory limit, 2GB say; default: function.toml's."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=duration_s, metavar="TIME", help="Time limit, 60s say; default: function.toml's."),
    ] = None,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Deploy a function: send its weights, build its environment, register it."""
    from .progress import DeployProgress

    deploy_into = ctx.ensure_object(Doors).deploy
    with platform(ctx, api_host, auth, home) as client, DeployProgress() as progress:
        action = deploy_into(
            client,
            folder,
            weights,
            progress,
            name=name or None,
            memory_mb=memory,
            timeout_ms=None if timeout is None else round(timeout * 1000),
        )
    if as_json:
        emit_json(action)
    else:
        note(f"{action['name']} {action['version']} is deployed; call it with `instainfer invoke {action['name']}`")
