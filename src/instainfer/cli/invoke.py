"""The command ``instainfer invoke`` calls a function once.

The answer is printed to standard output. The start kind and the times of the call are printed to standard error.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ..errors import BadInput, Unreachable, one_line
from .doors import platform
from .exit_codes import ExitCode
from .options import ApiHost, Auth, Home, Json
from .output import complain, emit_json, emit_result, note
from .records import Record, error_text, how_it_went, succeeded
from .values import PAIR, data, parameters


class InvokeCommand(TyperCommand):
    """Accepts ``-p KEY VALUE`` any number of times, as OpenWhisk's client `wsk` does. Typer has no such option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, list(_joined(args)))


def _joined(args: Sequence[str]) -> Iterator[str]:
    rest = iter(args)
    for arg in rest:
        yield arg
        if arg == "--":
            yield from rest
        elif arg in ("-p", "--param"):
            key, value = next(rest, None), next(rest, None)
            if key is None or value is None:
                raise typer.BadParameter("needs a key and a value", param_hint=arg)
            yield f"{key}{PAIR}{value}"


def invoke(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Function to call.", show_default=False)],
    *,
    param: Annotated[
        list[str] | None,
        typer.Option("-p", "--param", metavar="KEY VALUE", help="One parameter; JSON if it reads as such, else text."),
    ] = None,
    data_source: Annotated[
        str,
        typer.Option("--data", metavar="@FILE|JSON|-", help="All parameters, as a JSON object.", show_default=False),
    ] = "",
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Print the activation's id at once instead of its answer.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Print the activation's whole record.")] = False,
    stream: Annotated[
        bool, typer.Option("--stream", help="Print the values of a function that yields as they come, a line each.")
    ] = False,
    as_json: Json = False,
    api_host: ApiHost = "",
    auth: Auth = "",
    home: Home = None,
) -> None:
    """Call a function and print its answer."""
    arguments = (data(data_source) if data_source else {}) | parameters(param or [])
    if stream and (no_wait or full):
        raise BadInput("--stream prints values as they come; leave out --no-wait and --full")
    with platform(ctx, api_host, auth, home) as client:
        if stream:
            _print_values(name, client.stream(name, arguments), as_json=as_json)
            return
        record = client.invoke(name, arguments, blocking=not no_wait)
    emit = emit_json if as_json else emit_result
    activation = record["activationId"]
    if "response" not in record:
        emit({"activationId": activation})
        if no_wait:
            return
        complain(f"{name} has not answered yet and goes on; see `instainfer activations {activation}` later")
        raise typer.Exit(ExitCode.FAILED)
    emit(record if full else record["response"]["result"])
    if not as_json:
        note(how_it_went(record))
    if not succeeded(record):
        _complain_of(name, record)
        raise typer.Exit(ExitCode.FAILED)


def _print_values(name: str, events: Iterator[Mapping[str, Any]], *, as_json: bool) -> None:
    """Print each value as a line of JSON when it comes."""
    last: Mapping[str, Any] = {}
    for last in events:
        if last["event"] == "value":
            emit_json(last.get("value"))
    if last.get("event") == "result":
        if not as_json:
            note(
                how_it_went({"annotations": [{"key": key, "value": last.get(key)} for key in ("startKind", "phases")]})
            )
        return
    if last.get("event") != "error":
        raise Unreachable(f"the answer of {name} broke off; see whether `instainfer up` still runs")
    first_line = next(iter(str(last.get("error")).strip().splitlines()), "no error was given")
    activation = last.get("activationId")
    logs = f"; its logs: `instainfer activations {activation} --logs`" if activation else ""
    complain(one_line(f"{name} failed: {first_line.rstrip('.;')} (fault: {last.get('fault')}){logs}"))
    raise typer.Exit(ExitCode.FAILED)


def _complain_of(name: str, record: Record) -> None:
    complain(f"{name} failed: {error_text(record)}; its logs: `instainfer activations {record['activationId']} --logs`")
