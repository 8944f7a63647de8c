"""What containers of Docker cost beside those of processes, in one run.

    python benchmarks/backends.py [--repeat N] [--image NAME] [--json FILE]

Both backends are used in turn, directly and without HTTP: how long a container takes until its manager answers, and
what a call waits for its function when the function is loaded already (preloaded), is forked from a library template
(templated) or from a function template (forked). The function does nothing. Needs root, Docker and an image of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from instainfer.backends.base import Answer, Backend, Call, Container, ContainerSpec, FunctionSpec, TemplateSpec
from instainfer.backends.clock import LoopClock
from instainfer.backends.docker.backend import DockerBackend, opened
from instainfer.backends.docker.networks import Networks
from instainfer.backends.docker.settings import Mount
from instainfer.backends.process import ProcessBackend
from instainfer.config import load_config
from instainfer.core.events import ContainerGone, ContainerStarted, Event, LoadFinished, ResidentGone, RunFinished
from instainfer.core.model import GIB

MODULES = ("asyncio", "decimal", "email.message", "http.client", "json", "sqlite3")
KINDS = ("preloaded", "templated", "forked")
PATIENCE_S = 60.0


class Stand:
    """One backend, and what it has reported."""

    def __init__(self, backend: Backend, folder: Path, python: Path) -> None:
        self.backend = backend
        self._events: list[Event] = []
        self._news = asyncio.Event()
        self._count = 0
        template = TemplateSpec("template:b/e", python, MODULES, (folder,))
        self.function = FunctionSpec("b/f@1", folder, python, "handler", template=template)

    def _report(self, event: Event, answer: Answer | None) -> None:
        self._events.append(event)
        self._news.set()

    async def until(self, kind: type[Event], holds: Callable[[Any], bool] = lambda event: True) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not any(isinstance(event, kind) and holds(event) for event in self._events):
                self._news.clear()
                await self._news.wait()
        self._events.clear()

    async def start_s(self) -> tuple[Container, float]:
        self._count += 1
        began = time.perf_counter()
        container = self.backend.start(ContainerSpec(f"c{self._count}", "b", GIB), self._report)
        await self.until(ContainerStarted)
        return container, time.perf_counter() - began

    async def stop(self, container: Container) -> None:
        container.stop()
        await self.until(ContainerGone)

    async def make_ready(self, container: Container, kind: str) -> None:
        if kind == "preloaded":
            container.load(self.function)
            await self.until(LoadFinished, lambda event: event.function == self.function.key)
        elif kind == "templated":
            assert self.function.template is not None
            container.load_template(self.function.template)
            await self.until(LoadFinished)
        else:
            container.load_function_template(self.function)
            await self.until(LoadFinished, lambda event: event.function.startswith("loaded:"))

    async def startup_s(self, container: Container) -> float:
        """What a call waits beside the run of its function, and the function's end after it."""
        self._count += 1
        began = time.perf_counter()
        container.run(self.function, Call(f"a{self._count}", self.function.key, b"{}"))
        ran: list[RunFinished] = []
        await self.until(RunFinished, lambda event: ran.append(event) is None)
        waited_s = time.perf_counter() - began - ran[0].compute_s
        container.offload(self.function.key)
        await self.until(ResidentGone)
        return waited_s


async def measure(repeat: int, image: str, folder: Path) -> dict[str, Any]:
    code = folder / "function"
    code.mkdir()
    (code / "handler.py").write_text("".join(f"import {name}\n" for name in MODULES) + "def main(args): return {}\n")
    config = load_config()
    engine, found = await opened("benchmark", image)
    docker = DockerBackend(
        LoopClock(),
        engine=engine,
        image=found,
        scratch=folder / "docker",
        mounts=[Mount(code)],
        networks=Networks(engine, config.docker.address_pool, config.server.host),
    )
    process = ProcessBackend(LoopClock(), scratch=folder / "process")
    stands = {
        "process": Stand(process, code, Path(sys.executable)),
        "docker": Stand(docker, code, Path("/usr/bin/python3")),
    }
    found_s: dict[str, dict[str, list[float]]] = {name: {} for name in stands}
    try:
        for _ in range(repeat):
            for name, stand in stands.items():
                container, took_s = await stand.start_s()
                found_s[name].setdefault("container", []).append(took_s)
                await stand.stop(container)
        for kind in KINDS:
            containers = {name: (await stand.start_s())[0] for name, stand in stands.items()}
            for round_number in range(repeat):
                for name, stand in stands.items():
                    if kind == "preloaded" or round_number == 0:
                        await stand.make_ready(containers[name], kind)
                    found_s[name].setdefault(kind, []).append(await stand.startup_s(containers[name]))
            for name, stand in stands.items():
                await stand.stop(containers[name])
    finally:
        await process.close()
        await docker.close()
    return {name: {kind: _summary(times_s) for kind, times_s in measured.items()} for name, measured in found_s.items()}


def _summary(times_s: Sequence[float]) -> dict[str, float]:
    ordered = sorted(1e3 * time_s for time_s in times_s)
    return {"p50_ms": round(statistics.median(ordered), 2), "p95_ms": round(ordered[int(0.95 * (len(ordered) - 1))], 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=40, metavar="N", help="starts of each kind; default: 40")
    parser.add_argument("--image", default=load_config().docker.image, metavar="NAME")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="instainfer-backends-") as folder:
        Path(folder).chmod(0o755)  # otherwise functions would have no user ids of their own
        figures = asyncio.run(measure(options.repeat, options.image, Path(folder)))
    for kind in ("container", *KINDS):
        row = "  ".join(f"{name} {figures[name][kind]['p50_ms']:8.2f} ms" for name in figures)
        print(f"{kind:<10} p50  {row}   p95 " + " / ".join(f"{figures[n][kind]['p95_ms']:.1f}" for n in figures))
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
