"""A `Request` is an accepted activation on its way through a node. It computes the phases of the activation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from .model import (
    FROM_LIBRARIES,
    FROM_NOTHING,
    ActivationId,
    ContainerId,
    FunctionKey,
    Option,
    Phases,
    Source,
    StartKind,
)


class RequestState(StrEnum):
    QUEUED = "queued"
    STARTING = "starting"
    """A container is being created for it."""
    RUNNING = "running"
    """It was handed to a container. It counts as running while its function is loaded for it, too."""


# These names are for code that runs on every call, as in `lifecycle`.
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
    """Seconds that it waited for its function's imports."""
    model_s: float = 0.0
    """Seconds that it waited for its function's model."""
    template_s: float = 0.0
    """The part of `library_s` in which a template was made."""
    loaded: bool = True
    """False while its function is still being loaded."""
    source: Source = FROM_NOTHING
    """What its function is loaded from, as far as is known."""
    patient_until: float = 0.0
    """While it is queued: until this moment it may wait for a busy container. 0: it has never waited for one. ``inf``:
    it waits for one that is being created or loads the function."""
    answer_by: float = math.inf
    """While it runs: its container must have reported how it ended by this moment."""
    options: tuple[Option, ...] = ()
    """What could be done with it when that was asked last, the choice first."""
    is_repeated: bool = False
    """Its function's process has died of memory under it once already."""

    def template_made(self, at: float, library_s: float) -> None:
        """A template was made for this request in `library_s` seconds; it waited for at most that long."""
        self.template_s = min(library_s, max(0.0, at - self.run_at))
        self.source = FROM_LIBRARIES

    def waited_for_load(self, at: float, library_s: float, model_s: float) -> None:
        """A load took `library_s` + `model_s` seconds. The request waited only for the part of it after `run_at`."""
        waited_s = max(0.0, at - self.run_at - self.template_s)
        self.model_s = min(model_s, waited_s)
        self.library_s = min(library_s, waited_s - self.model_s) + self.template_s
        self.loaded = True

    def load_failed(self, at: float) -> None:
        """A load failed, so its parts were not measured. The whole wait for it counts as `library_s`."""
        self.library_s = max(0.0, at - self.run_at)

    def phases(self, at: float, compute_s: float = 0.0) -> Phases:
        """How its time until `at` divides into phases. Time that no measurement explains counts as hand-off."""
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
