"""The demo: one trace, replayed on three configurations of the platform, and what pre-loading saves.

Everything is measured on live platforms. What is decided (which container, what to pre-load) is decided there.
"""

from __future__ import annotations

import asyncio
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ..config import load_config
from ..deployment import deploy
from ..errors import BadInput, HostError
from ..examples import PAPER
from ..report import html, results, tables, timeline
from ..report.records import CallRecord, summarise, to_line
from ..report.results import Run
from ..traces import azure2019
from ..traces.azure2019 import Trace
from ..traces.generate import generate
from . import direct
from .live import ReplayView, Steps
from .platform import COMPARISON, Books, Platform, Setting, running
from .replay import PlannedCall, replay
from .setup import Prepared, prepare
from .workload import plan

DEFAULT_SEED = 1
"""The first seed with which every function of both default traces is called."""

CONTAINER_MB = 2048
SHORT = ("resnet50", "alexnet", "googlenet", "inception_v3")
"""The functions of the default run: of all eight the kinds and sizes differ most among these."""

_MARK = ".instainfer-demo"
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class Options:
    """What to compare."""

    full: bool = False
    """All eight functions and five minutes, instead of four and one."""
    trace: Path | None = None
    """A trace to be replayed, whole, on all eight functions, instead of a generated one."""
    out: Path = Path("demo-out")
    seed: int = DEFAULT_SEED
    weights: Path | None = None
    """Folder of real weights, instead of seeded ones."""

    @property
    def functions(self) -> tuple[str, ...]:
        return PAPER if self.full or self.trace is not None else SHORT

    @property
    def memory_mb(self) -> int:
        """Room for three containers when four functions are called, for five when eight are."""
        return CONTAINER_MB * (5 if len(self.functions) > 4 else 3)

    @property
    def command(self) -> str:
        """What repeats it."""
        words = ["instainfer", "demo", *(["--full"] if self.full else [])]
        for flag, value in (("--trace", self.trace), ("--weights", self.weights)):
            words += [flag, str(value)] if value is not None else []
        return shlex.join([*words, "--seed", str(self.seed), "--out", str(self.out)])


def run_demo(options: Options, console: Console) -> dict[str, Any]:
    """Set up, replay three times, print the comparison and write it into ``options.out``.

    Returns what is in ``results.json``. Raises `BadInput` for a malformed trace or a folder that holds other things,
    `EnvironmentBuildError` and `HostError` when the set-up or a platform fails.
    """
    trace = _trace(options)
    _make_room(options.out)
    _write_trace(trace, options)
    cache = load_config().cache_dir.absolute()
    console.rule("set-up", align="left")
    functions = prepare(options.functions, cache, options.weights, console)
    calls = plan(trace, options.seed, options.functions, {each.name: each.request for each in functions})
    console.print(
        f"{len(calls)} calls of {len(options.functions)} functions in {trace.minutes} min ({trace.source}); "
        f"{options.memory_mb:,} MB for containers of {CONTAINER_MB:,} MB",
        highlight=False,
    )
    runs = []
    for setting in COMPARISON:
        console.rule(setting.label, align="left")
        with running(setting, options.out / "runs" / setting.label, cache, options.memory_mb) as platform:
            _deploy_all(platform, functions, console)
            runs.append(_measure(platform, setting, calls, trace.duration_s, console))
    document = results.to_json(runs, options.seed)
    _write(options, trace, runs, document, console)
    _print(runs, console)
    if options.full:
        console.print(against_direct(runs[-1].records, _direct(functions, console)))
    console.print(f"written to {options.out}: output.log, results.json, report.html", highlight=False)
    return document


def _trace(options: Options) -> Trace:
    if options.trace is not None:
        return azure2019.read(options.trace)
    return generate(minutes=5 if options.full else 1, functions=len(options.functions), seed=options.seed)


def _make_room(out: Path) -> None:
    """An empty folder, or one of an earlier demo without what that left of its platforms."""
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


def _deploy_all(platform: Platform, functions: Sequence[Prepared], console: Console) -> None:
    with platform.client() as client:
        for each in functions:
            with Steps(console, f"deploying {each.name}") as steps:
                deploy(client, each.folder, each.weights_dir, steps, name=each.name, memory_mb=CONTAINER_MB)


def _measure(
    platform: Platform, setting: Setting, calls: Sequence[PlannedCall], duration_s: float, console: Console
) -> Run:
    view = ReplayView(len(calls), duration_s)
    with platform.client() as client, view.shown(console):
        before = Books.of(client.status())

        async def look() -> None:
            loop = asyncio.get_running_loop()
            began = loop.time()
            while True:
                view.books(Books.of(await asyncio.to_thread(client.status)))
                view.tick(console, loop.time() - began)
                await asyncio.sleep(_LOOK_EVERY_S)

        async def both() -> list[CallRecord]:
            looking = asyncio.create_task(look())
            try:
                return await replay(calls, platform.api_host, platform.auth, duration_s, view)
            finally:
                looking.cancel()
                await asyncio.gather(looking, return_exceptions=True)

        records = asyncio.run(both())
        books = Books.of(client.status()).since(before)
    return Run(
        setting.label,
        setting.keepalive,
        setting.preload,
        records,
        books.committed_gb_s,
        books.used_gb_s,
        books.preloads,
    )


def _write(options: Options, trace: Trace, runs: Sequence[Run], document: Mapping[str, Any], console: Console) -> None:
    with (options.out / "output.log").open("w", encoding="utf-8") as log:
        log.writelines(to_line(record, run.label) for run in runs for record in run.records)
    results.write(document, options.out / "results.json")
    page = html.Page(
        command=options.command,
        trace=f"{trace.calls} calls of {len(trace.functions)} functions in {trace.minutes} minutes ({trace.source}).",
        seed=options.seed,
        memory_mb=options.memory_mb,
        document=document,
        timelines={run.label: _timeline(options.out / "runs" / run.label, run.records) for run in runs},
    )
    try:
        (options.out / "report.html").write_text(html.render(runs, page), encoding="utf-8")
    except HostError as error:
        # The measurement is done and written; only its pictures are missing.
        console.print(f"no report.html: {error}", style="yellow", markup=False)


def _timeline(folder: Path, records: Sequence[CallRecord]) -> timeline.Timeline:
    """A run's timeline on the replay's clock: the first request of its story is the first call that was sent."""
    told = timeline.read(folder / "story.jsonl")
    if told.first_request_s is None or not records:
        return told
    return told.shifted(min(record.sent_s for record in records) - told.first_request_s)


def _print(runs: Sequence[Run], console: Console) -> None:
    console.rule("comparison", align="left")
    for table in (tables.functions(runs), tables.start_kinds(runs), tables.overall(runs), tables.speedups(runs)):
        if table is not None:
            console.print(table)


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
    """Pre-loaded calls of a run beside calls without a platform, in ms."""
    table = Table(title="Pre-loaded calls and direct ones (ms)", title_justify="left")
    table.add_column("function")
    for name in ("pre-loaded calls", "start-up p50", "end-to-end p50", "direct, first", "direct, later", "ratio"):
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
