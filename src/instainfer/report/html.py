"""Makes ``report.html``: one page that needs no other file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from . import gantt, plots
from .canvas import run_colours
from .records import PHASES, START_KINDS, Latency, Summary, by_function, summarise
from .results import Run
from .tables import FIGURES, is_rival, ms
from .timeline import Timeline

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #222; background: #fff; max-width: 68rem;
  margin: 2rem auto 4rem; padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 0; padding-top: .7rem; border-top: 1px solid #ddd; }
div.finding { font-size: 1.05rem; background: #f4f8f6; border-left: 4px solid #009e73; padding: .2rem 1rem; }
div.finding p { margin: .5rem 0; }
h3 { font-size: .95rem; margin: 1.4rem 0 .3rem; }
p.caption { color: #555; margin: .2rem 0 .9rem; max-width: 56rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; line-height: 1.3; }
th, td { padding: .28rem .55rem; text-align: right; white-space: nowrap; }
thead th { border-bottom: 1px solid #999; vertical-align: bottom; font-weight: 600; }
thead tr.groups th { border-bottom: 0; text-align: center; color: #555; font-weight: 400; }
tbody tr { border-bottom: 1px solid #eee; } tbody tr.first { border-top: 1px solid #999; }
td.text, th.text { text-align: left; } td.edge, th.edge { border-left: 1px solid #ddd; }
td.name { font-weight: 600; vertical-align: top; }
i.run { display: inline-block; width: .75em; height: .75em; border-radius: 2px; margin-right: .45em; }
code { background: #f3f3f3; padding: .1rem .3rem; border-radius: 3px; font-size: 13px; }
svg { width: 100%; height: auto; min-width: 620px; } .wide { overflow-x: auto; }
table + table { margin-top: 1rem; }
li { margin: .2rem 0; }
"""

_RUNS = {
    "stateless": "the container stays after a call, the function's process ends with it (the paper's baseline)",
    "keep-alive": "a warm container keeps its last function resident (the fair baseline)",
    "instainfer": "as keep-alive, and idle containers are filled with functions that are likely to be called next",
    "instainfer+templates": "as instainfer, with functions forked from processes that have imported the libraries or "
    "loaded the function itself, and models built without initialising weights that are loaded anyway; the default "
    "configuration",
}


@dataclass(frozen=True, slots=True)
class Page:
    """The content of a report apart from the runs' figures."""

    command: str
    """The command that repeats the measurement."""
    trace: str
    """One sentence about the workload."""
    seed: int
    memory_mb: int
    """Memory budget of all containers together."""
    document: Mapping[str, Any]
    """Content of ``results.json``, which names machine and version."""
    timelines: Mapping[str, Timeline] = field(default_factory=dict)
    """The timeline of each run, by the run's label; times are seconds since the replay began."""
    missing: Sequence[str] = ()
    """Labels of runs that have not been measured."""


def render(runs: Sequence[Run], page: Page) -> str:
    """Return the page. Raises `HostError` when matplotlib is missing."""
    functions = sorted({record.function for run in runs for record in run.records})
    parts = [
        "<h1>InstaInfer: what pre-loading saves</h1>",
        f'<div class="finding">{"".join(f"<p>{escape(sentence)}</p>" for sentence in conclusions(runs))}</div>',
        _set_up(runs, page),
        _section(
            "All calls",
            "Latencies in milliseconds, over the calls that succeeded; start-up is everything but compute. "
            "GB·s: the memory limits of all containers, and the memory measured in use, over the time of the replay.",
            _latencies(runs) + _beginnings(runs) + _phases(runs),
        ),
        _section(
            "By function",
            "The same for each function; the speed-up is that of the mean start-up latency.",
            _function_latencies(runs) + _function_beginnings(runs),
        ),
        _section(
            "Latency distributions",
            "The share of calls that took at most so long: a curve further left is better.",
            plots.latency_cdfs(runs),
        ),
        _section(
            "Where the time goes",
            "The mean time of a call in each phase; only compute is the model's own, the rest is start-up.",
            plots.phase_bars(runs),
        ),
        *(_timeline(label, told, functions) for label, told in page.timelines.items()),
    ]
    return whole_page("InstaInfer report", parts)


def whole_page(title: str, parts: Iterable[str]) -> str:
    """Return a page with these elements in its body, which needs no other file."""
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n'
        "</body></html>\n"
    )


