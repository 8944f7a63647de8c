"""The command ``instainfer logs [NAME]`` prints what functions printed, the newest last, and follows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from .doors import Doors, platform
from .options import ApiHost, Auth, Home
from .output import emit_json, note
from .records import Record, function, running

if TYPE_CHECKING:
    from ..client import Client

EVERY_S = 0.5
"""Time between two looks for new activations."""
PAGE = 200
"""Most activations that the platform lists at once."""
LONGEST_MS = 24 * 3600 * 1000
"""No call takes longer to be loaded and run. With this the platform need not look through all its records."""


class Tail:
    """The activations of one function, or of all, in the order of their ends: each is returned once, when it has ended.

    A call that began long ago may end at any time, so new ones are asked for by their end.
    """

    def __init__(self, client: Client, name: str | None) -> None:
        self._client = client
        self._name = name
        self._ended_ms = 0
        """Everything that has ended before this was returned."""
        self._seen: set[str] = set()
        """What was returned of that which has ended since then."""

    def latest(self, count: int) -> Sequence[Record]:
        """The `count` activations that began last, oldest first, without those that still run. At most `PAGE`."""
        found = self._client.activations(limit=max(count, 1), name=self._name, docs=True)
        self._returned(found, found)
        return [record for record in reversed(found[:count]) if not running(record)]

    def new(self) -> Sequence[Record]:
        """The activations that have ended since the last look, the first to begin first."""
        found: list[Record] = []
        page = first = self._page(0)
        while page:
            found += page
            page = self._page(len(found)) if len(page) == PAGE else []
        # A page may repeat what another one has: while they are read, new records push older ones down.
        fresh = {record["activationId"]: record for record in found if record["activationId"] not in self._seen}
        self._returned(first, found)
        return list(reversed(fresh.values()))

    def _page(self, skip: int) -> Sequence[Record]:
        since_ms = max(0, self._ended_ms - LONGEST_MS)
        return self._client.activations(
            limit=PAGE, skip=skip, name=self._name, since=since_ms, ended_since=self._ended_ms, docs=True
        )

    def _returned(self, first: Sequence[Record], found: Sequence[Record]) -> None:
        """Note what was found. Further pages may lack what ended while they were read, so the first one counts."""
        if found:
            # What still runs ends after its own start, so that time stands for its end.
            self._ended_ms = max(record.get("end", record["start"]) for record in first)
            self._seen = {record["activationId"] for record in found if record.get("end", -1) >= self._ended_ms}


def logs(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Only this function.", show_default=False)] = "",
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new activations until Ctrl-C.")] = False,
    last: Annotated[
        int, typer.Option("--last", min=0, max=PAGE, metavar="N", help="Begin with the newest N activations.")
    ] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print an object for each line.")] = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Print what functions printed, the newest last."""
    doors = ctx.ensure_object(Doors)
    with platform(ctx, api_host, auth, home) as client:
        if name:
            client.action(name)  # raises an error if there is no such function
        tail = Tail(client, name or None)
        printed = _print_all(tail.latest(last), as_json, named=not name)
        while follow:
            doors.tick(EVERY_S)
            _print_all(tail.new(), as_json, named=not name)
    if not printed and not as_json:
        note(f"the newest {last} activations printed nothing; see `instainfer activations`")


def _print_all(records: Sequence[Record], as_json: bool, *, named: bool) -> int:
    """Print the lines of these records and return their number."""
    count = 0
    for record in records:
        for line in record["logs"]:
            if as_json:
                emit_json({"activationId": record["activationId"], "function": function(record), "line": line})
            else:
                print(f"{function(record)}  {line}" if named else line, flush=True)
            count += 1
    return count
