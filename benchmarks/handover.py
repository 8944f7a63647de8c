"""What a call waits for when its container's other residents have to end first: no longer for their memory.

    python benchmarks/handover.py [--calls N] [--neighbours N] [--mib M] [--json FILE]

One container of the process backend holds a function that does nothing and so many neighbours with so many MiB of
their own. The function is called: the neighbours end, and the call is handed over. Then they are loaded again. Printed
is the hand-off: the time from the command to the report of the call's end, without the time that the function computed,
once with neighbours and once without any (what messages take); and when the memory of the last neighbour was free.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from instainfer.backends.base import Answer, Call, ContainerSpec, FunctionSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.managed import ManagedContainer
from instainfer.backends.process import ProcessBackend
from instainfer.core.events import ContainerStarted, Event, LoadFinished, ResidentGone, RunFinished

MIB = 1024 * 1024
NOOP = "def main(args):\n    return {}\n"
NEIGHBOUR = """
held = bytearray({mib} * 1024 * 1024)
for n in range(0, len(held), 4096):
    held[n] = 1


def main(args):
    return {{}}
"""

E = TypeVar("E", bound=Event)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = LoopClock()
        self.backend = ProcessBackend(self.clock, scratch=folder / "scratch")
        self.events: list[Event] = []
        self.news = asyncio.Event()

    def report(self, event: Event, answer: Answer | None) -> None:
        self.events.append(event)
        self.news.set()

    def function(self, name: str, code: str) -> FunctionSpec:
        folder = self.folder / name
        folder.mkdir()
        (folder / "handler.py").write_text(code)
        return FunctionSpec(f"guest/{name}@0.0.1", folder, Path(sys.executable), "handler", timeout_s=60.0)

    async def wait_for(self, kind: type[E], matches: Callable[[E], bool] = lambda event: True) -> E:
        """The next event that matches; all events up to now are looked at once."""
        async with asyncio.timeout(60.0):
            while True:
                for event in self.events:
                    if isinstance(event, kind) and matches(event):
                        self.events.remove(event)
                        return event
                self.news.clear()
                await self.news.wait()

    async def load(self, container: ManagedContainer, function: FunctionSpec) -> None:
        container.load(function)
        await self.wait_for(LoadFinished, lambda event: event.function == function.key)

    async def handoff_s(self, container: ManagedContainer, function: FunctionSpec, activation: str) -> float:
        began = self.clock.now()
        container.run(function, Call(activation, function.key, b"{}"))
        ended = await self.wait_for(RunFinished, lambda event: event.activation == activation)
        if ended.failure is not None:
            sys.exit(f"a call failed: {ended.failure.message}")
        return ended.at - began - ended.compute_s


async def measure(options: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="instainfer-handover-") as temporary:
        bench = Bench(Path(temporary))
        target = bench.function("target", NOOP)
        others = [bench.function(f"n{n}", NEIGHBOUR.format(mib=options.mib)) for n in range(options.neighbours)]
        limit_bytes = 2 * options.neighbours * options.mib * MIB + 1024 * MIB
        container = bench.backend.start(ContainerSpec("c", "guest", limit_bytes), bench.report)
        await bench.wait_for(ContainerStarted)
        await bench.load(container, target)
        await bench.handoff_s(container, target, "first")
        alone = [await bench.handoff_s(container, target, f"alone-{n}") for n in range(options.calls)]
        with_neighbours, freed = [], []
        for n in range(options.calls):
            for other in others:
                await bench.load(container, other)
            began = bench.clock.now()
            with_neighbours.append(await bench.handoff_s(container, target, f"a{n}"))
            for other in others:
                gone = await bench.wait_for(ResidentGone, lambda event, key=other.key: event.function == key)
            freed.append(gone.at - began)
        await bench.backend.close()
    return {
        "neighbours": options.neighbours,
        "mib_each": options.mib,
        "calls": options.calls,
        "handoff_alone_ms": percentiles_ms(alone),
        "handoff_ms": percentiles_ms(with_neighbours),
        "memory_free_after_ms": percentiles_ms(freed),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()},
    }


def percentiles_ms(times_s: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times_s, n=100, method="inclusive")
    return {"p50": round(1e3 * cuts[49], 2), "p99": round(1e3 * cuts[98], 2), "max": round(1e3 * max(times_s), 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--neighbours", type=int, default=4)
    parser.add_argument("--mib", type=int, default=300, help="memory of each neighbour")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    figures = asyncio.run(measure(options))
    print(f"{options.neighbours} neighbours of {options.mib} MiB, {options.calls} calls (ms)")
    for name in ("handoff_alone_ms", "handoff_ms", "memory_free_after_ms"):
        each = figures[name]
        print(f"{name.removesuffix('_ms'):20} p50 {each['p50']:>7}   p99 {each['p99']:>7}   max {each['max']:>7}")
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
