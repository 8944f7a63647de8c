"""Measures how many processors a function keeps busy while it is loaded and while it computes.

The kernel counts the processor time of every process. The processor time that a platform's processes gain during a
call's load or compute phase, divided by the phase's duration, is the mean number of busy processors. A function that
waits for a disk or another service keeps none busy; one whose threads spin while they wait for each other keeps all
busy.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..client import Client
from ..runtime.memory import family
from .live import Steps
from .platform import Platform, Setting, running
from .setup import Prepared
from .starts import OTHER, call, deploy_into, deploy_other, told

_SETTING = Setting("processors", retain=True, preload="none", templates=False)
_LEAST_S = 0.5
"""The kernel counts processor time in steps of 10 ms, so calls are repeated until they took this long in total."""
_MOST_CALLS = 20
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")

MOST_WAITING = 0.1
"""If something waits for a processor for more than this share of the time, measured durations mean little."""


@dataclass(slots=True)
class Waiting:
    """How much the processes of a machine waited for processors."""

    share: float | None = None
    """Share of the time in which a process waited for a processor; None: the kernel does not tell, or not yet."""

    @property
    def is_long(self) -> bool:
        return self.share is not None and self.share > MOST_WAITING


@contextlib.contextmanager
def watched() -> Iterator[Waiting]:
    """Measure how busy the machine is while the block runs; waiting of the block's own processes counts too."""
    found = Waiting()
    began_s, before_s = time.monotonic(), _waited_s()
    yield found
    after_s = _waited_s()
    if before_s is not None and after_s is not None:
        found.share = (after_s - before_s) / max(time.monotonic() - began_s, _TICK_S)


def _waited_s() -> float | None:
    try:
        # The first line is "some": the time in which at least one task waited, in microseconds since the machine's
        # start.
        some = Path("/proc/pressure/cpu").read_text(encoding="ascii").partition("\n")[0]
    except OSError:
        return None
    return int(some.rpartition("total=")[2]) / 1e6


@dataclass(frozen=True, slots=True)
class Busy:
    """Mean number of busy processors during a load and during a call."""

    load: float
    compute: float


def measure(
    functions: Sequence[Prepared], folder: Path, cache: Path, container_mb: int, steps: Steps
) -> dict[str, Busy]:
    """Measure each function; the result is by name. Raises `HostError` or `BadFunction` when platform or call fails."""
    found = {}
    with (
        running(_SETTING, folder / _SETTING.label, cache, container_mb) as platform,
        platform.client() as client,
    ):
        deploy_other(client, container_mb)
        for each in functions:
            steps.step(f"processors: {each.name}")
            deploy_into(client, each, container_mb)
            found[each.name] = _busy(platform, client, each)
            client.delete_action(each.name)
    return found


def _busy(platform: Platform, client: Client, each: Prepared) -> Busy:
    args = json.loads(each.request)
    call(client, OTHER, {})
    before = _used(platform)
    _, first = told(call(client, each.name, args))
    loaded = _used(platform)
    computed_s = 0.0
    for _ in range(_MOST_CALLS):
        computed_s += told(call(client, each.name, args))[1].compute
        if computed_s >= _LEAST_S:
            break
    compute = _gained(loaded, _used(platform)) / max(computed_s, _TICK_S)
    load_s = first.libraries + first.model
    load = (_gained(before, loaded) - compute * first.compute) / max(load_s, _TICK_S)
    return Busy(_of_all(load), _of_all(compute))


def _used(platform: Platform) -> dict[int, float]:
    """Return the seconds of processor time that each process below the platform's main process has used."""
    return {pid: _process_s(pid) for pid in family([platform.pid]) if pid != platform.pid}


def _process_s(pid: int) -> float:
    try:
        # The process's name, in brackets, may contain anything; utime and stime are fields 14 and 15 of the line.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _gained(before: dict[int, float], after: dict[int, float]) -> float:
    return sum(max(0.0, used_s - before.get(pid, 0.0)) for pid, used_s in after.items())


def _of_all(cores: float) -> float:
    return round(min(max(cores, 0.0), float(len(os.sched_getaffinity(0)))), 2)
