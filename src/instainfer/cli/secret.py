"""The commands ``instainfer secret set|list|unset|rotate-key``. A value is read from standard input or a prompt.

It is no argument, because all users of a machine can read those.
"""

from __future__ import annotations

import getpass
import sys
from typing import Annotated

import typer

from ..errors import BadInput
from .doors import platform
from .functions import Name
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note, show, table
from .values import moment

app = typer.Typer(
    help="Give a function secrets, as environment variables. They are kept encrypted and never shown.",
    no_args_is_help=True,
)

Key = Annotated[str, typer.Argument(help="Name of the environment variable.", show_default=False)]

_MOST_BYTES = 64 * 1024 + len("\r\n")
"""Most bytes of a value and its line break."""


@app.command(name="set")
def set_secret(
    ctx: typer.Context,
    name: Name,
    key: Key,
    *,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Set a secret. Its value is read from standard input, without a line break at its end, or asked for."""
    value = _value(key)
    with platform(ctx, api_host, auth, home) as client:
        told = client.set_secret(name, key, value)
    if as_json:
        emit_json(told)
    elif not told["deployed"]:
        note(f"{key} is kept for {name}, which is not deployed yet")
    elif told["problem"]:
        note(f"{name} has {key}, and still cannot be called: {told['problem']}")
    else:
        note(f"{name} has {key} from its next call on, for which it is loaded anew")


@app.command(name="list")
def list_secrets(
    ctx: typer.Context, name: Name, *, as_json: Json = False, api_host: ApiHost = "", auth: Auth = "", home: Home = None
) -> None:
    """List the secrets of a function, without their values."""
    with platform(ctx, api_host, auth, home) as client:
        found = client.secrets(name)
    if as_json:
        emit_json(found)
    elif not found:
        note(f"{name} has no secrets; set one with `instainfer secret set {name} KEY`")
    else:
        show(table(["SECRET", "SET"], [(each["key"], moment(each["updated_ms"])) for each in found]))


@app.command(name="unset")
def unset_secret(
    ctx: typer.Context,
    name: Name,
    key: Key,
    *,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Remove a secret."""
    with platform(ctx, api_host, auth, home) as client:
        told = client.unset_secret(name, key)
    if as_json:
        emit_json(told)
    else:
        note(f"{name} has no {key} any more")


@app.command(name="rotate-key")
def rotate_key(
    ctx: typer.Context, *, as_json: Json = False, api_host: ApiHost = "", auth: Auth = "", home: Home = None
) -> None:
    """Encrypt the secrets of all functions with a new key. Their values, and what is loaded, stay as they are."""
    with platform(ctx, api_host, auth, home) as client:
        told = client.rotate_key()
    if as_json:
        emit_json(told)
        return
    note(f"{told['resealed']} secrets are encrypted with a new key, and the old one is forgotten")
    if told["unreadable"]:
        note(f"{told['unreadable']} could not be read with the old key and are as they were; set them anew")


def _value(key: str) -> str:
    """The value from standard input. On a terminal it is asked for, and not shown as it is typed."""
    try:
        if sys.stdin.isatty():
            return getpass.getpass(f"value of {key}: ")
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
    except EOFError:
        raise BadInput("no value was given; type it, or send it to standard input") from None
    if len(data) > _MOST_BYTES:
        raise BadInput("the value is longer than the 65,536 bytes of a secret; make it shorter")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise BadInput("the value is not UTF-8; encode it, as base64 for example") from None
