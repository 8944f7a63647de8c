"""Says how a container's manager ended, for the failures of the calls that it leaves behind."""

from __future__ import annotations

import os
import signal
from pathlib import Path

LOG = "manager.log"
"""The file in a container's folder that takes the output of its manager."""
_TAIL_BYTES = 2000


def how_it_ended(code: int | None, log: Path) -> str:
    """An exit code, negative for a signal and None if nobody knows it, and the last output of the manager, in words."""
    if code is None:
        how = "has ended"
    else:
        how = f"ended with exit code {code}" if code >= 0 else f"was killed by {_signal_name(-code)}"
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            tail = file.read(_TAIL_BYTES).decode(errors="replace").strip()
    except OSError:
        tail = ""
    return f"{how}: {tail}" if tail else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no names
        return f"signal {number}"
