"""Ends the threads of OpenMP before a fork: a forked process would wait for ever for threads that it does not have.

They come back by themselves when they are needed again.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress

_NAMES = ("libgomp", "libiomp", "libomp")
_PAUSE_HARD = 2
"""``omp_pause_hard`` of OpenMP 5.0: free everything that the runtime holds, its threads included."""


def pause_before_forks() -> None:
    """Have it done before each fork of this process and of those forked from it, ``multiprocessing``'s among them."""
    os.register_at_fork(before=_pause_if_threaded)


def _pause_if_threaded() -> None:
    if len(os.listdir("/proc/self/task")) > 1:
        pause()


def pause() -> None:
    """End the threads of every OpenMP runtime in this process. Packages bring their own, so there may be several."""
    for path in _mapped_libraries():
        if os.path.basename(path).startswith(_NAMES):
            with suppress(OSError, AttributeError):  # not loadable a second time; older than OpenMP 5.0
                ctypes.CDLL(path).omp_pause_resource_all(_PAUSE_HARD)


def _mapped_libraries() -> set[str]:
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        lines = (line.rstrip("\n").split(None, 5) for line in maps)
        return {fields[5] for fields in lines if len(fields) > 5 and ".so" in fields[5]}
