"""One accepted activation on its way through a node, and the arithmetic of its phases."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .model import ActivationId, ContainerId, FunctionKey, Phases, StartKind


class RequestState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    """A container is being created for it."""
    RUNNING = "running"
    """Handed to a container; loading on its behalf counts as running."""


# As in `lifecycle`: for the hot path.
QUEUED: Final = RequestState.QUEUED
CREATING: Final = RequestState.STARTING
RUNNING: Final = RequestState.RUNNING


@dataclass(slots=True, eq=False)
class Request:
    activation: ActivationId
    function: FunctionKey
    arrived_at: float
    state: RequestState = QUEUED
    container: ContainerId | None = None
    start_kind: StartKind | None = None
    placed_at: float = 0.0
    """When it left the queue."""
    run_at: float = 0.0
    """When it was handed to a container."""
    library_s: float = 0.0
    """Part of the load that it waited for."""
    model_s: float = 0.0
    template_s: float = 0.0
    """Part of `library_s` in which a template was made."""
    loaded: bool = True
    """False while its function is still being loaded."""
    from_template: bool = False
    """Its function is loaded from a template."""
    patient_until: float = 0.0
    """While queued: it waits for a busy container, until then at most."""
    answer_by: float = math.inf
    """While it runs: when its container must have said how it ended."""
    waits_for_template: bool = False
    """Not for one that has its function, but for one that has the template of its environment."""

    def template_made(self, at: float, library_s: float) -> None:
        """A template was made on its behalf, of which `library_s` at most was its wait."""
        self.template_s = min(library_s, max(0.0, at - self.run_at))
        self.from_template = True

    def waited_for_load(self, at: float, library_s: float, model_s: float) -> None:
        """A load took `library_s` + `model_s`; only its tail, since `run_at`, was this request's wait."""
        waited_s = max(0.0, at - self.run_at - self.template_s)
        self.model_s = min(model_s, waited_s)
        self.library_s = min(library_s, waited_s - self.model_s) + self.template_s
        self.loaded = True

    def load_failed(self, at: float) -> None:
        """A load ended badly, and with it the measuring of its parts: the wait for it counts as libraries."""
        self.library_s = max(0.0, at - self.run_at)

    def phases(self, at: float, compute_s: float = 0.0) -> Phases:
        """Where its time went until `at`; whatever no measurement explains is hand-off."""
        total_s = max(0.0, at - self.arrived_at)
        if self.state is QUEUED:
            return Phases(queue=total_s)
        queue_s = self.placed_at - self.arrived_at
        if self.state is CREATING:
            return Phases(queue=queue_s, container=total_s - queue_s)
        container_s = self.run_at - self.placed_at
        library_s, model_s = self.library_s, self.model_s
        left_s = at - self.run_at - library_s - model_s
        if compute_s > left_s:
            compute_s = left_s if left_s > 0.0 else 0.0
        handoff_s = total_s - (queue_s + container_s + library_s + model_s + compute_s)
        return Phases(queue_s, container_s, library_s, model_s, handoff_s if handoff_s > 0.0 else 0.0, compute_s)
