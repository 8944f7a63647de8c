"""Measures how much longer a call takes when another call or a background load competes for the processors.

Equal shares of the processors explain only a part of it. The threads of a call wait for each other many times, so one
thread that waits for its processor holds up all of them. A thread that is woken on a busy processor may also wait
milliseconds until the kernel moves it or preempts the work of lowest priority. How much that costs depends on function,
kernel and machine, so it is measured with warm calls: alone, two at once in two containers, and beside a process that
has a session of its own and the priority of background loads.
"""

from __future__ import annotations

import contextlib
import json
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..core.model import StartKind
from ..errors import HostError
from .live import Steps
from .platform import Platform, Setting, running
from .setup import Prepared
from .starts import PAUSE_S, call, deploy_into, told

_SETTING = Setting("crowding", retain=True, preload="none", templates=False)
_ROUNDS: Final = 7
"""Number of measurements of each kind; their median counts."""
_LOAD = """
import os
from instainfer.runtime.priority import Priority
priority = Priority()
priority.lower(os.getpid())
priority.set_session(low=True)
print(flush=True)
while True:
    numbers = [float(n) for n in range(20_000)]
    bytearray(4 << 20)
"""
"""Does what a load does, with the priority that a container's manager gives to loads: it creates objects and touches
memory pages for the first time."""


@dataclass(frozen=True, slots=True)
class Crowding:
    """How many times as long a call takes as when it is alone."""

    call: float
    """Beside another call of the same function."""
    load: float
    """Beside a background load."""


def measure(
    functions: Sequence[Prepared], folder: Path, cache: Path, container_mb: int, steps: Steps
) -> dict[str, Crowding]:
    """Measure each function; the result is by name. Raises `HostError` or `BadFunction` when platform or call fails."""
    found = {}
    with (
        running(_SETTING, folder / _SETTING.label, cache, 2 * container_mb) as platform,
        platform.client() as client,
        _background_load() as background,
        ThreadPoolExecutor(2) as callers,
    ):
        for each in functions:
            steps.step(f"crowding: {each.name}")
            deploy_into(client, each, container_mb)
            found[each.name] = _crowding(platform, callers, background, each)
            client.delete_action(each.name)
    return found


def _crowding(platform: Platform, callers: ThreadPoolExecutor, background: _Background, each: Prepared) -> Crowding:
    args = json.loads(each.request)

    def computed_s(calls: int) -> list[float]:
        """Send `calls` calls at once after a pause; return the compute times of those that were warm."""
        time.sleep(PAUSE_S)
        answers = [told(answer) for answer in callers.map(lambda _: _call(platform, each.name, args), range(calls))]
        return [phases.compute for kind, phases in answers if kind is StartKind.WARM]

    computed_s(2), computed_s(2)
    alone_s = [seconds for _ in range(_ROUNDS) for seconds in computed_s(1)]
    both_s = [seconds for _ in range(_ROUNDS) for seconds in computed_s(2)]
    with background.going_on():
        beside_s = [seconds for _ in range(_ROUNDS) for seconds in computed_s(1)]
    return Crowding(_ratio(both_s, alone_s), _ratio(beside_s, alone_s))


def _call(platform: Platform, function: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
    with platform.client() as client:
        return call(client, function, args)


def _ratio(slow_s: Sequence[float], fast_s: Sequence[float]) -> float:
    """Return the ratio of the medians; 1 if there are no samples, or if noise makes the ratio smaller than 1."""
    if not slow_s or not fast_s or (fast := statistics.median(fast_s)) <= 0.0:
        return 1.0
    return round(max(1.0, statistics.median(slow_s) / fast), 2)


class _Background:
    """A process that loads without end, and is stopped unless it is wanted."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        process.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        self._process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGSTOP)


@contextlib.contextmanager
def _background_load() -> Iterator[_Background]:
    with subprocess.Popen(
        [sys.executable, "-c", _LOAD], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            if process.stdout is None or not process.stdout.readline():
                raise HostError("a process in the background does not start, beside which calls are measured")
            yield _Background(process)
        finally:
            process.kill()
