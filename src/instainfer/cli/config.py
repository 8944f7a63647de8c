"""The command ``instainfer config`` shows which keys can be set, their values, and the source of each value."""

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import Json
from .output import console, emit_json, show

if TYPE_CHECKING:
    from rich.padding import Padding

    from .settings import Setting

app = typer.Typer(
    help="What can be configured: keys, defaults and meaning. Sources, strongest first: command line, environment, "
    "./instainfer.toml, the user's instainfer.toml, default."
)


@app.callback(invoke_without_command=True)
def config(ctx: typer.Context, as_json: Json = False) -> None:
    if ctx.invoked_subcommand is not None:
        return
    from .settings import environment_variable, settings

    found = settings()
    if as_json:
        keys = ("key", "default", "description")
        emit_json([{key: _plain(getattr(item, key)) for key in keys} for item in found])
        return
    for item in found:
        _show_line(item.key, item.default)
        show(_indented(item.description))
    show(f"\nIn the environment a key is written like [bold]{environment_variable('node.memory_mb')}[/bold].")


@app.command(name="show")
def show_values(
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value comes from.")] = False,
    as_json: Json = False,
) -> None:
    """The values in force."""
    from .settings import settings

    found = settings()
    if as_json:
        emit_json({item.key: _shown(item, origin) for item in found})
        return
    for item in found:
        _show_line(item.key, item.value, item.origin if origin else "")


def _shown(item: Setting, origin: bool) -> Any:
    return {"value": _plain(item.value), "origin": item.origin} if origin else _plain(item.value)


def _show_line(key: str, value: Any, origin: str = "") -> None:
    from rich.markup import escape

    remark = f"  [bright_black]({escape(origin)})[/]" if origin else ""
    console().print(f"[bold]{key}[/bold] = {escape(_text(value))}{remark}", soft_wrap=True)


def _indented(text: str) -> Padding:
    from rich.padding import Padding

    return Padding(f"[bright_black]{text}[/]", (0, 0, 0, 4))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return str(value) if isinstance(value, Path | IPv4Network) else value


def _text(value: Any) -> str:
    if value is None:
        return "–"
    return str(value).lower() if isinstance(value, bool) else str(value)
