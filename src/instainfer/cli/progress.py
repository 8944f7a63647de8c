"""Shows the progress of a deployment on standard error.

This module imports rich, which is slow, so it is imported only when a deployment begins.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from .output import console, note


class DeployProgress:
    """Prints one line for each step and, on a terminal, draws a bar for each file that is being sent.

    It implements the protocol `instainfer.deployment.Progress`.
    """

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._bars = Progress(
            TextColumn("  {task.description}", markup=False),
            BarColumn(),
            DownloadColumn(binary_units=True),
            TransferSpeedColumn(),
            console=console(sys.stderr),
            transient=True,
            disable=not self._terminal,
        )
        self._files: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def step(self, text: str) -> None:
        if self._terminal:
            self._bars.console.print(text, markup=False)
        else:
            note(text)

    def sent(self, name: str, sent_bytes: int, total_bytes: int) -> None:
        if name not in self._files:
            self._files[name] = self._bars.add_task(name, total=total_bytes)
        self._bars.update(self._files[name], completed=sent_bytes)
