"""Everything that a node knows, as data: `State` is the lowest of the layers that make up its `Books`."""

from __future__ import annotations

from dataclasses import dataclass

from .decisions import Decision
from .guard import Guard
from .ledger import Ledger
from .model import ActivationId, ContainerId, FunctionKey, ResidentKey
from .plan_scope import PlanScope
from .pool import Pool
from .ports import Policies
from .queue import RequestQueue
from .registry import Registry
from .requests import Request
from .settings import NodeSettings
from .timers import Timers
from .values import value
from .views import known


@dataclass(slots=True)
class PreloadCounts:
    """What became of the pre-loads since the node started."""

    started: int = 0
    finished: int = 0
    failed: int = 0
    hits: int = 0
    """Pre-loaded residents that a call has used or waited for."""
    wasted: int = 0
    """Pre-loaded residents that ended without being used by a call."""
    templates: int = 0
    """Function templates that were begun. They are not counted above."""


@value(frozen=True, slots=True)
class Claim:
    """A container whose memory a request will get that has waited too long for it."""

    request: ActivationId
    after: ActivationId
    """The call that ran in the container when it was claimed."""


@value(frozen=True, slots=True)
class Promise:
    """A pre-load or a function template that waits until residents of its container have ended and made room for it."""

    function: ResidentKey
    reason: str


class State:
    """The whole state of a node, except for its story."""

    def __init__(self, settings: NodeSettings, policies: Policies, name: str, at: float) -> None:
        self.settings = settings
        self.name = name
        self.at = at
        """Time of the event that is being handled, or of the latest one."""
        self.pool = Pool(Ledger(settings.budget_bytes, at))
        self.guard = Guard(policies, self._note)
        self.functions = Registry(
            self.guard.forecast,
            guess_load_s=settings.guess_load_s,
            history=settings.history,
            templates=settings.templates,
            budget_bytes=settings.budget_bytes,
            function_templates=settings.function_templates,
        )
        self.known = known(self.functions, self.pool, lambda: self.at)
        """What policies may know of functions and library templates."""
        self.queue = RequestQueue()
        self.requests: dict[ActivationId, Request] = {}
        """Every accepted request that has not been answered."""
        self.draining = False
        self.preloads = PreloadCounts()
        self.timers = Timers()
        self.plan_scope = PlanScope()
        self.promises: dict[ContainerId, Promise] = {}
        """The loads that wait for room, by the idle container in which it is being made."""
        self.prewarm_at: dict[FunctionKey, float] = {}
        """When a new container is to be created for a function, ahead of its next call."""
        self.overdue: dict[ContainerId, None] = {}
        """Idle containers whose time is over, and that stay because of places that are wanted."""
        self.claims: dict[ContainerId, Claim] = {}
        """The containers that a request which has waited too long for memory will get, busy when they were claimed."""
        self.container_start_s = 0.5
        """Mean seconds that creating a container takes. A guess until the first container has started."""
        self.out: list[Decision] = []
        """Decisions made on the event that is being handled."""
        self.notes: list[str] = []
        """Notes for the story: why suggestions were not followed, and which policies failed."""
        self.retry_queue = False
        """Something has changed so that queued requests may be placed now."""
        self.opportunity = False
        """Something has changed that a pre-load plan depends on."""
        self.put_off_until: float | None = None
        """When pre-loads begin although `NodeSettings.calls_beside` forbids it. None while it does not forbid them."""
        self.create_again_at = 0.0
        """When a container may be created ahead of calls again, after one could not be created or was lost."""
        self._created = 0

    def _note(self, text: str) -> None:
        self.notes.append(text)
