"""The command ``instainfer init NAME`` writes the folder of a new function that works, to be changed into one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from .options import Json
from .output import emit_json, note

Template = Literal["plain", "script", "sklearn", "onnx", "torch", "transformers"]


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="NAME", help="The function's name; also a path to it.", show_default=False)
    ],
    *,
    template: Annotated[
        Template, typer.Option("--template", "-t", help="What the function uses; plain and script: Python alone.")
    ] = "plain",
    as_json: Json = False,
) -> None:
    """Write the folder of a new function, with a handler, a sample request and a README."""
    from ..starters import write_starter

    name = write_starter(template, folder)
    if as_json:
        emit_json({"name": name, "folder": str(folder), "files": sorted(file.name for file in folder.iterdir())})
        return
    note(f"{folder} is written; begin with its README.md, or at once with `instainfer dev {shlex.quote(str(folder))}`")
