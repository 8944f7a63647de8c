"""Runs the same calls at the same times on a live platform and in a simulation of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import KeepAliveConfig, load_config
from ..core.model import MIB
from ..report.records import CallRecord
from ..sim.costs import CostSet
from ..sim.run import Watchers, run_simulation
from ..sim.settings import Settings
from ..traces.percall import PerCall
from ..traces.workload import Arrival, Row
from .platform import Platform, Setting, running
from .profile import Profiled
from .replay import PlannedCall, Watcher, replay
from .starts import deploy_into


@dataclass(frozen=True, slots=True)
class Scene:
    """What the live run and the simulation have in common."""

    functions: Sequence[Profiled]
    calls: Sequence[PlannedCall]
    duration_s: float
    memory_mb: int


@contextlib.contextmanager
def ready(scene: Scene, setting: Setting, folder: Path, cache: Path) -> Iterator[Platform]:
    """Start a fresh platform and deploy the functions, each with its own memory limit; its files are in `folder`.

    Raises `HostError` when the platform fails.
    """
    with running(setting, folder, cache, scene.memory_mb) as platform:
        with platform.client() as client:
            for each in scene.functions:
                deploy_into(client, each.prepared, each.memory_mb)
        yield platform


async def live(scene: Scene, platform: Platform, watcher: Watcher | None = None) -> list[CallRecord]:
    """Replay the calls on a platform from `ready`; return the records in the order of sending."""
    return await replay(scene.calls, platform.api_host, platform.auth, scene.duration_s, watcher)


def simulated(scene: Scene, setting: Setting, costs: CostSet, *, seed: int = 1) -> list[CallRecord]:
    """Simulate the calls on such a platform; return the records in the order of sending.

    `seed` draws the noise of the costs.
    """
    names = [each.prepared.name for each in scene.functions]
    workload = PerCall(
        "the calls of a replay",
        (Arrival(call.at_s, names.index(call.function)) for call in scene.calls),
        functions=[Row("", "", name) for name in names],
        duration_s=scene.duration_s,
    )
    config = load_config()
    settings = Settings(
        keepalive=KeepAliveConfig(policy="fixed", ttl_s=setting.ttl_s),
        preload=config.preload.model_copy(update={"policy": setting.preload}),
        retain=setting.retain,
        templates=setting.templates,
        function_templates=setting.function_templates,
        fast_init=setting.templates,
        memory_bytes=scene.memory_mb * MIB,
        max_queue=config.node.max_queue,
        seed=seed,
    )
    records: list[CallRecord] = []
    run_simulation(workload, costs, settings, Watchers(record=records.append))
    return sorted(records, key=lambda record: int(record.activation_id))
