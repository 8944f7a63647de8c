"""The configuration of a simulated platform, and the node states that are built from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..config import KeepAliveConfig, PreloadConfig
from ..core.model import GIB
from ..core.node import NodeSettings, NodeState
from ..core.ports import Policies
from ..core.story import Story
from ..errors import BadInput
from ..policy import catalog

_STORY_EVENTS = 50
"""Events kept for error messages. A thousand, as in a live node, would push other data out of the processor's cache."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The part of a live platform's configuration that matters to a simulation."""

    keepalive: KeepAliveConfig = field(default_factory=KeepAliveConfig)
    preload: PreloadConfig = field(default_factory=PreloadConfig)
    retain: bool = True
    """False: a function's process ends with its call (the paper's stateless baseline)."""
    templates: bool = True
    function_templates: bool = True
    """Whether functions are forked from function templates, as far as the cost set says what theirs cost."""
    fast_init: bool = True
    replace: bool = False
    """Same meaning as ``node.replace``."""
    memory_bytes: int = 10 * GIB
    """Memory for containers, on each node."""
    auto_memory: bool = False
    """True: the memory of all functions is learned, whatever limits the costs say."""
    nodes: int = 1
    seed: int = 1
    """Seed for the times of calls within their minute, where the trace has no exact times, and for the costs' noise."""
    owners_apart: bool = False
    """True: each owner in the trace is a namespace of its own. False: all functions are in one namespace."""
    max_queue: int = 10_000
    label: str = "simulated"

    def node_state(self, name: str, processors: float = 0.0) -> NodeState:
        """Return a node without functions. `processors` is the number of cores, or 0 when they are never short.

        Raises `BadInput` for a policy that does not exist.
        """
        node = NodeSettings(
            self.memory_bytes,
            max_queue=self.max_queue,
            max_loads=self.preload.max_loads,
            calls_beside=self.preload.calls_beside_loads(processors) if processors else self.preload.calls_beside,
            processors=processors or None,
            retain=self.retain,
            templates=self.templates and self.retain,
            function_templates=self.function_templates and self.retain,
            replace=self.replace,
        )
        return NodeState(node, self.policies(), name, story=Story(_STORY_EVENTS))

    def policies(self) -> Policies:
        """Return new policy objects: policies may learn, and nodes do not share what they know.

        Raises `BadInput` for a policy that does not exist.
        """
        try:
            return catalog.policies(self.keepalive, self.preload)
        except KeyError as error:
            raise BadInput(error.args[0]) from None
