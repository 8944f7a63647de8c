"""The demo: replays one trace on four configurations of the platform, and shows what pre-loading saves.

Everything is measured on live platforms, which make all decisions themselves.
"""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config import load_config
from ..errors import BadInput, HostError
from ..examples import PAPER
from ..report import html, results, tables, timeline
from ..report.records import CallRecord, summarise, to_line
from ..report.results import Run
from ..traces import azure2019
from ..traces.azure2019 import Trace
from ..traces.counts import Counts
from ..traces.generate import generate
from . import direct
from .live import Steps
from .measuring import CONTAINER_MB, deploy_all, measure
from .platform import chosen, running
from .replay import PlannedCall
from .setup import Prepared, prepare
from .workload import plan, without_idle_beginning

DEFAULT_SEED = 4
"""The first seed with which both default traces call every function, and with which four runs of the short trace take
less than four minutes (without its idle beginning)."""

SHORT = ("resnet50", "alexnet", "googlenet", "inception_v3")
"""Functions of the default run: the four of the eight that differ most in kind and size."""

_BETWEEN_RUNS_S = 4.0
"""Estimated time per run for starting the platform, deploying, stopping it and writing the results."""
_MARK = ".instainfer-demo"


@dataclass(frozen=True, slots=True)
class Options:
    """What to compare, and where to write it."""

    full: bool = False
    """Eight functions and five minutes, instead of four functions and one minute."""
    trace: Path | None = None
    """A trace that is replayed completely on all eight functions, instead of a generated one."""
    out: Path = Path("demo-out")
    seed: int = DEFAULT_SEED
    weights: Path | None = None
    """Folder with real weights, which replace the seeded ones."""
    runs: tuple[str, ...] = ()
    """Labels of the runs to make; empty: all."""
    backend: str | None = None
    """How containers are made, if not as configured."""

    @property
    def functions(self) -> tuple[str, ...]:
        return PAPER if self.full or self.trace is not None else SHORT

    @property
    def memory_mb(self) -> int:
        """Memory for three containers when four functions are called, and for five when eight are."""
        return CONTAINER_MB * (5 if len(self.functions) > 4 else 3)

    @property
    def command(self) -> str:
        """The command that repeats the demo."""
        words = ["instainfer", "demo", *(["--full"] if self.full else [])]
        for flag, value in (("--trace", self.trace), ("--weights", self.weights)):
            words += [flag, str(value)] if value is not None else []
        words += ["--backend", self.backend] if self.backend else []
        words += ["--runs", ",".join(self.runs)] if self.runs else []
        return shlex.join([*words, "--seed", str(self.seed), "--out", str(self.out)])


def run_demo(options: Options, console: Console) -> dict[str, Any]:
    """Set up, replay once for each run, print the comparison, and write it into ``options.out``.

    Results are written after every run, so an interrupted demo keeps its finished runs. Returns the content of
    ``results.json``. Raises `BadInput` for a malformed trace, an unknown run or a folder that holds other things, and
    `EnvironmentBuildError` or `HostError` when the set-up or a platform fails.
    """
    settings = chosen(options.runs)
    trace = _trace(options)
    _make_room(options.out)
    _write_trace(trace, options)
    cache = load_config().cache_dir.absolute()
    console.rule("set-up", align="left")
    functions = prepare(options.functions, cache, options.weights, console)
    planned = plan(Counts(trace), options.seed, options.functions, {each.name: each.request for each in functions})
    calls, duration_s = without_idle_beginning(planned, trace.duration_s)
    console.print(_expectation(options, calls, duration_s, len(settings)), highlight=False, soft_wrap=True)
    runs: list[Run] = []
    document: dict[str, Any] = {}
    writer = _Writer(options, trace, [setting.label for setting in settings], console)
    for number, setting in enumerate(settings, 1):
        console.rule(f"{setting.label} (run {number} of {len(settings)})", align="left")
        folder = options.out / "runs" / setting.label
        with running(setting, folder, cache, options.memory_mb, options.backend) as platform:
            deploy_all(platform, functions, console)
            runs.append(measure(platform, setting, calls, duration_s, console))
        document = writer.write(runs)
    _print(runs, console)
    if options.full:
        console.print(against_direct(runs[-1].records, _direct(functions, console)))
    console.print(f"written to {options.out}: output.log, results.json, report.html", highlight=False)
    return document


def _expectation(options: Options, calls: Sequence[PlannedCall], duration_s: float, runs: int) -> str:
    minutes = runs * (duration_s + _BETWEEN_RUNS_S) / 60.0
    return (
        f"{len(calls)} calls of {len(options.functions)} functions in {duration_s:.0f} s; {options.memory_mb:,} MB "
        f"for containers of {CONTAINER_MB:,} MB\n"
        f"{runs} {'runs' if runs > 1 else 'run'} of the same calls: about {minutes:.0f} min"
    )


