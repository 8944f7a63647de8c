"""The backend ``docker``: a container is a container of Docker, and its first process is the Intra-Container Manager.

`instainfer.backends.base` describes the contract that this backend keeps, `instainfer.backends.managed` has its
containers, and ADR 29 says why they are made as they are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...wire.framing import MIB
from ..base import Clock, ContainerSpec
from ..managed_backend import ManagedBackend
from .engine import Engine
from .images import Image, find
from .manager import DockerManager
from .networks import NO_NETWORK, Networks
from .place import DockerPlace
from .settings import BESIDE_BYTES, MOST_PIDS, Mount, manager_settings

log = logging.getLogger(__name__)


class DockerBackend(ManagedBackend):
    """Runs containers with the Docker Engine of this machine. It must be used inside a running event loop."""

    name = "docker"

    def __init__(
        self,
        clock: Clock,
        *,
        engine: Engine,
        image: Image,
        scratch: Path,
        mounts: Sequence[Mount] = (),
        mounts_of: Callable[[str], Sequence[Mount]] = lambda namespace: (),
        networks: Networks | None = None,
        start_timeout_s: float = 30.0,
        memory: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`mounts` are what all containers see of the host, and `mounts_of` tells what those of a namespace see more.
        Without `networks`, they have no network.

        `ManagedBackend` describes the other parameters.
        """
        super().__init__(clock, scratch=scratch, start_timeout_s=start_timeout_s, memory=memory, env=env)
        self._engine = engine
        self._image = image
        self._mounts = tuple(mounts)
        self._mounts_of = mounts_of
        self._networks = networks
        self.system_isolation = ["own uid: for each function", "privileges: no new ones"]

    def place(self, root: Path, allowed: Collection[str] = ()) -> DockerPlace:
        """Where the environments for these containers are built; see `DockerPlace`."""
        return DockerPlace(self._engine, self._image, root, allowed)

    async def start_manager(self, spec: ContainerSpec, folder: Path) -> DockerManager:
        network, fences = NO_NETWORK, list[str]()
        if self._networks is not None:
            network, fences = await self._networks.of(spec.namespace)
        mounts = [*self._mounts, *self._mounts_of(spec.namespace)]
        await asyncio.to_thread(_make_missing, mounts)

        def settings(token: str) -> dict[str, Any]:
            return manager_settings(
                spec.image or self._image.id,
                spec.limit_bytes,
                folder,
                token=token,
                network=network,
                fences=fences,
                mounts=mounts,
                env=self.env,
            )

        return await DockerManager.start(self._engine, settings, folder)

    def isolation(self) -> Sequence[str]:
        network = "network: open, but for other containers, this machine and link-local addresses"
        return [
            *self.shared_isolation(),
            f"container: image {self._image.name}, read-only, own pids and mounts, at most {MOST_PIDS} threads",
            network if self._networks is not None else "network: closed",
            f"memory: limits by cgroup, without swap, {BESIDE_BYTES // MIB} MB above what is enforced by measuring",
        ]

    async def close(self) -> None:
        await super().close()
        if self._networks is not None:
            await self._networks.close()
        await self._engine.close()


async def opened(node: str, image: str) -> tuple[Engine, Image]:
    """Connect to the Engine, find the image, and remove what an earlier platform of this `node` has left there.

    Raises `HostError` when the Engine cannot be reached, or when there is no such image.
    """
    engine = Engine(node)
    try:
        found = await find(engine, image)
        if removed := await engine.remove_leftovers():
            log.warning("%d containers and networks of an earlier platform were removed", removed)
    except BaseException:
        await engine.close()
        raise
    return engine, found


def _make_missing(mounts: Sequence[Mount]) -> None:
    for mount in mounts:
        mount.folder.mkdir(parents=True, exist_ok=True)
