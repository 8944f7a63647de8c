"""What a node knows about the functions that may be called, and about the templates that they may be forked from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from .concurrency import Concurrency
from .first_calls import FirstCallRate
from .model import Failure, Function, FunctionKey, Profile, ResidentKey, is_template
from .pool import Pool
from .ports import Forecast, FunctionView

#: Makes a forecast after a call, from the times of the calls so far and from the forecast before.
Predict: TypeAlias = Callable[[Sequence[float], Forecast | None], Forecast | None]

#: How many functions a plan looks at: of the functions called last, and of those that were never called.
CANDIDATES, UNCALLED_CANDIDATES = 64, 16

#: A function is a candidate for one more resident when at least this share of its calls find all residents in use.
NEEDS_MORE_SHARE = 0.1

#: Seconds after which a miss counts 1/e as much as a new one, and seconds within which the next miss is predicted.
MISSES_S, MISS_HORIZON_S = 300.0, 60.0


@dataclass(slots=True)
class FunctionRecord:
    function: Function
    profile: Profile
    arrivals: deque[float]
    template: ResidentKey | None = None
    """Key of the template that it may be forked from. None if it never uses a template."""
    forecast: Forecast | None = None
    load_failure: Failure | None = None
    """Why its latest load failed. It is not pre-loaded until a call has loaded it again."""
    registered_at: float = 0.0
    concurrency: Concurrency = field(default_factory=Concurrency)
    removed: bool = False
    cached_view: tuple[Profile, bool, FunctionView] | None = None
    """Its latest view, with the profile it was made from, and whether it was made for loads from a template."""


@dataclass(slots=True)
class TemplateRecord:
    """One kind of template. Only making it shows whether it can be made, so at first nothing is known of it."""

    namespace: str
    profile: Profile = field(default_factory=Profile)
    load_failure: Failure | None = None
    users: tuple[FunctionKey, ...] = ()
    """Functions that may be forked from it, in the order of registration. A change makes a new tuple."""
    misses: float = 0.0
    """Number of calls that had to load one of its functions. Older calls count less (see `MISSES_S`)."""
    missed_at: float = 0.0
    """When `misses` was updated last."""

    def missed(self, at: float) -> None:
        """Count a call that has to load one of its functions."""
        self.misses = 1.0 + self.misses * math.exp((self.missed_at - at) / MISSES_S)
        self.missed_at = at

    def chance(self, at: float) -> float:
        """Probability that a call has to load one of its functions within `MISS_HORIZON_S`."""
        rate = self.misses * math.exp((self.missed_at - at) / MISSES_S) / MISSES_S
        return -math.expm1(-rate * MISS_HORIZON_S)


class Registry(dict[FunctionKey, FunctionRecord]):
    """The functions by their keys. Only its own methods change it.

    `guess_load_s` is the assumed duration of a load of a function that was never loaded. `history` is the number of
    calls whose times are remembered for each function. `templates` tells whether templates are used at all.
    """

    def __init__(self, forecast: Predict, *, guess_load_s: float, history: int, templates: bool) -> None:
        super().__init__()
        self.templates: dict[ResidentKey, TemplateRecord] = {}
        self.first_calls = FirstCallRate()
        self._called: dict[FunctionKey, None] = {}
        """Functions that have been called, the one called last at the end."""
        self._uncalled: dict[FunctionKey, None] = {}
        self._forecast = forecast
        self._guess_load_s = guess_load_s
        self._history = history
        self._use_templates = templates

    def register(self, function: Function, profile: Profile | None, at: float) -> None:
        record = self.get(function.key)
        if record is None:
            arrivals: deque[float] = deque(maxlen=self._history)
            self[function.key] = FunctionRecord(function, profile or Profile(), arrivals, registered_at=at)
            self._uncalled[function.key] = None
            self.first_calls.registered(at)
        else:
            record.function, record.removed, record.load_failure = function, False, None
        self[function.key].template = key = self.template_of(function)
        if key is not None:
            template = self.templates.setdefault(key, TemplateRecord(function.namespace))
            if function.key not in template.users:
                template.users = (*template.users, function.key)

    def template_of(self, function: Function) -> ResidentKey | None:
        """Key of the template that a function may be forked from. None if it never uses a template."""
        return function.template if self._use_templates and function.templated else None

    def forget(self, key: FunctionKey, at: float) -> None:
        """Forget a removed function."""
        record = self.pop(key)
        self._called.pop(key, None)
        if key in self._uncalled:
            del self._uncalled[key]
            self.first_calls.removed(record.registered_at, at)
        if record.template is not None:
            template = self.templates[record.template]
            template.users = tuple(user for user in template.users if user != key)

    def unused_template(self, key: ResidentKey) -> bool:
        """Whether this template is known, and no function that could be forked from it exists any longer."""
        template = self.templates.get(key)
        return template is not None and not template.users

    def called(self, key: FunctionKey, at: float) -> None:
        record = self[key]
        record.arrivals.append(at)
        record.concurrency.called()
        record.forecast = self._forecast(record.arrivals, record.forecast)
        if key in self._uncalled:
            del self._uncalled[key]
            self.first_calls.called(record.registered_at, at)
        self._called.pop(key, None)
        self._called[key] = None

    def absent(self, pool: Pool) -> Iterator[FunctionKey]:
        """Candidates for a load: functions without a resident, and functions that need one more.

        First come those that were called, the latest call first, then some that never were. The number is limited, so
        that a plan costs the same for a hundred functions and for ten thousand. This loses little: the longer a
        function is not called, the less its resident is worth.
        """
        called = (
            key for key in reversed(self._called) if self.is_absent(key, pool) or self._needs_more_residents(key, pool)
        )
        yield from islice(called, CANDIDATES)
        yield from islice((key for key in self._uncalled if self.is_absent(key, pool)), UNCALLED_CANDIDATES)

    def is_absent(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether a function has no resident and could be loaded."""
        return self._absent(key, pool) is not None

    def absent_view(self, key: FunctionKey, pool: Pool) -> FunctionView | None:
        """The view of a function that has no resident and could be loaded, otherwise None."""
        record = self._absent(key, pool)
        return None if record is None else self.view_of(record, key, pool)

    def _absent(self, key: FunctionKey, pool: Pool) -> FunctionRecord | None:
        record = None if key in pool.copies else self.get(key)
        return None if record is None or record.removed or record.load_failure is not None else record

    def _needs_more_residents(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether calls of a function with residents often find all of them in use."""
        record = self[key]
        if record.concurrency.found(1) < NEEDS_MORE_SHARE or record.removed or record.load_failure is not None:
            return False
        return record.concurrency.found(pool.copies.get(key, 0)) >= NEEDS_MORE_SHARE

    # -- costs ---------------------------------------------------------------------------------------------------------

    def load_s(self, key: FunctionKey, *, forked: bool) -> float:
        """Seconds that loading a function takes, measured or guessed. `forked`: from a template."""
        record = self[key]
        profile = record.profile
        if forked and profile.forks:
            return profile.load_s(forked=True)
        if forked and profile.loads:
            return profile.model_s
        if profile.loads:
            return profile.load_s(forked=False)
        if not forked and profile.forks and record.template is not None:
            # It was never loaded without a template. Such a load would make the imports of its template, too.
            return self.templates[record.template].profile.library_s + profile.model_s
        return self._guess_load_s / 2 if forked else self._guess_load_s

    def estimate_bytes(self, key: ResidentKey, *, forked: bool = False) -> int:
        """Expected size of a resident or a template before it is measured. `forked`: from a template."""
        if is_template(key):
            return self.templates[key].profile.resident_bytes
        record = self[key]
        plain_bytes = record.profile.resident_bytes or record.function.estimate_bytes
        return (record.profile.forked_bytes or plain_bytes) if forked else plain_bytes

    # -- views ---------------------------------------------------------------------------------------------------------

    def view(self, key: FunctionKey, pool: Pool) -> FunctionView:
        return self.view_of(self[key], key, pool)

    def view_of(self, record: FunctionRecord, key: FunctionKey, pool: Pool) -> FunctionView:
        """The view of a function whose record is known. The same object as long as nothing in it changes."""
        copies = pool.copies.get(key, 0)
        forked = record.template is not None and record.template in pool.by_function
        if record.cached_view is not None:
            profile, was_forked, view = record.cached_view
            if (
                profile is record.profile
                and was_forked is forked
                and view.forecast is record.forecast
                and view.copies == copies
            ):
                return view
        plain_bytes = record.profile.resident_bytes or record.function.estimate_bytes
        view = FunctionView(
            key,
            record.function.namespace,
            load_s=self.load_s(key, forked=forked),
            resident_bytes=plain_bytes,
            forked_bytes=record.profile.forked_bytes or plain_bytes,
            forecast=record.forecast,
            copies=copies,
            template=record.template,
            busy_s=record.profile.compute_s,
            needs=record.concurrency.found(copies - 1) if copies > 1 else 1.0,
            lacks=record.concurrency.found(copies) if copies > 0 else 1.0,
        )
        record.cached_view = (record.profile, forked, view)
        return view
