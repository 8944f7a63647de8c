"""Formats the status of the platform: a line for each container, followed by a table of the functions that it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.model import is_function_template
from ..errors import one_line
from .values import moment, seconds, size

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.table import Table

Shape: TypeAlias = Mapping[str, Any]
"""A JSON object that the platform has sent."""

_CONTAINER_COLOURS = {"starting": "yellow", "idle": "green", "busy": "blue", "stopping": "bright_black"}
_RESIDENT_COLOURS = {"loading": "yellow", "loaded": "green", "in_use": "blue", "unloading": "bright_black"}
_ORIGINS = {"preload": "pre-load", "call": "a call"}
_HEADERS = ("function", "state", "from", "memory", "worth", "why")
_BAR = 10
_UNFIT = 10
"""Functions that are named because they cannot be forked. There may be many."""


def status_view(found: Shape, columns: int) -> Group:
    """The formatted status, for rich to print. `columns` is the width in characters."""
    from rich.console import Group

    parts: list[RenderableType] = [
        f"[bold]InstaInfer {found['version']}[/bold], up {seconds(found['uptime_s'])}",
    ]
    parts += _records(found["records"])
    parts += _places(found.get("places", ()))
    for node in found["nodes"]:
        parts += ["", *_node(node, columns)]
        if own := [line for line in node["isolation"] if line not in found["isolation"]]:
            parts += _isolation(own)
    if found["isolation"]:
        parts += ["", "[bold]Isolation[/bold]", *_isolation(found["isolation"])]
    return Group(*parts)


def places_in_words(places: Shape) -> str:
    """The places of a function, as the platform tells of them: ``1 of 2 places ready until 18:00:00``."""
    if not places["wanted"]:
        return "nobody asks for it to be ready"
    until = "" if places["until_ms"] is None else f" until {moment(places['until_ms'])}"
    unmet = f"; {one_line(places['unmet'])}" if places["unmet"] else ""
    return f"{places['ready']} of {places['wanted']} places ready{until}{unmet}"


def _records(records: Shape) -> Iterator[str]:
    """The lines about the records: their size, and problems that the operator should solve."""
    if "size_bytes" in records:
        yield f"  records    {size(records['size_bytes'])}"
    if records.get("last_error"):
        yield f"  [red]{_plain(records['last_error'])}[/red]; {_count(records['unflushed'], 'record')} waiting"
    if records.get("put_aside"):
        yield f"  [red]{_count(records['put_aside'], 'record')} could not be written as they were; see the log[/red]"


def _places(wanted: Sequence[Shape]) -> Iterator[RenderableType]:
    """A line for each function that somebody wants to be ready."""
    from rich.padding import Padding

    for each in wanted:
        text = _plain(f"{each['name']}: {places_in_words(each)}")
        yield Padding(text if each["ready"] >= each["wanted"] else f"[yellow]{text}[/yellow]", (0, 0, 0, 2))


def _node(node: Shape, columns: int) -> Iterator[RenderableType]:
    containers = node["containers"]
    yield (
        f"[bold]Node {_plain(node['name'])}[/bold] ({_plain(node['backend'])} backend): "
        f"{_count(len(containers), 'container')}, {_waiting(node['queue'])}"
    )
    yield f"  memory     {_memory(node['memory'], min(40, max(10, columns - 56)))}"
    yield f"  pre-loads  {_preloads(node['preloads'])}"
    for failure in node.get("policy_failures", ()):
        yield (
            f"  [red]policy[/red]     {_plain(failure['role'])} ({_plain(failure['policy'])}) has failed "
            f"{failure['count']} times, a plain default stands in; last: {_plain(failure['last'])}"
        )
    yield from _not_forked(node.get("functions", ()))
    layout = _Layout.of(containers)
    for number, container in enumerate(containers):
        yield ""
        yield layout.head(container)
        if container["residents"]:
            yield layout.residents(container["residents"], headers=number == 0)


def _not_forked(functions: Sequence[Shape]) -> Iterator[RenderableType]:
    """A line for each function whose calls cannot be forked, with the reason."""
    from rich.padding import Padding

    unfit = [function for function in functions if function.get("unfit")]
    for function in unfit[:_UNFIT]:
        text = f"{short_name(function['function'])} cannot be forked: {one_line(function['unfit'])}"
        yield Padding(_plain(text), (0, 0, 0, 2))
    if len(unfit) > _UNFIT:
        yield f"  {_count(len(unfit) - _UNFIT, 'more function')} cannot be forked"


def _memory(memory: Shape, width: int) -> str:
    """A bar as wide as the node's memory budget. It shows the memory set aside for containers and the memory in use."""
    budget, committed, used = memory["budget_bytes"], memory["committed_bytes"], memory["used_bytes"]
    set_aside = _share(committed, budget, width)
    in_use = min(_share(used, budget, width), set_aside)
    bar = f"[green]{'█' * in_use}[/][yellow]{'▒' * (set_aside - in_use)}[/][bright_black]{'░' * (width - set_aside)}[/]"
    return f"{bar}  {size(committed)} of {size(budget)} set aside, {size(used)} used"