def conclusions(runs: Sequence[Run]) -> list[str]:
    """Return the findings, one sentence for each run with pre-loading: its mean start-up against the runs without."""
    means = {run.label: summary.startup.mean for run in runs if (summary := summarise(run.records)).startup}
    sentences = []
    for label, ours in means.items():
        against = [
            f"{abs(1 - ours / theirs):.0%} {'below' if ours <= theirs else 'above'} {rival} ({ms(theirs)} ms)"
            for rival, theirs in means.items()
            if theirs > 0 and is_rival(label, rival)
        ]
        if against:
            sentences.append(f"Mean start-up latency of {label}: {ms(ours)} ms, {' and '.join(against)}.")
    return sentences or ["Latencies of a replayed trace."]


def _set_up(runs: Sequence[Run], page: Page) -> str:
    machine = page.document["machine"]
    colours = run_colours([run.label for run in runs])
    about = "".join(
        f"<li>{_run_name(run.label, colours)}: {escape(_RUNS.get(run.label, ''))} "
        f"(keep-alive <code>{escape(run.keepalive)}</code>, pre-loading <code>{escape(run.preload)}</code>, "
        f"templates and fast_init <code>{'on' if run.templates else 'off'}</code>)</li>"
        for run in runs
    )
    times = f"{len(runs)} times" if len(runs) > 1 else "once"
    plain = "<p>With templates and fast_init off, libraries and models are loaded from nothing, as on any platform.</p>"
    missing = f"<p>Not measured (yet): {escape(', '.join(page.missing))}.</p>" if page.missing else ""
    return (
        f"<h2>Set-up</h2><p>The same calls were replayed {times}, open-loop, each time on a fresh platform "
        f"whose containers may have {page.memory_mb:,} MB in all, too little for a container of every function:</p>"
        f"<ul>{about}</ul>{plain if not all(run.templates for run in runs) else ''}{missing}"
        f"<p>Workload: {escape(page.trace)} Placed inside its minutes with seed {page.seed}.<br>"
        f"Machine: {escape(str(machine['cpu']))}, {machine['cores']} cores, {machine['memory_gb']} GB, "
        f"Linux {escape(str(machine['kernel']))}, Python {escape(str(machine['python']))}; "
        f"InstaInfer {escape(str(page.document['version']))}.<br>"
        f"To repeat it: <code>{escape(page.command)}</code></p>"
    )


def _section(title: str, caption: str, content: str) -> str:
    return f'<h2>{escape(title)}</h2><p class="caption">{escape(caption)}</p><div class="wide">{content}</div>'


def _timeline(label: str, told: Timeline, functions: Sequence[str]) -> str:
    thin = " Thin grey bars are templates." if any(span.template for span in told.residents) else ""
    return _section(
        f"Timeline: {label}",
        "Each grey lane is a container while it existed, each bar in it a resident function: hatched while it loads, "
        f"pale while it waits, full while it runs. Triangles are calls, black ones had to wait for a load.{thin}",
        gantt.timeline(told, functions, label),
    )


# Tables


def _latencies(runs: Sequence[Run]) -> str:
    colours = run_colours([run.label for run in runs])
    rows = []
    for run in runs:
        summary = summarise(run.records)
        cells = [*_four(summary.startup), *_four(summary.e2e), f"{run.memory_gb_s:,.1f}", f"{run.used_gb_s:,.1f}"]
        rows.append(_row([_text(_run_name(run.label, colours)), *_cells(cells, edges=(0, 4, 8))]))
    groups = [("", 1), ("start-up latency, ms", 4), ("end-to-end latency, ms", 4), ("memory, GB·s", 2)]
    return _table(groups, ["run", *FIGURES, *FIGURES, "limits", "in use"], rows, edges=(1, 5, 9))


def _beginnings(runs: Sequence[Run]) -> str:
    colours = run_colours([run.label for run in runs])
    rows = []
    for run in runs:
        cells = _start_counts(summarise(run.records))
        rows.append(_row([_text(_run_name(run.label, colours)), *_cells(cells, edges=(0, 3))]))
    groups = [("", 1), ("calls", 3), ("of them began", 7)]
    return _table(groups, ["run", *_START_COLUMNS], rows, edges=(1, 4))


def _phases(runs: Sequence[Run]) -> str:
    colours = run_colours([run.label for run in runs])
    rows = []
    for run in runs:
        mean = summarise(run.records).phases_s
        cells = [ms(1000.0 * getattr(mean, phase)) for phase in PHASES]
        rows.append(_row([_text(_run_name(run.label, colours)), *_cells(cells, edges=(0,))]))
    groups = [("", 1), ("mean time in each phase, ms", len(PHASES))]
    return _table(groups, ["run", *PHASES], rows, edges=(1,))


