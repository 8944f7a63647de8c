"""The commands ``instainfer preload`` and ``instainfer offload``: what is to be ready, and what is to go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import HostError, NotFound
from .doors import Doors, platform
from .forking import details
from .functions import Name
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note
from .values import duration_s, seconds
from .views import places_in_words

if TYPE_CHECKING:
    from ..client import Client

LOOK_EVERY_S = 0.2
DEFAULT_FOR_S, DEFAULT_TIMEOUT_S = 600.0, 120.0


def preload(
    ctx: typer.Context,
    name: Name,
    *,
    places: Annotated[
        int, typer.Option("--places", min=0, max=64, metavar="N", help="Calls at once that shall start without a load.")
    ] = 1,
    for_s: Annotated[
        float | None,
        typer.Option("--for", parser=duration_s, metavar="TIME", help="How long; default: 10min.", show_default=False),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="End when all are ready, or when they cannot be.")] = False,
    timeout_s: Annotated[
        float | None,
        typer.Option(
            "--timeout", parser=duration_s, metavar="TIME", help="Most to --wait; default: 2min.", show_default=False
        ),
    ] = None,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Load a function ahead of its calls, and keep it ready for some time."""
    with platform(ctx, api_host, auth, home) as client:
        found = client.preload(name, places=places, for_s=for_s or DEFAULT_FOR_S)
        if wait:
            found = dict(_wait(client, ctx.ensure_object(Doors), name, timeout_s or DEFAULT_TIMEOUT_S))
    if as_json:
        emit_json(found)
    else:
        note(f"{name}: {places_in_words(found)}")


def offload(
    ctx: typer.Context, name: Name, *, as_json: Json = False, api_host: ApiHost = "", auth: Auth = "", home: Home = None
) -> None:
    """End what is idle of a function, until its next call."""
    with platform(ctx, api_host, auth, home) as client:
        found = client.offload(name)
    if as_json:
        emit_json(found)
    else:
        note(f"{name}: what is idle of it ends; its next call loads it again")


def _wait(client: Client, doors: Doors, name: str, timeout_s: float) -> Mapping[str, Any]:
    """Ask again until all places are ready. Raises `HostError` when they cannot be, or are not in time."""
    for _ in range(max(1, round(timeout_s / LOOK_EVERY_S))):
        places = _places(client, name)
        if places["ready"] >= places["wanted"]:
            return places
        if places["unmet"]:
            raise HostError(f"{name} cannot be made ready: {places['unmet']}")
        doors.tick(LOOK_EVERY_S)
    raise HostError(
        f"{name}: only {places['ready']} of {places['wanted']} places are ready after {seconds(timeout_s)}; "
        "`instainfer status` shows what fills the memory"
    )


def _places(client: Client, name: str) -> Mapping[str, Any]:
    found = details(client, name)
    if not found:
        raise NotFound(f"{name} was deleted meanwhile; `instainfer functions` lists what there is")
    places: Mapping[str, Any] = found["places"]
    return places
