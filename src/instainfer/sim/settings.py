"""How a simulated platform is configured, and the states that are built from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config import KeepAliveConfig, PreloadConfig
from ..core.model import GIB
from ..core.node import NodeSettings, NodeState
from ..core.ports import Policies
from ..core.story import Story
from ..errors import BadInput
from ..policy import catalog

_REMEMBERED = 50
"""Events, for an error's message. A thousand, as live, would push what is needed out of the processor's cache."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a live platform's configuration says, as far as a simulated one has it."""

    keepalive: KeepAliveConfig = field(default_factory=KeepAliveConfig)
    preload: PreloadConfig = field(default_factory=PreloadConfig)
    retain: bool = True
    """False: a function's process ends with its call (the paper's stateless baseline)."""
    templates: bool = True
    fast_init: bool = True
    replace: bool = False
    """As ``node.replace``."""
    memory_bytes: int = 10 * GIB
    """For containers, on each node."""
    nodes: int = 1
    seed: int = 1
    """Places calls inside their minute where the trace does not, and draws the noise of the costs."""
    owners_apart: bool = False
    """Each owner of the trace is a namespace of its own; otherwise all functions are one tenant's."""
    max_queue: int = 10_000
    label: str = "simulated"

    def node_state(self, name: str, processors: float = 0.0) -> NodeState:
        """A node without functions; `processors`: 0 for as many as are wanted.

        Raises `BadInput` for a policy that does not exist.
        """
        node = NodeSettings(
            self.memory_bytes,
            max_queue=self.max_queue,
            max_loads=self.preload.max_loads,
            calls_beside=self.preload.calls_beside_loads(processors) if processors else self.preload.calls_beside,
            retain=self.retain,
            templates=self.templates and self.retain,
            replace=self.replace,
        )
        return NodeState(node, self.policies(), name, story=Story(_REMEMBERED))

    def policies(self) -> Policies:
        """A fresh set: policies may learn, and nodes do not share what they know.

        Raises `BadInput` for one that does not exist.
        """
        try:
            return catalog.policies(self.keepalive, self.preload)
        except KeyError as error:
            raise BadInput(error.args[0]) from None
