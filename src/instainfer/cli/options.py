"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON and nothing else.")]

Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        metavar="DIR",
        help="Folder of the platform's state; default: see `instainfer config show`.",
        show_default=False,
    ),
]

ApiHost = Annotated[
    str,
    typer.Option(
        "--api-host", metavar="URL", help="Platform to talk to; default: the one in --home.", show_default=False
    ),
]

Auth = Annotated[
    str,
    typer.Option("--auth", metavar="KEY", help="Key; default: the one in --home.", show_default=False),
]

BackendName = Annotated[
    str | None,
    typer.Option("--backend", metavar="NAME", help="How containers are made: process, or docker.", show_default=False),
]
