"""The backend ``process``: a container is a session of processes with the Intra-Container Manager at its head.

The backend works on any Linux from 5.3 on, without root. Memory limits are enforced by measuring.
`ProcessBackend.isolation` lists the other isolation that the host gives or lacks. `instainfer.backends.base` describes
the contract that this backend keeps, and `instainfer.backends.managed` has its containers.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..runtime.watch import BUSY_S
from .base import Clock, ContainerSpec
from .layers import layers, namespaces_line
from .managed_backend import ManagedBackend
from .process_manager import ManagerProcess


class ProcessBackend(ManagedBackend):
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
        allow_shared_uid: bool = False,
    ) -> None:
        """`python` runs the managers. `ManagedBackend` describes the other parameters.

        `allow_shared_uid`: as root, functions that cannot be given user ids of their own are root's; otherwise they are
        not run.
        """
        super().__init__(clock, scratch=scratch, start_timeout_s=start_timeout_s, memory=memory, env=env)
        self.python = python
        self.allow_shared_uid = allow_shared_uid

    async def start_manager(self, spec: ContainerSpec, folder: Path) -> ManagerProcess:
        return ManagerProcess(self.python, spec.limit_bytes, folder, self.env, may_share_uid=self.allow_shared_uid)

    def made_folder(self) -> Path:
        layers()  # which takes some milliseconds the first time, so it is asked in this thread
        return super().made_folder()

    def isolation(self) -> Sequence[str]:
        return [
            *self.shared_isolation(),
            namespaces_line(),
            f"memory: limits are enforced by measuring every {BUSY_S:g} s",
        ]
