"""What a node keeps of one function, and of one template."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .concurrency import Concurrency
from .model import Failure, Function, FunctionKey, Profile, ResidentKey, Verdict, housing
from .ports import Forecast, FunctionView
from .rates import mean_rate

#: How many misses are remembered of each function and of each template.
MISSES = 64


@dataclass(slots=True)
class FunctionRecord:
    function: Function
    profile: Profile
    arrivals: deque[float]
    missed: deque[float] = field(default_factory=lambda: deque(maxlen=MISSES))
    """Times of its latest calls that did not find it loaded by an earlier call."""
    template: ResidentKey | None = None
    """Key of the library template that it may be forked from. None if it never uses one."""
    own_template: ResidentKey | None = None
    """Key of its function template. None if it never has one."""
    verdict: Verdict | None = None
    """Whether it can be forked from a function template. None while that is not known."""
    forecast: Forecast | None = None
    load_failure: Failure | None = None
    """Why its latest load failed, or that its latest run died of memory. It is not pre-loaded until a call has loaded
    it again."""
    out_of_memory: Failure | None = None
    """How it died of memory the last time, if no run has ended well since."""
    put_away: bool = False
    """Whether it was off-loaded because somebody asked for it. It is not pre-loaded until it is called again."""
    wanted: int = 0
    """Number of its places that shall be ready."""
    wanted_at: float = -math.inf
    """When they were asked for."""
    registered_at: float = 0.0
    concurrency: Concurrency = field(default_factory=Concurrency)
    removed: bool = False
    cached_view: tuple[tuple[object, ...], FunctionView] | None = None
    """Its latest view, with everything that it was made from."""

    @property
    def forked_from(self) -> list[ResidentKey]:
        """Keys of the templates that it may be forked from, its own first."""
        return [key for key in (self.own_template, self.template) if key is not None]

    @property
    def loads_ahead(self) -> bool:
        """Whether it may be loaded before somebody calls it."""
        return not self.removed and self.load_failure is None and not self.put_away


@dataclass(slots=True)
class TemplateRecord:
    """A template. Only making it shows whether it can be made, so at first nothing is known of it."""

    namespace: str
    image: str = ""
    profile: Profile = field(default_factory=Profile)
    load_failure: Failure | None = None
    """Why it could not be made. A function template that is unfit is never made again."""
    users: tuple[FunctionKey, ...] = ()
    """Functions that may be forked from it, in the order of registration. A change makes a new tuple. A function
    template has one."""
    missed: deque[float] = field(default_factory=lambda: deque(maxlen=MISSES))
    """Times of the latest calls that had to load one of its functions, and could not fork it from its own template."""
    begun_at: float = -math.inf
    """When a function template was begun last. It is not begun again before the next call of its function, so that one
    which dies, is given up or is cut short again and again costs no more than that call's load."""

    @property
    def housing(self) -> str:
        """Which containers may hold it: those of the same housing."""
        return housing(self.namespace, self.image)

    @property
    def can_be_made(self) -> bool:
        """Whether it has been made before, its last load did not fail, and some function can be forked from it."""
        return bool(self.profile.loads and self.users and self.load_failure is None)

    def misses_per_s(self, at: float) -> float:
        """How many of these calls come per second, over those that are remembered."""
        return mean_rate(len(self.missed), self.missed[0] if self.missed else at, at)
