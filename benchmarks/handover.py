"""How long a call waits for its neighbours: from the moment the container takes it until its function's code sees it.

    python benchmarks/handover.py [--neighbours N] [--mb MB] [--calls N] [--json FILE]

One container of the process backend holds a function and its neighbours, each with some memory that it has written to.
The function is called, which ends the neighbours; they are loaded again, and so on. In turn with that it is called when
nobody is beside it, which is what messages alone cost here and now. Told are percentiles of both, and when the last
neighbour's memory had been given back. On a machine whose processors have other things to do everything takes longer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from instainfer.backends.base import Answer, Call, ContainerSpec, FunctionSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.process import ProcessBackend
from instainfer.core.events import ContainerStarted, Event, LoadFailed, LoadFinished, ResidentGone, RunFinished
from instainfer.core.model import MIB
from instainfer.report.results import this_machine
from instainfer.report.tables import ms, plain

_PATIENCE_S = 300.0
_REST_S = 0.1
"""Between loading and calling, so that nothing of the one is in the other."""
_ROOM_MIB = 1024
_CALLED = """
import time
def main(args):
    return {"seen_at": time.monotonic()}
"""
_NEIGHBOUR = """
held = bytearray(b"x") * ({mb} << 20)
def main(args):
    return {{}}
"""


class Bench:
    """A container, its functions and what it has reported since `forget`."""

    def __init__(self, folder: Path, neighbours: int, mb: int) -> None:
        self._folder = folder
        self.backend = ProcessBackend(LoopClock(), scratch=folder / "scratch")
        self.events: list[tuple[float, Event]] = []
        self._seen_at = 0.0
        self._news = asyncio.Event()
        self.called = self._function("called", _CALLED)
        self.neighbours = [self._function(f"neighbour{n}", _NEIGHBOUR.format(mb=mb)) for n in range(neighbours)]
        limit_bytes = (neighbours * mb + _ROOM_MIB) * MIB
        self.container = self.backend.start(ContainerSpec("c", "bench", limit_bytes), self._report)

    def _function(self, name: str, code: str) -> FunctionSpec:
        folder = self._folder / name
        folder.mkdir()
        (folder / "handler.py").write_text(code)
        return FunctionSpec(f"bench/{name}@1", folder, Path(sys.executable), "handler", timeout_s=_PATIENCE_S)

    def _report(self, event: Event, answer: Answer | None) -> None:
        self.events.append((time.monotonic(), event))
        if answer is not None and answer.result is not None:
            self._seen_at = json.loads(answer.result)["seen_at"]
        self._news.set()

    async def until(self, kind: type[Event], count: int = 1) -> None:
        async with asyncio.timeout(_PATIENCE_S):
            while sum(isinstance(event, kind) for _, event in self.events) < count:
                failures = [event for _, event in self.events if isinstance(event, LoadFailed)]
                if failures:
                    sys.exit(f"handover: {failures[0].failure.message}")
                self._news.clear()
                await self._news.wait()

    async def load(self, *functions: FunctionSpec) -> None:
        self.events.clear()
        for function in functions:
            self.container.load(function)
        await self.until(LoadFinished, len(functions))
        await asyncio.sleep(_REST_S)

    async def call(self, neighbours: int) -> tuple[float, float]:
        """Seconds until the function saw the call, and until the last neighbour's memory had been given back."""
        self.events.clear()
        began = time.monotonic()
        self.container.run(self.called, Call(f"a{began}", self.called.key, b"{}"))
        await self.until(RunFinished)
        await self.until(ResidentGone, neighbours)
        gone = [at for at, event in self.events if isinstance(event, ResidentGone)]
        return self._seen_at - began, max(gone, default=began) - began


async def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"alone": [], "beside neighbours": [], "memory given back": []}
    with tempfile.TemporaryDirectory(prefix="instainfer-handover-") as temporary:
        bench = Bench(Path(temporary), options.neighbours, options.mb)
        try:
            await bench.until(ContainerStarted)
            await bench.load(bench.called)
            for _ in range(options.calls):
                found["alone"].append((await bench.call(0))[0])
                await bench.load(*bench.neighbours)
                seen_s, gone_s = await bench.call(options.neighbours)
                found["beside neighbours"].append(seen_s)
                found["memory given back"].append(gone_s)
        finally:
            await bench.backend.close()
    return found


def percentile(times: Sequence[float], share: float) -> float:
    """The smallest of them that is not below so many."""
    return sorted(times)[min(len(times) - 1, int(share * len(times)))]


SHARES: dict[str, Callable[[Sequence[float]], float]] = {
    "p50": lambda times: percentile(times, 0.5),
    "p90": lambda times: percentile(times, 0.9),
    "p99": lambda times: percentile(times, 0.99),
    "most": max,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--neighbours", type=int, default=4, metavar="N", help="beside the function; default: 4")
    parser.add_argument("--mb", type=int, default=300, help="of anonymous memory in each; default: 300")
    parser.add_argument("--calls", type=int, default=100, metavar="N", help="beside neighbours, and as many alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args(arguments)
    found = asyncio.run(measure(options))
    table = plain(f"from taking a call, {options.neighbours} neighbours of {options.mb} MB (ms)", "until")
    for head in SHARES:
        table.add_column(head, justify="right")
    for what, times in found.items():
        table.add_row(what, *(ms(1e3 * share(times)) for share in SHARES.values()))
    Console().print(table)
    if options.json is not None:
        figures: dict[str, Any] = {
            what: {name: 1e3 * of(t) for name, of in SHARES.items()} for what, t in found.items()
        }
        asked = {"neighbours": options.neighbours, "mb": options.mb, "calls": options.calls}
        options.json.write_text(json.dumps({**asked, "ms": figures, "machine": this_machine()}, indent=2) + "\n")


if __name__ == "__main__":
    main()
