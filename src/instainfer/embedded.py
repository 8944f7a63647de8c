"""Runs the whole platform in one process for ``instainfer up``: the controller, one node and the HTTP server.

This module chooses the backend and the policies, connects all parts, and ends the parts in the right order.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import uvloop

from .backends.base import Backend, Clock
from .backends.clock import LoopClock
from .config import Config
from .controller.app import Controller, Rooms, bounds, open_controller
from .controller.server import HttpServer
from .core.model import MIB, Verdict
from .core.node import NodeSettings, NodeState
from .core.ports import Policies
from .core.story import Entry, dump_entry
from .environments.builder import Environments
from .environments.content import ContentStore
from .environments.folders import FunctionFolders
from .environments.installers import Sources
from .environments.place import Place
from .environments.this_machine import ThisMachine
from .environments.unused import Places
from .environments.usage import Limits
from .errors import BadInput, HostError
from .invoker.driver import Invoker
from .links.local import LocalLink
from .policy import catalog

#: How long running calls may go on after the first signal, in seconds; a second signal ends them at once.
GRACE_S = 10.0

log = logging.getLogger(__name__)


def serve(config: Config, *, story: Path | None, ready_file: Path | None, announce: Callable[[str], None]) -> int:
    """Run the platform until SIGINT or SIGTERM, and return the exit code.

    Every event and decision is written to `story` as JSON lines, and ``{"api_host", "pid"}`` to `ready_file` once the
    platform takes calls. Raises `HostError` when the home, the address or the backend cannot be used.
    """
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return uvloop.run(_Platform(config, announce).run(story, ready_file))


def policies(config: Config) -> Policies:
    """The policies that the configuration names. Raises `BadInput` for an unknown name."""
    try:
        return catalog.policies(config.keepalive, config.preload)
    except KeyError as error:
        raise BadInput(f"configuration: {error.args[0]}") from error


def node_state(config: Config, at: float) -> NodeState:
    node = config.node
    processors = len(os.sched_getaffinity(0))
    settings = NodeSettings(
        node.memory_mb * MIB,
        max_queue=node.max_queue,
        max_loads=config.preload.max_loads,
        calls_beside=config.preload.calls_beside_loads(processors),
        processors=processors,
        retain=node.retain,
        templates=node.templates and node.retain,
        function_templates=node.function_templates and node.retain,
        replace=node.replace,
        answer_grace_s=node.answer_grace_s,
    )
    return NodeState(settings, policies(config), at=at)


async def make_backend(config: Config, clock: Clock) -> tuple[Backend, Place]:
    """The configured backend, and where environments for its containers are built.

    Raises `BadInput` for what the configuration cannot have, and `HostError` when the host lacks something for it.
    """
    common: dict[str, Any] = {
        "scratch": config.home / "containers",
        "start_timeout_s": config.node.container_start_timeout_s,
        "memory": config.cache_dir / "templates",
        "env": config.node.env,
    }
    if config.node.backend == "docker":
        from .docker import make_docker

        return await make_docker(config, clock, common)
    if config.containers.network != "open":
        raise BadInput(f"configuration: the backend {config.node.backend} cannot close the network; docker can")
    if config.node.backend == "process":
        from .backends.process import ProcessBackend

        return ProcessBackend(clock, **common, allow_shared_uid=config.node.allow_shared_uid), ThisMachine()
    if config.node.backend == "memory":
        from .backends.memory import MemoryBackend

        return MemoryBackend(clock), ThisMachine()
    raise BadInput(f"configuration: no backend {config.node.backend!r}; there are: process, docker, memory")


class _Platform:
    def __init__(self, config: Config, announce: Callable[[str], None]) -> None:
        self.config = config
        self.announce = announce
        self.signals = 0
        self.told_to_stop = asyncio.Event()
        self.told_to_hurry = asyncio.Event()

    async def run(self, story: Path | None, ready_file: Path | None) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)
        async with contextlib.AsyncExitStack() as stack:
            tell = stack.enter_context(_story_file(story)) if story is not None else None
            clock = LoopClock(loop)
            backend, place = await make_backend(self.config, clock)
            stack.push_async_callback(backend.close)
            controller: Controller | None = None

            def remember(function: str, profile: Any) -> None:
                if controller is not None:
                    controller.remember(function, profile)

            def judged(function: str, verdict: Verdict) -> None:
                if controller is not None:
                    controller.judged(function, verdict)

            invoker = Invoker(
                node_state(self.config, clock.now()),
                backend,
                clock,
                fast_init=self.config.node.fast_init,
                on_profile=remember,
                on_verdict=judged,
                on_entry=tell,
            )
            link = LocalLink(invoker)
            stack.callback(link.stop_sampling)
            isolation = [*backend.isolation(), *await place.isolation()]
            controller = await open_controller(self.config, [link], make_rooms(self.config, place), isolation=isolation)
            stack.push_async_callback(controller.close)
            serving = self.config.server
            server = HttpServer(controller.app(), serving.host, serving.port, bounds(serving))
            stack.push_async_callback(server.stop)
            await server.start()
            controller.listening(server.url)
            self._say_hello(server.url, backend, isolation, ready_file)
            # The objects that exist now stay until the end, so the garbage collector need not visit them again.
            gc.freeze()
            await self.told_to_stop.wait()
            await self._wind_down(controller, link)
        return 0

    def _say_hello(self, url: str, backend: Backend, isolation: Sequence[str], ready_file: Path | None) -> None:
        if ready_file is not None:
            # The file is written before the first announcement, so that a reader of the announcement finds the file.
            partial = ready_file.with_name(ready_file.name + ".partial")
            partial.write_text(json.dumps({"api_host": url, "pid": os.getpid()}))
            partial.replace(ready_file)
        node = self.config.node
        self.announce(f"InstaInfer answers at {url}; the key is in {self.config.home / 'credentials'}")
        self.announce(f"memory for containers: {node.memory_mb} MB, made by the {backend.name} backend")
        for line in isolation:
            self.announce(line)

    def _signalled(self) -> None:
        self.signals += 1
        self.told_to_stop.set()
        if self.signals > 1:
            self.told_to_hurry.set()

    async def _wind_down(self, controller: Controller, link: LocalLink) -> None:
        """Refuse new calls, and let the running ones end within the grace time. Then cut short those that remain."""
        controller.drain()
        for line in _still_running(link):
            self.announce(line)
        ended = asyncio.ensure_future(_end(controller, link))
        hurry = asyncio.ensure_future(self.told_to_hurry.wait())
        await asyncio.wait({ended, hurry}, timeout=GRACE_S, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if ended.done():
            await ended
            self.announce("everything has ended")
            return
        ended.cancel()
        for line in _still_running(link):
            self.announce(f"{line}; ending it now")
        await controller.cut_short()


async def _end(controller: Controller, link: LocalLink) -> None:
    await link.drain()
    await controller.idle()


def make_rooms(config: Config, place: Place) -> Rooms:
    """The stores of weights, functions and environments, in the folders that the configuration names."""
    cache = config.cache_dir
    places = Places.of(config.home, cache)
    content = ContentStore(places.weights)
    wanted = config.environments
    return Rooms(
        content,
        FunctionFolders(places.functions, content),
        Environments(
            places.environments,
            installer=wanted.installer,
            timeout_s=wanted.build_timeout_s,
            max_builds=wanted.max_builds,
            sources=Sources(wanted.constraints, wanted.index_url, wanted.extra_index_urls),
            hosts=wanted.hosts,
            allow_source=wanted.allow_source,
            limits=Limits(wanted.build_memory_mb * MIB, wanted.build_disk_mb * MIB),
            place=place,
        ),
    )


def _still_running(link: LocalLink) -> Iterator[str]:
    shot = link.snapshot()
    for container in shot["containers"]:
        running = container["running"]
        if running is not None:
            yield f"still running: activation {running['activation']} of {running['function']} in {container['id']}"
    if shot["queue"]:
        yield f"still waiting: {shot['queue']} activations; they are refused"


@contextlib.contextmanager
def _story_file(path: Path) -> Iterator[Callable[[Entry], None]]:
    try:
        file: IO[str] = path.open("w", encoding="utf-8", buffering=1 << 16)
    except OSError as error:
        raise HostError(f"cannot write the story to {path}: {error.strerror}") from error
    with file:
        yield lambda entry: print(dump_entry(entry), file=file)
