"""Shows on a terminal what the demo does: the steps of its set-up, and the progress of a replay."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from ..report.records import START_KINDS, SUCCESS, CallRecord
from ..report.tables import ms
from .platform import Books
from .replay import PlannedCall, Watcher

_KIND_STYLES = dict(zip(START_KINDS, ("red", "yellow", "bright_blue", "magenta", "blue", "green", "cyan"), strict=True))
_GIB = 1024**3
_LINE_EVERY_S = 10.0


class Steps:
    """Shows the steps of one piece of work: a changing line on a terminal, and otherwise a line for each step."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._status = console.status(title) if console.is_terminal else None

    def __enter__(self) -> Steps:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def step(self, text: str) -> None:
        if self._status is not None:
            self._status.update(Text(f"{self._title}: {text}"))
        else:
            self._console.print(f"  {self._title}: {text}", markup=False, highlight=False, soft_wrap=True)

    def sent(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        if self._status is not None:
            self._status.update(Text(f"{self._title}: sending {name}, {sent_bytes / max(1, total_bytes):.0%}"))


class ReplayView(Watcher):
    """Counts the calls of a replay, and shows the counts."""

    def __init__(self, calls: int, duration_s: float) -> None:
        self._calls = calls
        self._duration_s = duration_s
        self._sent = 0
        self._ended = 0
        self._bad = 0
        self._startups_s: list[float] = []
        self._kinds: Counter[str] = Counter()
        self._books: Books | None = None
        self._next_line_s = 0.0
        self._bars = Progress(
            TextColumn("  {task.description:<9}"), BarColumn(40), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._sent_bar = self._bars.add_task("sent", total=calls)
        self._ended_bar = self._bars.add_task("answered", total=calls)

    def sent(self, call: PlannedCall) -> None:
        self._sent += 1
        self._bars.update(self._sent_bar, completed=self._sent)

    def ended(self, record: CallRecord) -> None:
        self._ended += 1
        self._bars.update(self._ended_bar, completed=self._ended)
        if record.start_kind is not None:
            self._kinds[record.start_kind] += 1
        if record.status == SUCCESS:
            self._startups_s.append(record.startup_s)
        else:
            self._bad += 1

    def books(self, books: Books) -> None:
        """Take the platform's current memory figures."""
        self._books = books

    @contextlib.contextmanager
    def shown(self, console: Console) -> Iterator[None]:
        """Show the counts while the block runs; on a terminal the display is updated in place."""
        if not console.is_terminal:
            yield
            console.print(f"  {self._line()}", markup=False, highlight=False, soft_wrap=True)
            return
        with Live(get_renderable=self._render, console=console, refresh_per_second=4):
            yield

    def tick(self, console: Console, now_s: float) -> None:
        """Print a line from time to time, unless the console is a terminal."""
        if not console.is_terminal and now_s >= self._next_line_s:
            line = f"  {now_s:4.0f} s of {self._duration_s:.0f} s  {self._line()}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
            self._next_line_s = now_s + _LINE_EVERY_S

    def _render(self) -> RenderableType:
        return Group(self._bars, Text("  ").append_text(self._kinds_text()), Text(f"  {self._means()}"))

    def _kinds_text(self) -> Text:
        parts = [
            Text(f"{kind} {self._kinds[kind]}", style=style)
            for kind, style in _KIND_STYLES.items()
            if self._kinds[kind]
        ]
        return Text("  ").join(parts) if parts else Text("no call has ended yet")

    def _means(self) -> str:
        parts = []
        if self._startups_s:
            mean_s = sum(self._startups_s) / len(self._startups_s)
            parts.append(f"mean start-up {ms(1000.0 * mean_s)} ms")
        if self._books is not None:
            books = self._books
            parts.append(
                f"containers {books.committed_bytes / _GIB:.1f} of {books.budget_bytes / _GIB:.1f} GB, "
                f"measured {books.used_bytes / _GIB:.1f} GB"
            )
        if self._bad:
            parts.append(f"{self._bad} without success")
        return "; ".join(parts)

    def _line(self) -> str:
        return f"{self._sent}/{self._calls} sent, {self._ended} answered; {self._kinds_text().plain}; {self._means()}"
