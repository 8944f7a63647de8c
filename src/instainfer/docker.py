"""Connects the configuration to the backend ``docker``. Needs the extra ``docker``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .backends.base import Clock
from .backends.docker.backend import DockerBackend, opened
from .backends.docker.engine import Engine
from .backends.docker.images import DEFAULT_BASE, build
from .backends.docker.networks import Networks
from .backends.docker.place import DockerPlace
from .backends.docker.settings import Mount
from .config import Config
from .environments.caches import Caches
from .environments.unused import Places

_NODE_DIGITS = 16
_NO_NODE = "none"


async def make_docker(config: Config, clock: Clock, common: dict[str, Any]) -> tuple[DockerBackend, DockerPlace]:
    """The backend of this configuration, with `common` parameters of backends, and where it builds environments.

    What an earlier platform with the same home has left in the Engine is removed. Raises `HostError`.
    """
    places = Places.of(config.home, config.cache_dir)
    caches = Caches(places.caches)

    def mounts_of(namespace: str) -> list[Mount]:
        # What outlives a function's processes is the namespace's own.
        return [Mount(caches.folder_of_all(namespace), writable=True)] if config.limits.cache_mb else []

    engine, image = await opened(node_of(config.home), config.docker.image)
    is_open = config.containers.network == "open"
    networks = Networks(engine, config.docker.address_pool, config.server.host) if is_open else None
    backend = DockerBackend(
        clock,
        engine=engine,
        image=image,
        mounts=[Mount(places.functions), Mount(places.environments), Mount(places.weights)],
        mounts_of=mounts_of,
        networks=networks,
        **common,
    )
    return backend, backend.place(places.environments, config.docker.images)


def node_of(home: Path) -> str:
    """The label of everything in the Engine that belongs to the platform of this home."""
    return hashlib.sha256(str(home).encode()).hexdigest()[:_NODE_DIGITS]


async def build_image(name: str, base: str | None, root: Path | None, tell: Callable[[str], None]) -> str:
    """Build our image; see `images.build`. Returns its id. Raises `BadInput` and `HostError`."""
    engine = Engine(_NO_NODE)
    try:
        image = await build(engine, name, base=base or DEFAULT_BASE, root=root, tell=tell)
    finally:
        await engine.close()
    return image.id
