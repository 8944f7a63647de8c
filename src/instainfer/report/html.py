"""``report.html``: one self-contained page that can be read without anything else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from . import plots
from .records import Latency, Summary, by_function, summarise
from .results import Run
from .tables import ms
from .timeline import Timeline

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; } h3 { font-size: 1rem; }
p.caption { color: #555; margin: .2rem 0 .8rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #e4e4e4; }
th:first-child, td:first-child, td.text { text-align: left; }
code { background: #f3f3f3; padding: .1rem .3rem; border-radius: 3px; }
svg { width: 100%; height: auto; } .wide { overflow-x: auto; }
"""

_RUNS = {
    "stateless": "the container stays after a call, the function's process ends with it (the paper's baseline)",
    "keep-alive": "a warm container keeps its last function resident (the fair baseline)",
    "instainfer": "as keep-alive, and idle containers are filled with functions that are likely to be called next",
}


@dataclass(frozen=True, slots=True)
class Page:
    """What a report says besides its figures."""

    command: str
    """What repeats the measurement."""
    trace: str
    """One sentence on the workload."""
    seed: int
    memory_mb: int
    """The budget of all containers."""
    document: Mapping[str, Any]
    """``results.json``, for machine and version."""
    timelines: Mapping[str, Timeline] = field(default_factory=dict)
    """By the label of a run; times since the replay began."""


def render(runs: Sequence[Run], page: Page) -> str:
    """The page. Raises `HostError` when matplotlib is missing."""
    functions = sorted({record.function for run in runs for record in run.records})
    parts = [
        "<h1>InstaInfer: what pre-loading saves</h1>",
        f"<p>{escape(_conclusion(runs))}</p>",
        _set_up(runs, page),
        _section("All calls", "Latencies in milliseconds; start-up is everything but compute.", _overall(runs)),
        _section("By function", "The same for each function.", _functions(runs)),
        _section(
            "Latency distributions",
            "The share of calls that took at most so long; further left is better. The time axis is logarithmic.",
            plots.latency_cdfs(runs),
        ),
        _section(
            "Where the time goes",
            "The mean time of a call in each phase, over all functions and for each; only compute is the model's own.",
            plots.phase_bars(runs),
        ),
        *(_timeline(label, told, functions) for label, told in page.timelines.items()),
    ]
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>InstaInfer report</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n'
        "</body></html>\n"
    )


def _conclusion(runs: Sequence[Run]) -> str:
    """The finding in one sentence, read off the numbers."""
    means = {run.label: summary.startup.mean for run in runs if (summary := summarise(run.records)).startup}
    ours = means.pop("instainfer", None)
    if ours is None or not means:
        return "Latencies of a replayed trace."
    against = " and ".join(
        f"{abs(1 - ours / theirs):.0%} {'below' if ours <= theirs else 'above'} {label} ({ms(theirs)} ms)"
        for label, theirs in means.items()
        if theirs > 0
    )
    return f"Mean start-up latency with pre-loading is {ms(ours)} ms: {against}."


def _set_up(runs: Sequence[Run], page: Page) -> str:
    machine = page.document["machine"]
    about = "".join(
        f"<li><b>{escape(run.label)}</b>: {escape(_RUNS.get(run.label, ''))} "
        f"(keep-alive <code>{escape(run.keepalive)}</code>, pre-loading <code>{escape(run.preload)}</code>)</li>"
        for run in runs
    )
    return (
        f"<h2>Set-up</h2><p>The same calls were replayed {len(runs)} times, open-loop, each time on a fresh platform "
        f"whose containers may have {page.memory_mb:,} MB in all, which does not hold all functions at once:</p>"
        f"<ul>{about}</ul>"
        f"<p>Workload: {escape(page.trace)} Placed inside its minutes with seed {page.seed}.<br>"
        f"Machine: {escape(str(machine['cpu']))}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"Linux {escape(str(machine['kernel']))}, Python {escape(str(machine['python']))}; "
        f"InstaInfer {escape(str(page.document['version']))}.<br>"
        f"To repeat it: <code>{escape(page.command)}</code></p>"
    )


def _section(title: str, caption: str, content: str) -> str:
    return f'<h2>{escape(title)}</h2><p class="caption">{escape(caption)}</p><div class="wide">{content}</div>'


def _timeline(label: str, told: Timeline, functions: Sequence[str]) -> str:
    return _section(
        f"Timeline: {label}",
        "Each grey band is a container, each bar in it a resident function; full colour while it runs a call.",
        plots.timeline(told, functions, label),
    )


_FIGURES = ("mean", "p50", "p95", "p99")
_LATENCY_HEAD = (
    *("calls", "lost", "failed"),
    *(f"start-up {figure}" for figure in _FIGURES),
    *(f"end-to-end {figure}" for figure in _FIGURES),
    "pre-loaded",
)


def _overall(runs: Sequence[Run]) -> str:
    kinds = sorted({kind for run in runs for kind in summarise(run.records).start_kinds})
    rows = []
    for run in runs:
        summary = summarise(run.records)
        counts = [str(summary.start_kinds.get(kind, 0)) for kind in kinds]
        rows.append([run.label, *_cells(summary), *counts, f"{run.memory_gb_s:,.0f}", f"{run.used_gb_s:,.1f}"])
    return _table(["run", *_LATENCY_HEAD, *kinds, "GB·s", "GB·s used"], rows)


def _functions(runs: Sequence[Run]) -> str:
    groups = [(run.label, by_function(run.records)) for run in runs]
    names = sorted({name for _, functions in groups for name in functions})
    rows = [
        [f"{name} · {label}", *_cells(summarise(functions.get(name, [])))]
        for name in names
        for label, functions in groups
    ]
    return _table(["function · run", *_LATENCY_HEAD], rows)


def _cells(summary: Summary) -> list[str]:
    counts = [str(summary.calls), str(summary.lost), str(summary.failed)]
    return [*counts, *_four(summary.startup), *_four(summary.e2e), f"{summary.preload_rate:.0%}"]


def _four(latency: Latency | None) -> list[str]:
    return ["–"] * 4 if latency is None else [ms(getattr(latency, figure)) for figure in _FIGURES]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{body}</tbody></table>"
