"""The Docker Engine as the platform uses it. This is the only module that speaks to it, through aiodocker.

Everything that the platform makes there carries the label of its node, and it changes and removes nothing else.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import IO, Any

from ...errors import HostError

try:
    import aiodocker
    import aiohttp
except ImportError as error:
    raise HostError(
        "the backend docker needs the package aiodocker; install the extra: pip install 'instainfer[docker]'"
    ) from error

log = logging.getLogger(__name__)

NODE = "instainfer.node"
"""The label that says whose a container or a network is."""
_UNIX = "unix://"
_USUAL = "unix:///var/run/docker.sock"
_ANSWER_S = 30.0
"""Seconds that the Engine may take to answer what it does at once."""
_AGAIN_S = 1.0
"""Seconds after which an Engine that could not be asked for the end of a container is asked again."""
_FORBIDDEN, _NOT_FOUND, _CONFLICT = 403, 404, 409


class Engine:
    """A connection to the Engine of this machine: that of ``DOCKER_HOST``, or else of the usual socket."""

    def __init__(self, node: str) -> None:
        """`node` is the value of the label. This must be called inside a running event loop. Raises `HostError`."""
        self.node = node
        self.labels = {NODE: node}
        url = os.environ.get("DOCKER_HOST") or _USUAL
        if not url.startswith(_UNIX):
            raise HostError(
                f"DOCKER_HOST is {url}; containers share folders with this machine, so it must be unix://..."
            )
        # A connection per container waits for its end, so their number is not limited.
        self._connector = aiohttp.UnixConnector(url.removeprefix(_UNIX), limit=0)
        timeout = aiohttp.ClientTimeout(total=_ANSWER_S)
        self._docker = aiodocker.Docker("http://localhost", connector=self._connector, timeout=timeout)

    async def close(self) -> None:
        await self._docker.close()
        await self._connector.close()

    async def version(self) -> str:
        """The Engine's version. Raises `HostError` when it does not answer."""
        async with _explained("the Engine's version cannot be asked for"):
            return str((await self._docker.version())["Version"])

    # -- containers ---------------------------------------------------------------------------------------------------

    async def create(self, config: Mapping[str, Any]) -> str:
        """Create a container, and return its id. Raises `HostError`."""
        labels = {**config.get("Labels", {}), **self.labels}
        async with _explained("a container cannot be created"):
            container = await self._docker.containers.create({**config, "Labels": labels})
        return container.id

    async def start(self, container: str) -> None:
        """Raises `HostError`."""
        async with _explained("a container cannot be started"):
            await self._docker.containers.container(container).start()

    async def removed(self, container: str) -> int | None:
        """Wait until a container that removes itself is gone. Returns its exit code, or None if nobody knows it.

        While the Engine is restarted, this waits for it.
        """
        is_told = False
        while True:
            try:
                ended = await self._docker.containers.container(container).wait(condition="removed")
                return int(ended["StatusCode"])
            except (aiodocker.DockerError, aiohttp.ClientError, TimeoutError, ValueError) as error:
                if isinstance(error, aiodocker.DockerError) and error.status == _NOT_FOUND:
                    return None
                if not is_told:
                    log.warning("the Engine cannot be asked for the end of container %s: %s", container[:12], error)
                    is_told = True
            await asyncio.sleep(_AGAIN_S)

    async def kill(self, container: str) -> None:
        """Kill a container and have it removed, whatever its state. It may be gone already. Raises `HostError`."""
        async with _explained("a container cannot be ended"):
            try:
                await self._docker.containers.container(container).delete(force=True)
            except aiodocker.DockerError as error:
                if error.status not in (_NOT_FOUND, _CONFLICT):  # conflict: its removal is in progress
                    raise

    async def stop(self, container: str) -> None:
        """Kill the processes of a container, which stays. They may have ended already. Raises `HostError`."""
        async with _explained("a container cannot be ended"):
            try:
                await self._docker.containers.container(container).kill()
            except aiodocker.DockerError as error:
                if error.status not in (_NOT_FOUND, _CONFLICT):  # conflict: it does not run
                    raise

    async def limit(self, container: str, limits: Mapping[str, int]) -> None:
        """Change the limits of a container. It may be gone already. Raises `HostError`."""
        async with _explained("a container's limits cannot be changed"):
            try:
                # aiodocker has no method for this request.
                await self._docker._query_json(f"containers/{container}/update", "POST", data=dict(limits))
            except aiodocker.DockerError as error:
                if error.status not in (_NOT_FOUND, _CONFLICT):  # conflict: its removal is in progress
                    raise

    async def output(self, container: str) -> AsyncIterator[str]:
        """What a container writes, piece by piece, until its end."""
        async for piece in self._docker.containers.container(container).log(stdout=True, stderr=True, follow=True):
            yield piece

    async def exit_code(self, container: str) -> int:
        """Wait until a container has ended, and return its exit code. Raises `HostError`."""
        async with _explained("a container cannot be waited for"):
            return int((await self._docker.containers.container(container).wait())["StatusCode"])

    async def lacked_memory(self, container: str) -> bool:
        """Whether the kernel has ended a process of a container for want of memory. Raises `HostError`."""
        async with _explained("a container cannot be looked at"):
            return bool((await self._docker.containers.container(container).show())["State"]["OOMKilled"])

    async def remove_leftovers(self) -> int:
        """Remove all containers and networks that carry our label. Returns their number. Raises `HostError`."""
        ours = json.dumps({"label": [f"{name}={value}" for name, value in self.labels.items()]})
        async with _explained("what an earlier platform has left behind cannot be removed"):
            containers = await self._docker.containers.list(all=True, filters=ours)
            for container in containers:
                await self.kill(container.id)
            networks = await self._docker.networks.list(filters={"label": [f"{NODE}={self.labels[NODE]}"]})
            for network in networks:
                await self._remove_network(network["Id"])
        return len(containers) + len(networks)

    # -- networks -----------------------------------------------------------------------------------------------------

    async def create_network(self, name: str, subnet: str) -> bool:
        """Create a network of these addresses whose containers cannot reach each other.

        Returns whether that was possible; another network may have the addresses. Raises `HostError`.
        """
        config = {
            "Name": name,
            "Driver": "bridge",
            "CheckDuplicate": True,
            "IPAM": {"Config": [{"Subnet": subnet}]},
            "Options": {"com.docker.network.bridge.enable_icc": "false"},
            "Labels": self.labels,
        }
        async with _explained(f"the network {name} cannot be created"):
            try:
                await self._docker.networks.create(config)
            except aiodocker.DockerError as error:
                if error.status == _FORBIDDEN and "overlaps" in error.message:
                    return False
                raise
        return True

    async def remove_network(self, name: str) -> None:
        """Remove a network, which may be gone already. Raises `HostError`, also while a container uses it."""
        async with _explained(f"the network {name} cannot be removed"):
            await self._remove_network(name)

    async def _remove_network(self, network: str) -> None:
        try:
            await (await self._docker.networks.get(network)).delete()
        except aiodocker.DockerError as error:
            if error.status != _NOT_FOUND:
                raise

    # -- images -------------------------------------------------------------------------------------------------------

    async def image(self, name: str) -> dict[str, Any] | None:
        """What the Engine says of an image. None if it has none of this name. Raises `HostError`."""
        async with _explained(f"the image {name} cannot be looked at"):
            try:
                return await self._docker.images.inspect(name)
            except aiodocker.DockerError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    async def pull(self, name: str) -> None:
        """Raises `HostError`."""
        async with _explained(f"the image {name} is not there, and cannot be fetched"):
            await self._docker.images.pull(name)

    async def build(
        self, context: IO[bytes], name: str, arguments: Mapping[str, str], labels: Mapping[str, str]
    ) -> AsyncIterator[str]:
        """Build an image from a tar archive with a Dockerfile. Yields what the Engine says. Raises `HostError`."""
        async with _explained(f"the image {name} cannot be built"):
            async for said in self._docker.images.build(
                fileobj=context,
                encoding="identity",
                tag=name,
                buildargs=dict(arguments),
                labels=dict(labels),
                forcerm=True,
                stream=True,
            ):
                if text := str(said.get("stream", "")).strip():
                    yield text


@asynccontextmanager
async def _explained(what: str) -> AsyncIterator[None]:
    """Turn the Engine's refusals and its silence into a `HostError` that begins with `what`."""
    try:
        yield
    except aiodocker.DockerError as error:
        if error.status == 900:  # aiodocker's number for an Engine that cannot be reached
            raise _unreachable(error) from error
        raise HostError(f"{what}: {error.message}") from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise HostError(f"{what}: {error or type(error).__name__}") from error


def _unreachable(error: Exception) -> HostError:
    return HostError(
        "no Docker Engine can be reached; install and start one (on Debian and Ubuntu the package docker.io), let this "
        f"user use it (group docker), or name another with DOCKER_HOST: {error}"
    )