def _preloads(preloads: Shape) -> str:
    failed = f", [red]{preloads['failed']} failed[/red]" if preloads["failed"] else ""
    done = f"{preloads['started']} started, {preloads['finished']} finished{failed}"
    return f"{done}, [green]{preloads['hits']} met their call[/green]"


def _isolation(lines: Sequence[str]) -> Iterator[RenderableType]:
    from rich.padding import Padding

    for line in lines:
        yield Padding(_plain(line), (0, 0, 0, 2))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Column widths, in characters, that all containers of a node share, so that their columns are aligned."""

    container: int
    doing: int
    columns: tuple[int, ...]

    @classmethod
    def of(cls, containers: Sequence[Shape]) -> _Layout:
        cells = [_HEADERS, *(_cells(resident) for container in containers for resident in container["residents"])]
        return cls(
            container=max((len(container["id"]) for container in containers), default=0),
            doing=max((len(_doing(container)) for container in containers), default=0),
            columns=tuple(max(len(row[column]) for row in cells) for column in range(len(_HEADERS) - 1)),
        )

    def head(self, container: Shape) -> str:
        colour = _CONTAINER_COLOURS[container["state"]]
        used, limit = container["used_bytes"], container["limit_bytes"]
        full = _share(used, limit, _BAR)
        bar = f"[{colour}]{'█' * full}[/][bright_black]{'░' * (_BAR - full)}[/]"
        return (
            f"[{colour}]●[/] [bold]{_plain(container['id'].ljust(self.container))}[/bold]  "
            f"{_plain(_doing(container).ljust(self.doing))}  {bar} {size(used)} of {size(limit)}  "
            f"[bright_black]{_plain(container['namespace'])}[/]"
        )

    def residents(self, residents: Sequence[Shape], *, headers: bool) -> Table:
        from rich.table import Table

        rows = Table(box=None, padding=(0, 2, 0, 0), show_header=headers, header_style="bright_black", pad_edge=False)
        rows.add_column("", width=2)
        for header, width in zip(_HEADERS, self.columns, strict=False):
            clipped = header == "function"
            rows.add_column(
                header,
                width=min(width, 16) if clipped else width,
                no_wrap=True,
                justify="right" if header in ("memory", "worth") else "left",
            )
        rows.add_column(_HEADERS[-1])
        for resident in residents:
            function, state, origin, memory, worth, why = _cells(resident)
            colour = _RESIDENT_COLOURS[resident["state"]]
            rows.add_row("", _plain(function), f"[{colour}]{state}[/]", origin, memory, worth, _plain(why))
        return rows


def _cells(resident: Shape) -> tuple[str, ...]:
    worth, key = resident["value"], resident["function"]
    return (
        resident_name(key),
        resident["state"].replace("_", " "),
        _ORIGINS[resident["origin"]],
        size(resident["bytes"]),
        seconds(worth) if worth else "",
        resident["reason"],
    )


def _doing(container: Shape) -> str:
    if container["running"]:
        return f"runs {short_name(container['running']['function'])}"
    if container["state"] != "idle":
        return str(container["state"])
    ends = container["expires_in_s"]
    return f"idle {seconds(container['idle_s'])}" + (f", ends in {seconds(max(0.0, ends))}" if ends is not None else "")


def short_name(key: str) -> str:
    """The name of a function without namespace and version: ``resnet50`` for ``guest/resnet50@0.0.1``.

    A function in a package keeps it, as in ``vision/resnet50``.
    """
    return key.partition("/")[2].rpartition("@")[0] or key


def resident_name(key: str) -> str:
    """The name of a resident. A function template is named after its function."""
    return f"template of {short_name(key)}" if is_function_template(key) else short_name(key)


def _share(part: float, whole: float, width: int) -> int:
    """How many of `width` characters stand for `part` of `whole`. At least one, unless `part` is 0."""
    return min(width, max(round(part / whole * width), 1)) if part > 0 and whole > 0 else 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")


def _waiting(queue: int) -> str:
    return f"[yellow]{_count(queue, 'activation')} waiting[/yellow]" if queue else "nothing waiting"


def _plain(text: str) -> str:
    """Escape a text, so that rich does not read square brackets in names as markup."""
    from rich.markup import escape

    return escape(text)
