"""The command ``instainfer clean`` removes files and records that are no longer needed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HostError
from .doors import Doors, platform
from .exit_codes import ExitCode
from .options import Home, Json
from .output import complain, console, emit_json
from .settings import configuration
from .values import duration_s, size

if TYPE_CHECKING:
    from rich.status import Status


def clean(
    ctx: typer.Context,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    unused_for: Annotated[
        float | None,
        typer.Option(
            parser=duration_s,
            metavar="TIME",
            help="Remove environments and weights that nobody has used for so long, 24h say; default and least: 1h.",
        ),
    ] = None,
    as_json: Json = False,
    home: Home = None,
) -> None:
    """Remove what nothing refers to: old code, environments, weights, records beyond what is kept, leftovers.

    While the platform runs, it does so itself; else it is done here, and the records' free room goes back to the disk.
    What other homes need of a cache that they share stays.
    """
    doors = ctx.ensure_object(Doors)
    config = configuration(**({} if home is None else {"home": home}))
    with _Told(as_json=as_json) as told:
        if not doors.clean_stopped(config, told, dry_run=dry_run, unused_for_s=unused_for):
            with platform(ctx, *doors.stored(config.home), config.home) as client:
                is_done = False
                for event in client.clean(dry_run=dry_run, unused_for_s=unused_for):
                    is_done = is_done or event["event"] == "done"
                    told(event)
            if not is_done and not told.failures:
                raise HostError("the platform ended before it was done; call this again")
    told.sum_up(dry_run=dry_run)
    if told.failures:
        raise typer.Exit(ExitCode.FAILED)


class _Told:
    """Receives the events of a clean-up and prints them.

    Each removed thing is a line on standard output, or an entry in one JSON object at the end. Progress is shown on
    standard error if that is a terminal.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._freed: list[dict[str, Any]] = []
        self.failures: list[dict[str, Any]] = []
        self._out = console()
        self._status: Status | None = None

    def __enter__(self) -> _Told:
        if not self._as_json and sys.stderr.isatty():
            self._status = console(sys.stderr).status("looking")
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        from rich.markup import escape

        if event["event"] == "progress" and self._status is not None:
            self._status.update(escape(event["text"]))
        elif event["event"] == "failed":
            self.failures.append({key: event[key] for key in ("kind", "path", "error")})
            complain(event["error"])
        elif event["event"] == "freed":
            freed = {key: event[key] for key in ("kind", "path", "why", "bytes")}
            self._freed.append(freed)
            if not self._as_json:
                line = f"[bold]{freed['kind']:<11}[/bold] {size(freed['bytes']):>8}  {escape(freed['path'])}: "
                self._out.print(line + escape(freed["why"]), soft_wrap=True)

    def sum_up(self, *, dry_run: bool) -> None:
        total = sum(each["bytes"] for each in self._freed)
        if self._as_json:
            emit_json({"dry_run": dry_run, "bytes": total, "freed": self._freed, "failed": self.failures})
        elif not self._freed:
            self._out.print("nothing to remove")
        else:
            self._out.print(f"{size(total)} {'would be' if dry_run else 'were'} freed")
