"""The command ``instainfer advise``: which memory limit each function has, what it needs, and what to write instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import typer

from ..core.model import MIB
from ..core.sizes import NOTABLE
from ..errors import one_line
from .doors import platform
from .options import ApiHost, Auth, Home, Json
from .output import emit_json, note, show, table
from .values import size

if TYPE_CHECKING:
    from rich.table import Table

Advice: TypeAlias = dict[str, Any]
"""``{function, auto, limit_bytes, need_bytes, saves_bytes, died_of_memory, write, why}``. `need_bytes` is None before
the first run, `died_of_memory` tells how it died if no run has ended well since, and `write` is what function.toml
should say; None: nothing else than now."""


def advise(
    ctx: typer.Context, *, as_json: Json = False, api_host: ApiHost = "", auth: Auth = "", home: Home = None
) -> None:
    """Show each function's memory limit beside what it needs, what another limit would save, and what to write."""
    with platform(ctx, api_host, auth, home) as client:
        names = {each["key"]: each["name"] for each in client.details()}
        found = [each for node in client.status()["nodes"] for each in node["functions"] if each["function"] in names]
    advice = [advice_for(names[each["function"]], each) for each in found]
    advice.sort(key=lambda each: (each["died_of_memory"] is None, -each["saves_bytes"], each["function"]))
    if as_json:
        emit_json(advice)
    elif not advice:
        note("no function is deployed yet; deploy one with `instainfer deploy DIR`, and call it")
    else:
        show(_table(advice))


def advice_for(name: str, known: Mapping[str, Any]) -> Advice:
    """What to write for a function, given what a node knows of it (`instainfer.invoker.snapshot`)."""
    limit, need, died = known["memory_bytes"], known["need_bytes"], known["out_of_memory"]
    saves, write = 0, None
    if known["auto"]:
        why = f"it died of memory: {one_line(died)}" if died else "its containers have the size that it needs"
        if need is None and not died:
            why = "it has not run yet; its first run gets half of the memory that is free"
    elif died:
        write = max(need or 0, 2 * limit)
        why = f"it died of memory: {one_line(died)}"
    elif need is None:
        why = "it has not run yet; call it, then ask again"
    elif need > limit:
        write, why = need, "it needs nearly all of its limit, or more"
    elif limit - need > NOTABLE * limit:
        saves, write, why = limit - need, need, "it needs less"
    else:
        why = "it needs what it has"
    return {
        "function": name,
        "auto": known["auto"],
        "limit_bytes": limit,
        "need_bytes": need,
        "saves_bytes": saves,
        "died_of_memory": died,
        "write": None if write is None else f'memory = "auto", or memory = "{write // MIB}MB"',
        "why": why,
    }


def _table(advice: Sequence[Advice]) -> Table:
    from rich.markup import escape

    rows = []
    for each in advice:
        limit, need, saves = each["limit_bytes"], each["need_bytes"], each["saves_bytes"]
        rows.append(
            (
                escape(each["function"]),
                f"auto ({size(limit)})" if each["auto"] else size(limit),
                "?" if need is None else size(need),
                size(saves) if saves else "",
                escape(each["why"] + (f"; write {each['write']}" if each["write"] else "")),
            )
        )
    headers = ["FUNCTION", "LIMIT", "NEEDS", "SAVES", "ADVICE"]
    return table(headers, rows, right=headers[1:4], clip=["FUNCTION", "ADVICE"])