def _trace(options: Options) -> Trace:
    if options.trace is not None:
        return azure2019.read(options.trace)
    return generate(minutes=5 if options.full else 1, functions=len(options.functions), seed=options.seed)


def _make_room(out: Path) -> None:
    """Create the folder if it is missing; remove the platforms' files if it is that of an earlier demo."""
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out} is not a folder; give another one with --out")
    if out.is_dir() and any(out.iterdir()) and not (out / _MARK).exists():
        raise BadInput(f"{out} holds files that are not a demo's; give an empty or new folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARK).touch()
    if (out / "runs").exists():
        shutil.rmtree(out / "runs")


def _write_trace(trace: Trace, options: Options) -> None:
    if options.trace is None:
        name = f"trace-{trace.minutes}min-{len(trace.functions)}functions-seed{options.seed}.csv"
        azure2019.write(trace, options.out / name)


class _Writer:
    """Writes the three result files again after every run."""

    def __init__(self, options: Options, trace: Trace, labels: Sequence[str], console: Console) -> None:
        self._options = options
        self._trace = trace
        self._labels = labels
        self._console = console
        self._timelines: dict[str, timeline.Timeline] = {}

    def write(self, runs: Sequence[Run]) -> dict[str, Any]:
        """Write the files, and return the content of ``results.json``."""
        out = self._options.out
        document = results.to_json(runs, self._options.seed)
        with (out / "output.log").open("w", encoding="utf-8") as log:
            log.writelines(to_line(record, run.label) for run in runs for record in run.records)
        results.write(document, out / "results.json")
        for run in runs:
            if run.label not in self._timelines:
                self._timelines[run.label] = _timeline(out / "runs" / run.label, run.records)
        try:
            (out / "report.html").write_text(html.render(runs, self._page(runs, document)), encoding="utf-8")
        except HostError as error:
            # The measurement is already written; only the page with the figures is missing.
            if len(runs) == len(self._labels):
                self._console.print(f"no report.html: {error}", style="yellow", markup=False)
        return document

    def _page(self, runs: Sequence[Run], document: Mapping[str, Any]) -> html.Page:
        trace, options = self._trace, self._options
        calls = len(runs[0].records)
        return html.Page(
            command=options.command,
            trace=f"{calls} calls of {len(trace.functions)} functions in {trace.duration_s:g} s ({trace.source}), "
            "from half a second before the first call.",
            seed=options.seed,
            memory_mb=options.memory_mb,
            document=document,
            timelines=self._timelines,
            missing=self._labels[len(runs) :],
        )


def _timeline(folder: Path, records: Sequence[CallRecord]) -> timeline.Timeline:
    """Return a run's timeline on the replay's clock; the first request in the story is the first call that was sent."""
    told = timeline.read(folder / "story.jsonl")
    if told.first_request_s is None or not records:
        return told
    return told.shifted(min(record.sent_s for record in records) - told.first_request_s)


def _print(runs: Sequence[Run], console: Console) -> None:
    console.rule("comparison", align="left")
    for table in (*tables.functions(runs), *tables.overall(runs)):
        console.print(table)
        console.print()
    console.print(tables.TEMPLATES_NOTE, highlight=False)
    for sentence in html.conclusions(runs):
        console.print(sentence, highlight=False)


def _direct(functions: Sequence[Prepared], console: Console) -> dict[str, direct.Direct]:
    measured = {}
    with Steps(console, "calling functions directly") as steps:
        for each in functions:
            steps.step(each.name)
            found = direct.measure(each.python, each.folder, each.request, each.weights_dir)
            if found is not None:
                measured[each.name] = found
    return measured


def against_direct(records: Sequence[CallRecord], measured: Mapping[str, direct.Direct]) -> Table:
    """Return a table that compares a run's pre-loaded calls with calls without a platform, in ms."""
    table = tables.plain("Pre-loaded calls (p50) beside direct ones without a platform (ms)", "function")
    for name in ("calls", "start-up", "end-to-end", "direct,\nfirst", "direct,\nlater", "end-to-end\nover direct"):
        table.add_column(name, justify="right")
    for name, found in measured.items():
        ours = summarise([r for r in records if r.function == name and r.start_kind == "preloaded"])
        first_ms = 1000.0 * found.first_s
        cells = ("–", "–", tables.ms(first_ms), tables.ms(1000.0 * found.later_s), "–")
        if ours.startup is not None and ours.e2e is not None:
            ratio = f"{ours.e2e.p50 / first_ms:.2f}"
            cells = (tables.ms(ours.startup.p50), tables.ms(ours.e2e.p50), cells[2], cells[3], ratio)
        table.add_row(name, str(ours.calls), *cells)
    return table
