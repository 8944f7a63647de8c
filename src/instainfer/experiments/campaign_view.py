"""Shows the progress of a campaign: a bar on a terminal, and otherwise a line for each run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..report.grid import number
from .campaign import Document, Watcher
from .runs import Run

_LONG_S = 1.0
"""The duration of a run is mentioned if it is longer."""


class CampaignView(Watcher):
    """Writes to a console, best one for standard error; `lines` prints a line per run on a terminal too."""

    def __init__(self, console: Console, *, lines: bool = False) -> None:
        self._console = console
        self._lines = lines or not console.is_terminal
        self._runs = self._done = 0
        self._last_s = time.monotonic()
        self._bars = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=self._lines,
        )
        self._task = self._bars.add_task("runs", total=None)

    @contextmanager
    def shown(self) -> Iterator[None]:
        with self._bars:
            yield

    def begins(self, runs: int, there: int) -> None:
        self._runs, self._done = runs, there
        kept = f", {there} of them made before" if there else ""
        self._say(f"{runs} runs{kept}")
        # Runs that were there took no time now, and would make the estimate of the remaining time too small.
        self._bars.reset(self._task, total=runs - there)

    def spoilt(self, path: Path, reason: str) -> None:
        self._say(f"{path} is not used: {reason}; the run is made again", "yellow")

    def made(self, run: Run, document: Document) -> None:
        found = document["runs"][0]
        startup = found["startup_ms"]["mean"] if found["startup_ms"] else None
        self._one(run, f"start-up {number(startup)} ms, {found['memory_gb_s']:,.0f} GB·s")

    def failed(self, run: Run, reason: str) -> None:
        self._one(run, f"failed: {reason}", "red")

    def _one(self, run: Run, text: str, style: str = "") -> None:
        self._done += 1
        self._bars.update(self._task, advance=1, description=run.system)
        now_s = time.monotonic()
        took = f" ({now_s - self._last_s:.1f} s)" if now_s - self._last_s > _LONG_S else ""
        self._last_s = now_s
        if style or self._lines:
            self._say(f"[{self._done}/{self._runs}] {run.name}: {text}{took}", style)

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(text, style=style or None, markup=False, highlight=False, soft_wrap=True)
