"""The command ``instainfer dev DIR`` deploys a function, and again after each change, and shows what comes of it."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import BadFunction, HostError, NotAllowed, NotFound, Unreachable, UserError, one_line
from .doors import Doors, platform
from .forking import sample_of
from .logs import Tail
from .options import ApiHost, Auth, Home
from .output import complain, emit_result, note
from .records import error_text, full_name, how_it_went, succeeded

if TYPE_CHECKING:
    from ..client import Client


def dev(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The function's folder.", show_default=False)],
    *,
    name: Annotated[str, typer.Option(metavar="N", help="Name; default: function.toml's.", show_default=False)] = "",
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Deploy a function again after each change, call it with its sample.json, and show its logs and errors."""
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}; write one with `instainfer init {folder}`")
    doors = ctx.ensure_object(Doors)
    with platform(ctx, api_host, auth, home) as client:
        loop = _Loop(client, doors, folder, name or None)
        note(f"watching {folder}; Ctrl-C ends this")
        deployed = False
        # The first look comes when the folder is being watched, so that no change is missed while it is deployed.
        for changed in doors.watch(folder):
            if changed or not deployed:
                loop.deploy()
                deployed = True
            loop.show_calls()


class _Loop:
    """What is done after each change."""

    def __init__(self, client: Client, doors: Doors, folder: Path, name: str | None) -> None:
        self._client = client
        self._doors = doors
        self._folder = folder
        self._name = name
        self._deployed: str | None = None
        self._tail = Tail(client, None)

    def deploy(self) -> None:
        """Deploy the folder and call the function. A mistake in the folder is told, and waits for the next change."""
        try:
            self._deploy()
        except (Unreachable, NotAllowed):
            raise
        except (UserError, HostError) as error:
            complain(str(error))

    def _deploy(self) -> None:
        from .progress import DeployProgress

        _check_syntax(self._folder)
        with DeployProgress() as progress:
            action = self._doors.deploy(
                self._client,
                self._folder,
                None,
                progress,
                name=self._name,
                memory_mb=None,
                timeout_ms=None,
                check=False,
            )
        name = full_name(action)
        note(f"{name} {action['version']} is deployed")
        if name != self._deployed:
            self._deployed, self._tail = name, Tail(self._client, name)
            self._tail.latest(0)
        sample = sample_of(self._folder)
        if sample is None:
            note("it has no sample.json, so it is not called")
            return
        record = self._client.invoke(name, sample)
        if "response" not in record:
            note("sample.json is not answered yet")
        elif succeeded(record):
            emit_result(record["response"]["result"])
            note(how_it_went(record))

    def show_calls(self) -> None:
        """Show what the calls that have ended printed, and why they failed."""
        if self._deployed is None:
            return
        for record in self._tail.new():
            for line in record["logs"]:
                print(line, flush=True)
            if not succeeded(record):
                # The traceback is in the logs.
                complain(f"{self._deployed} failed ({how_it_went(record)}): {one_line(error_text(record))}")


def _check_syntax(folder: Path) -> None:
    """Raise `BadFunction` for a file that is not Python, so that the version before it goes on answering."""
    from ..environments.manifest import read_manifest
    from ..environments.package import is_ignored

    wanted = read_manifest(folder).requirements.python
    if wanted is not None and wanted != f"3.{sys.version_info.minor}":
        return  # the syntax of another version
    for path in folder.rglob("*.py"):
        if is_ignored(folder, path):
            continue
        try:
            compile(path.read_bytes(), path, "exec", dont_inherit=True)
        except (SyntaxError, ValueError) as error:
            told = "".join(traceback.format_exception_only(error)).strip()
            raise BadFunction(f"{path} is not deployed, for it cannot be read; correct it\n{told}") from None
