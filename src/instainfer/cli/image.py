"""The command ``instainfer image build`` makes the image that the backend ``docker`` makes containers from."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..errors import BadInput
from .doors import Doors
from .options import Json
from .output import console, emit_json
from .settings import configuration

app = typer.Typer(help="The image that the backend docker makes containers from.", no_args_is_help=True)


@app.command()
def build(
    ctx: typer.Context,
    *,
    base: Annotated[
        str,
        typer.Option(
            metavar="IMAGE",
            help="Any image with Python 3.9 or newer as python3; default: python:3.11-slim.",
            show_default=False,
        ),
    ] = "",
    rootfs: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="In place of an image: a folder with a root file system, of debootstrap say."),
    ] = None,
    tag: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the image; default: docker.image.", show_default=False)
    ] = "",
    as_json: Json = False,
) -> None:
    """Make the image: a base with a Python, and the part of InstaInfer that runs inside containers.

    To be called again after InstaInfer was upgraded. Environments are built anew only if the base is another one.
    """
    if base and rootfs is not None:
        raise BadInput("give --base or --rootfs, not both")
    name = tag or configuration().docker.image
    shown = console(sys.stderr if as_json else sys.stdout)
    image = ctx.ensure_object(Doors).build_image(
        name, base or None, rootfs, lambda text: shown.print(text, style="dim")
    )
    if as_json:
        emit_json({"image": name, "id": image})
    else:
        shown.print(f"made {name} ({image})", highlight=False)
