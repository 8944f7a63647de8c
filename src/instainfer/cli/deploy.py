"""The command ``instainfer deploy`` makes a function of a folder, shows the progress, and says how trying it went."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .doors import Doors, platform
from .forking import sample_of, tried
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note
from .records import full_name
from .values import duration_s, memory_mb


def deploy(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with function.toml.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(metavar="N", help="Name; default: function.toml's.", show_default=False)] = "",
    weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder of the weights; default: the function's own.")
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help='Memory limit, 2GB say, or "auto": learned from its runs; default: function.toml\'s.'
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(parser=duration_s, metavar="TIME", help="Time limit, 60s say; default: function.toml's."),
    ] = None,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Do not load the new version and call it with its sample.json before.")
    ] = False,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Deploy a function: send its weights, build its environment, try it with its sample.json, and give it to callers.

    If trying it fails, callers still get the version before.
    """
    from .progress import DeployProgress

    doors = ctx.ensure_object(Doors)
    sample = None if no_check else sample_of(folder)
    check = None
    with platform(ctx, api_host, auth, home) as client:
        with DeployProgress() as progress:
            action = doors.deploy(
                client,
                folder,
                weights,
                progress,
                name=name or None,
                memory_mb=None if memory is None else memory_mb(memory),
                timeout_ms=None if timeout is None else round(timeout * 1000),
                check=not no_check,
            )
        record = action.pop("check", None)
        if not as_json:
            name = full_name(action)
            note(f"{name} {action['version']} is deployed; call it with `instainfer invoke {name}`")
        if record is not None:
            check = tried(client, action, record, doors.tick, with_sample=sample is not None)
    if as_json:
        emit_json(action if check is None else {**action, "check": check})
