"""What the backends whose containers have managers have in common: these containers, and what they have taught."""

from __future__ import annotations

import asyncio
import logging
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from ..core.model import ResidentKey
from ..runtime import jail
from ..wire.bounds import MOST_MODULES
from .base import Clock, ContainerSpec, Report
from .learned import LearnedModules
from .managed import STOP_GRACE_S, ManagedContainer, Manager

log = logging.getLogger(__name__)

_KILL_GRACE_S = 10.0
"""How long `ManagedBackend.close` waits for containers after it has killed their managers."""
_MOST_TOLD = 20
"""How many of the modules that a template lacks are named in the log at a time."""


class ManagedBackend(ABC):
    """A backend that starts a manager for each container. It must be used inside a running event loop."""

    def __init__(
        self,
        clock: Clock,
        *,
        scratch: Path,
        start_timeout_s: float = 30.0,
        memory: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`scratch` takes the private files of containers, and all functions get `env`.

        The folder `memory` keeps the names of the modules that templates should import. Without it, these are learned
        anew after each start.
        """
        self.clock = clock
        self.start_timeout_s = start_timeout_s
        self.scratch = scratch
        self.env = dict(env or {})
        self.learned = LearnedModules(memory)
        self.left_out: dict[ResidentKey, dict[str, str]] = {}
        """By template, the modules that it should have imported and has not, with the reasons."""
        self.containers: set[ManagedContainer] = set()
        self.system_isolation: Sequence[str] = jail.describe()
        """Isolation of the function loaded last; before any load, the isolation that this host should allow."""
        self.templates_standing = "stopped"
        """How the function template made last is kept from running."""

    @abstractmethod
    async def start_manager(self, spec: ContainerSpec, folder: Path) -> Manager:
        """Start the manager of a container, whose folder exists. Called in the event loop's thread.

        Raises OSError or `HostError` when it cannot be started; nothing of it is left then.
        """

    @abstractmethod
    def isolation(self) -> Sequence[str]:
        """What `instainfer.backends.base.Backend.isolation` says."""

    def start(self, spec: ContainerSpec, report: Report) -> ManagedContainer:
        container = ManagedContainer(self, spec, report)
        self.containers.add(container)
        return container

    def shared_isolation(self) -> list[str]:
        """The lines of `isolation` that all these backends have."""
        return [
            "user: a container holds functions of one namespace only",
            "process: no thread of any other function in the container can run any more when user code sees a request",
            f"process: templates of functions are {self.templates_standing} while calls of others run",
            *("system: " + words for words in self.system_isolation),
        ]

    def made_folder(self) -> Path:
        """Make a folder for a container's files, and read the learned modules. This blocks, so call it in a thread."""
        self.learned.read()
        self.scratch.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="container-", dir=self.scratch))
        folder.chmod(0o711)  # functions with user ids of their own must reach their private folders in it
        return folder

    def used_bytes(self) -> int:
        return sum(container.used_bytes for container in self.containers)

    def note_left_out(self, template: ResidentKey, reasons: Mapping[str, str]) -> None:
        """Log the modules that a template could not import. A module is logged again only for a new reason."""
        known = self.left_out.setdefault(template, {})
        news = {module: reason for module, reason in reasons.items() if known.get(module) != reason}
        known.update(islice(news.items(), max(0, MOST_MODULES - len(known))))
        for module, reason in islice(news.items(), _MOST_TOLD):
            log.warning("%s does without %s: %s", template, module, reason)
        if len(news) > _MOST_TOLD:
            log.warning("%s does without %d modules more", template, len(news) - _MOST_TOLD)

    async def close(self) -> None:
        containers = list(self.containers)
        for container in containers:
            container.end_silently()
        ended = [asyncio.ensure_future(container.ended.wait()) for container in containers]
        if ended:
            _, late = await asyncio.wait(ended, timeout=STOP_GRACE_S)
            if late:
                for container in containers:
                    container.kill()
                _, stuck = await asyncio.wait(late, timeout=_KILL_GRACE_S)
                if stuck:
                    log.error("%d containers are not gone %g s after they were killed", len(stuck), _KILL_GRACE_S)
        await asyncio.to_thread(self.learned.close)
