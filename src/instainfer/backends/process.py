"""The backend ``process``: a container is a session of processes with the Intra-Container Manager at its head.

The backend works on any Linux from 5.3 on, without root. Memory limits are enforced by measuring.
`ProcessBackend.isolation` lists the other isolation that the host gives or lacks. `instainfer.backends.base` describes
the contract that this backend keeps, and `instainfer.backends.process_container` has its containers.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path

from ..core.model import ResidentKey
from ..runtime import jail
from ..runtime.watch import BUSY_S
from ..wire.bounds import MOST_MODULES
from .base import Clock, ContainerSpec, Report
from .learned import LearnedModules
from .process_container import STOP_GRACE_S, ProcessContainer

log = logging.getLogger(__name__)

_KILL_GRACE_S = 10.0
"""How long `ProcessBackend.close` waits for containers after it has killed their managers."""
_MOST_TOLD = 20
"""How many of the modules that a template lacks are named in the log at a time."""


class ProcessBackend:
    """Runs containers as sessions of processes on this machine. It must be used inside a running event loop."""

    name = "process"

    def __init__(
        self,
        clock: Clock,
        *,
        scratch: Path,
        python: Path = Path(sys.executable),
        start_timeout_s: float = 30.0,
        memory: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        """`scratch` takes the functions' private files, `python` runs the managers, and all functions get `env`.

        The folder `memory` keeps the names of the modules that templates should import. Without it, these are learned
        anew after each start.
        """
        self.clock = clock
        self.python = python
        self.start_timeout_s = start_timeout_s
        self.scratch = scratch
        self.env = dict(env or {})
        self.learned = LearnedModules(memory)
        self.left_out: dict[ResidentKey, dict[str, str]] = {}
        """By template, the modules that it should have imported and has not, with the reasons."""
        self.containers: set[ProcessContainer] = set()
        self.system_isolation: Sequence[str] = jail.describe()
        """Isolation of the function loaded last; before any load, the isolation that this host should allow."""
        self.templates_standing = "stopped"
        """How the function template made last is kept from running."""

    def start(self, spec: ContainerSpec, report: Report) -> ProcessContainer:
        container = ProcessContainer(self, spec, report)
        self.containers.add(container)
        return container

    def isolation(self) -> Sequence[str]:
        return [
            "user: a container holds functions of one namespace only",
            "process: no thread of any other function in the container can run any more when user code sees a request",
            f"process: templates of functions are {self.templates_standing} while calls of others run",
            *("system: " + words for words in self.system_isolation),
            f"memory: limits are enforced by measuring every {BUSY_S:g} s",
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
