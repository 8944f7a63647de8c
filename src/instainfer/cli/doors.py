"""The functions with which commands reach a platform, start one, or measure something.

They are the fields of one `Doors` object in the context of typer, so that tests can replace them:
``CliRunner().invoke(app, args, obj=Doors(connect=...))``. The default functions import slow modules only when they are
called.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import typer

from ..address import Address, resolve
from ..errors import HostError
from .output import console

if TYPE_CHECKING:
    from rich.console import Console

    from ..client import Client, Json
    from ..config import Config
    from ..deployment import Progress
    from ..environments.manifest import Memory
    from ..experiments.campaign import Folder, Tally, Watcher
    from ..experiments.demo import Options
    from ..experiments.profile import Options as ProfileOptions
    from ..experiments.replay import PlannedCall
    from ..experiments.runs import Run
    from ..report.records import CallRecord
    from ..sim.costs import CostSet


LOOK_MS = 500
"""Time after which `Doors.watch` reports that nothing has changed."""


class Serve(Protocol):
    def __call__(
        self, config: Config, *, story: Path | None, ready_file: Path | None, announce: Callable[[str], None]
    ) -> int:
        """Run the platform until it is told to end, and return the exit code."""
        ...


def _serve(config: Config, *, story: Path | None, ready_file: Path | None, announce: Callable[[str], None]) -> int:
    from ..embedded import serve

    return serve(config, story=story, ready_file=ready_file, announce=announce)


def _deploy(
    client: Client,
    folder: Path,
    weights_dir: Path | None,
    progress: Progress,
    *,
    name: str | None,
    memory_mb: Memory | None,
    timeout_ms: int | None,
    check: bool,
) -> Json:
    from ..deployment import deploy

    return deploy(
        client, folder, weights_dir, progress, name=name, memory_mb=memory_mb, timeout_ms=timeout_ms, check=check
    )


def _watch(folder: Path) -> Iterator[bool]:
    from watchfiles import Change, DefaultFilter, watch

    from ..environments.package import is_ignored

    folder = folder.resolve()
    kept = DefaultFilter()

    def is_packed(change: Change, path: str) -> bool:
        return kept(change, path) and not is_ignored(folder, Path(path))

    try:
        for changes in watch(folder, watch_filter=is_packed, rust_timeout=LOOK_MS, yield_on_timeout=True):
            yield bool(changes)
    except OSError as error:
        raise HostError(f"cannot watch {folder}: {error}; look at the limits in /proc/sys/fs/inotify") from None


def _replay(calls: Sequence[PlannedCall], address: Address, duration_s: float) -> list[CallRecord]:
    import asyncio

    from ..experiments.live import ReplayView
    from ..experiments.replay import replay

    view = ReplayView(len(calls), duration_s)
    with view.shown(console(sys.stderr)):
        return asyncio.run(replay(calls, address.api_host, address.auth, duration_s, view))


def _demo(options: Options, console: Console) -> dict[str, Any]:
    from ..experiments.demo import run_demo

    return run_demo(options, console)


def _layers() -> Mapping[str, str]:
    from ..backends.layers import layers

    return layers()


def _build_image(name: str, base: str | None, root: Path | None, tell: Callable[[str], None]) -> str:
    import asyncio

    from ..docker import build_image

    return asyncio.run(build_image(name, base, root, tell))


def _live(runs: Sequence[Run], folder: Folder, watcher: Watcher, console: Console, *, again: bool) -> Tally:
    from ..experiments.live_runs import run_live

    return run_live(runs, folder, watcher, console, again=again)


def _profile(options: ProfileOptions, console: Console) -> CostSet:
    from ..experiments.profile import profile

    return profile(options, console)


def _clean_stopped(config: Config, tell: Callable[[Json], None], *, dry_run: bool, unused_for_s: float | None) -> bool:
    from ..controller.database import HomeInUse
    from ..controller.upkeep import clean_stopped

    try:
        clean_stopped(config, tell, dry_run=dry_run, idle_s=unused_for_s)
    except HomeInUse:
        return False
    return True


def _connect(api_host: str, auth: str) -> Client:
    from ..client import Client

    return Client(api_host, auth, retries=0)  # who waits at a terminal is told at once


def _stored(home: Path) -> tuple[str, str]:
    from ..address import credentials

    return credentials(home)


@dataclass(frozen=True, slots=True)
class Doors:
    """Each field is a function that commands call."""

    connect: Callable[[str, str], Client] = _connect
    """Makes a client from an address and a key."""
    stored: Callable[[Path], tuple[str, str]] = _stored
    """Reads the address and the key that a platform wrote into its home. Raises `Unreachable` if there are none."""
    serve: Serve = _serve
    deploy: Callable[..., Json] = _deploy
    """Calls `instainfer.deployment.deploy`."""
    watch: Callable[[Path], Iterator[bool]] = _watch
    """Yields True after a change of what is packed of a function's folder, and False each `LOOK_MS` without one."""
    replay: Callable[[Sequence[PlannedCall], Address, float], list[CallRecord]] = _replay
    """Sends the calls of a trace to an address. A replay lasts at least the given number of seconds."""
    demo: Callable[[Options, Console], dict[str, Any]] = _demo
    """Calls `instainfer.experiments.demo.run_demo`."""
    profile: Callable[[ProfileOptions, Console], CostSet] = _profile
    """Calls `instainfer.experiments.profile.profile`."""
    clean_stopped: Callable[..., bool] = _clean_stopped
    """Calls `instainfer.controller.upkeep.clean_stopped`. Removes nothing and returns False if a platform runs."""
    layers: Callable[[], Mapping[str, str]] = _layers
    """Calls `instainfer.backends.layers.layers`."""
    build_image: Callable[[str, str | None, Path | None, Callable[[str], None]], str] = _build_image
    """Calls `instainfer.docker.build_image`."""
    live: Callable[..., Tally] = _live
    """Calls `instainfer.experiments.live_runs.run_live`."""
    tick: Callable[[float], None] = time.sleep
    """Waits for some seconds before ``status --watch``, or ``deploy``, asks the platform again."""


def address_of(ctx: typer.Context, api_host: str, auth: str, home: Path | None) -> Address:
    """The address and the key of the platform that a command talks to."""
    doors = ctx.ensure_object(Doors)
    return resolve(Address(api_host, auth), os.environ, lambda: doors.stored(home_folder(home)))


def platform(ctx: typer.Context, api_host: str, auth: str, home: Path | None) -> Client:
    """A client for the platform that a command talks to. Use the client in a ``with`` statement, which closes it."""
    address = address_of(ctx, api_host, auth, home)
    return ctx.ensure_object(Doors).connect(address.api_host, address.auth)


def home_folder(given: Path | None) -> Path:
    """The folder given by ``--home``, else the one in the configuration. Reading the configuration takes time."""
    if given is not None:
        return given
    from .settings import configuration

    return configuration().home