def _function_latencies(runs: Sequence[Run]) -> str:
    labels = [run.label for run in runs]
    rivals = [label for label in labels if any(is_rival(other, label) for other in labels)]

    def cells(label: str, known: Mapping[str, Summary]) -> list[str]:
        summary = known[label]
        gains = [_gain(label, rival, known) for rival in rivals]
        return [*_four(summary.startup), *gains, *_four(summary.e2e)]

    groups = [("", 2), ("start-up latency, ms", 4), *([("speed-up", len(rivals))] if rivals else [])]
    groups.append(("end-to-end latency, ms", 4))
    head = ["function", "run", *FIGURES, *(f"over {rival}" for rival in rivals), *FIGURES]
    return _table(groups, head, _function_rows(runs, cells, (0, 4, 4 + len(rivals))), (2, 6, 6 + len(rivals)))


def _function_beginnings(runs: Sequence[Run]) -> str:
    rows = _function_rows(runs, lambda label, known: _start_counts(known[label]), edges=(0, 3))
    groups = [("", 2), ("calls", 3), ("of them began", 7)]
    return _table(groups, ["function", "run", *_START_COLUMNS], rows, edges=(2, 5))


def _function_rows(
    runs: Sequence[Run], cells: Callable[[str, Mapping[str, Summary]], list[str]], edges: Sequence[int]
) -> Iterator[str]:
    """Yield a row for each function and run; `cells` gets the run's label and the function's summaries by label."""
    colours = run_colours([run.label for run in runs])
    parts = {run.label: by_function(run.records) for run in runs}
    for name in sorted({name for functions in parts.values() for name in functions}):
        known = {label: summarise(functions.get(name, [])) for label, functions in parts.items()}
        title = f'<td class="text name" rowspan="{len(parts)}">{escape(name)}</td>'
        for label in known:
            yield _row(
                [title, _text(_run_name(label, colours)), *_cells(cells(label, known), edges)], first=bool(title)
            )
            title = ""


def _gain(label: str, rival: str, known: Mapping[str, Summary]) -> str:
    ours, theirs = known[label].startup, known[rival].startup
    if not is_rival(label, rival):
        return ""
    return "–" if ours is None or theirs is None or ours.mean == 0 else f"{theirs.mean / ours.mean:.1f}x"


_START_COLUMNS = ("all", "lost", "failed", *START_KINDS, "pre-loading rate")


def _start_counts(summary: Summary) -> list[str]:
    kinds = (str(summary.start_kinds.get(kind, 0)) for kind in START_KINDS)
    return [str(summary.calls), str(summary.lost), str(summary.failed), *kinds, f"{summary.preload_rate:.0%}"]


def _four(latency: Latency | None) -> list[str]:
    return ["–"] * 4 if latency is None else [ms(getattr(latency, figure)) for figure in FIGURES]


def _run_name(label: str, colours: Mapping[str, str]) -> str:
    return f'<i class="run" style="background:{colours[label]}"></i>{escape(label)}'


def _hyphenated(name: str) -> str:
    """Return the markup of a heading, with places where long words may break."""
    breaks = {
        "prewarmed": "pre-<br>warmed",
        "templated": "tem-<br>plated",
        "preloaded": "pre-<br>loaded",
        "pre-loading rate": "pre-load<br>rate",
    }
    return breaks.get(name) or escape(name).replace("over ", "over<br>")


def _text(markup: str) -> str:
    return f'<td class="text">{markup}</td>'


def _cells(cells: Iterable[str], edges: Sequence[int]) -> list[str]:
    return [f"<td{_class('edge', index in edges)}>{escape(cell)}</td>" for index, cell in enumerate(cells)]


def _row(cells: Iterable[str], *, first: bool = False) -> str:
    return f"<tr{_class('first', first)}>{''.join(cells)}</tr>"


def _table(groups: Sequence[tuple[str, int]], head: Sequence[str], rows: Iterable[str], edges: Sequence[int]) -> str:
    """Return a table with two heading rows; `edges` are the columns with a line to their left."""
    above, column = [], 0
    for title, span in groups:
        above.append(f'<th colspan="{span}"{_class("edge", column in edges)}>{escape(title)}</th>')
        column += span
    texts = groups[0][1]
    below = [
        f"<th{_class('text', index < texts) or _class('edge', index in edges)}>{name}</th>"
        for index, name in enumerate(map(_hyphenated, head))
    ]
    return (
        f'<table><thead><tr class="groups">{"".join(above)}</tr><tr>{"".join(below)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _class(name: str, given: bool) -> str:
    return f' class="{name}"' if given else ""
