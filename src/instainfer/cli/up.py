"""The command ``instainfer up`` runs the platform in the foreground."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any

import typer

from .doors import Doors
from .options import BackendName, Home, Json
from .output import emit_json
from .settings import configuration
from .values import duration_s, size_mb


def up(
    ctx: typer.Context,
    *,
    port: Annotated[int | None, typer.Option(metavar="N", help="TCP port; 0 takes a free one.")] = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on; default: loopback only.", show_default=False)
    ] = "",
    memory: Annotated[
        int | None,
        typer.Option(
            parser=size_mb, metavar="SIZE", help="Memory of all containers, 10GB say; default: half of the machine's."
        ),
    ] = None,
    home: Home = None,
    backend: BackendName = None,
    preload: Annotated[
        str | None, typer.Option(metavar="POLICY", help="What to load into idle containers: opportunistic, or none.")
    ] = None,
    keep_alive: Annotated[
        float | None,
        typer.Option(
            parser=duration_s, metavar="SECONDS", help="End idle containers after this time: the policy fixed."
        ),
    ] = None,
    no_retain: Annotated[
        bool, typer.Option("--no-retain", help="End a function's process with each call; its container stays.")
    ] = False,
    allow_shared_uid: Annotated[
        bool,
        typer.Option(
            "--allow-shared-uid", help="As root, run functions that can have no user id of their own as root."
        ),
    ] = False,
    story: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write every event and decision with its reason, a JSON line each."),
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write this file, with the address, once calls are taken.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the platform here; Ctrl-C ends it and everything it started.

    What is not given comes from the environment, from instainfer.toml, or is the default: see `instainfer config`.
    """
    doors = ctx.ensure_object(Doors)
    config = configuration(
        **_given(
            home=home,
            server=_given(host=host or None, port=port),
            node=_given(
                memory_mb=memory,
                retain=False if no_retain else None,
                backend=backend,
                allow_shared_uid=True if allow_shared_uid else None,
            ),
            keepalive=_given(policy=None if keep_alive is None else "fixed", ttl_s=keep_alive),
            preload=_given(policy=preload),
        )
    )
    announce = _announce_json if as_json else functools.partial(print, flush=True)
    raise typer.Exit(doors.serve(config, story=story, ready_file=ready_file, announce=announce))


def _given(**values: Any) -> dict[str, Any]:
    """The options that were given on the command line.

    Options that were not given are left out, because they would hide the values from the environment and from the
    configuration file.
    """
    return {key: value for key, value in values.items() if value is not None and value != {}}


def _announce_json(line: str) -> None:
    emit_json({"message": line})
