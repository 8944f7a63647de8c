"""How much longer a call takes when something else wants the processors: another call, or a load in the background.

Equal parts of the processors explain only some of it. The threads of one call wait for each other many times; if one
of them has to wait for its processor, all do. And where a thread is woken on a processor that is taken, it may take the
kernel milliseconds to move it, or to send away what has the lowest priority. By how much depends on the function, the
kernel and the machine, so it is measured: warm calls alone, two at once in two containers, and beside a process of a
session of its own that is given the priority of background loads.
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
"""Of each kind; the median counts."""
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
"""With the priority that a container's manager gives a load, what a load does: it makes objects, and touches pages for
the first time."""


@dataclass(frozen=True, slots=True)
class Crowding:
    """How many times as long a call takes as alone."""

    call: float
    """Beside another of the same function."""
    load: float
    """Beside a load in the background."""


def measure(
    functions: Sequence[Prepared], folder: Path, cache: Path, container_mb: int, steps: Steps
) -> dict[str, Crowding]:
    """Of each function, by name. Raises `HostError` when the platform fails, `BadFunction` when a call does."""
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
        """Of so many calls at once, after a pause; calls that had to load tell nothing."""
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
    """1 where nothing was seen, or only noise that makes company an advantage."""
    if not slow_s or not fast_s or (fast := statistics.median(fast_s)) <= 0.0:
        return 1.0
    return round(max(1.0, statistics.median(slow_s) / fast), 2)


class _Background:
    """A process that loads for ever, and stands still unless it is wanted."""

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
