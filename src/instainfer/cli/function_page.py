"""Formats what is known of one function for people, and finds the functions that cannot be called or loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median
from typing import TYPE_CHECKING, Any, TypeAlias

from ..core.model import MIB
from ..errors import one_line, several_lines
from .forking import in_words
from .records import START_COLOURS, Record, annotation, compute_s, full_name, running, start_kind, succeeded
from .values import moment, seconds, size
from .views import places_in_words

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Shape: TypeAlias = Mapping[str, Any]
"""A JSON object that the platform has sent."""

LATELY = 100
"""The activations whose start kinds are counted."""
_ALIKE, _ALIKE_S = 1.3, 0.05
"""A process's first call may compute so many times as long as the later ones, and so much longer, unmentioned."""


def page(
    action: Shape, detail: Shape, nodes: Sequence[Shape], lately: Sequence[Record], secrets: Sequence[str]
) -> Table:
    """What the platform knows of a function.

    `detail` and `nodes` are the answers to ``GET functions/{name}`` and to ``GET functions/{name}/why``, `lately` are
    the function's latest activations, `secrets` the names of its secrets.
    """
    from rich.markup import escape
    from rich.table import Table

    rows = Table.grid(padding=(0, 2))
    rows.title = f"[bold]{escape(full_name(action))}[/bold] {action['version']}"
    rows.title_justify = "left"
    rows.title_style = ""
    rows.add_column(style="bright_black", no_wrap=True)
    rows.add_column(overflow="fold")
    for label, text, colour in _rows(action, detail, nodes, lately, secrets):
        rows.add_row(label, f"[{colour}]{escape(text)}[/]" if colour else escape(text))
    return rows


def _rows(
    action: Shape, detail: Shape, nodes: Sequence[Shape], lately: Sequence[Record], secrets: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    """The lines of the page: a label, a text, and the colour of the text, which may be empty."""
    profile = detail["profile"] or {}
    for failure in _failures(detail, (node["load_failure"] for node in nodes)):
        yield "problem", failure, "red"
    measured = f", {size(profile['resident_bytes'])} measured" if profile.get("resident_bytes") else ""
    limit = size(action["limits"]["memory"] * MIB)
    yield "memory", f"auto ({limit}){measured}" if annotation(action, "memory") == "auto" else f"{limit}{measured}", ""
    yield "time limit", seconds(action["limits"]["timeout"] / 1000), ""
    yield "kind", str(annotation(action, "exec")), ""
    yield "deployed", moment(action["updated"]), ""
    yield from _contents(detail)
    if secrets:
        yield "secrets", ", ".join(secrets), ""
    if profile.get("loads"):
        yield "loads in", f"{seconds(profile['library_s'] + profile['model_s'])} from nothing", ""
    if profile.get("runs"):
        yield "computes", seconds(profile["compute_s"]), ""
    fit, reason = detail["forked"]["fit"], detail["forked"]["reason"]
    known = fit is not None or reason
    forked = {"fit": fit, "reason": reason and reason.partition("\n")[0]}  # the lines below may be a traceback
    yield "forking", in_words(forked, full_name(action)) if known else "not known yet", ""
    stands = [f"{each['what']} in {each['container']} ({each['state']})" for node in nodes for each in node["stands"]]
    yield "in memory", ", ".join(stands) or "nothing", ""
    if detail["places"] and detail["places"]["wanted"]:
        yield "ready", places_in_words(detail["places"]), ""
    yield "calls", _calls(lately), ""
    if slow := _slow_first_calls(lately):
        yield "", slow, "yellow"


def _contents(detail: Shape) -> Iterator[tuple[str, str, str]]:
    contents = detail["contents"]
    if contents is None:
        return
    packages = contents["packages"]
    if packages is not None:
        yield "packages", f"{len(packages)}, {size(contents['environment_bytes'])} in {detail['environment']}", ""
    if packages:
        yield "", ", ".join(packages), "bright_black"
    if contents["weights"]:
        yield "weights", ", ".join(f"{path} ({size(each)})" for path, each in contents["weights"].items()), ""


def _calls(lately: Sequence[Record]) -> str:
    """How the latest calls began, the fastest kinds last, and how many of them failed."""
    if not lately:
        return "none yet"
    kinds = Counter(filter(None, map(start_kind, lately)))
    began = [f"{kinds[kind]} {kind}" for kind in START_COLOURS if kinds[kind]]
    failed = sum(not running(record) and not succeeded(record) for record in lately)
    ends = [f"{failed} failed"] if failed else []
    return f"{', '.join([*began, *ends]) or 'not ended yet'}; the latest {moment(lately[0]['start'])}"


def _slow_first_calls(lately: Sequence[Record]) -> str:
    """What to do about calls that find the function loaded and compute longer than the later ones. Empty if none do."""
    ended = [record for record in lately if succeeded(record)]
    first = [compute_s(record) for record in ended if start_kind(record) in ("preloaded", "forked")]
    later = [compute_s(record) for record in ended if start_kind(record) == "warm"]
    if not first or not later or median(first) <= _ALIKE * median(later) + _ALIKE_S:
        return ""
    return (
        f"the first call of a process computes {seconds(median(first))}, later ones {seconds(median(later))}; "
        "what only the first one does belongs into warmup()"
    )


def problems(status: Shape, details: Iterable[Shape]) -> dict[str, str]:
    """Why a function cannot be called or loaded, on one line, by its name, for each function where that is so."""
    failures: dict[str, list[str]] = {}
    for node in status["nodes"]:
        for function in node.get("functions", ()):
            failures.setdefault(function["function"], []).append(function["load_failure"])
    found = ((each["name"], _failures(each, failures.get(each["key"], ()))) for each in details)
    return {name: one_line(texts[0].partition("\n")[0]) for name, texts in found if texts}


def problem_lines(failing: Mapping[str, str]) -> Iterator[RenderableType]:
    """A line for each of the `problems`."""
    from rich.text import Text

    for name, text in failing.items():
        yield Text(f"{name}: {text}; see `instainfer function show {name}`", style="red")


def _failures(detail: Shape, load_failures: Iterable[str | None]) -> list[str]:
    """Why a function cannot be called or loaded, on several lines each; empty if it can."""
    texts = [detail.get("problem"), *(f"cannot be loaded: {text}" for text in load_failures if text)]
    return list(dict.fromkeys(several_lines(text) for text in texts if text))
