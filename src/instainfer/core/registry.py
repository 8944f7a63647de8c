"""What a node knows of the functions that may be called, and of the templates they may be forked from."""

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

#: What a predictor says after a call, from the arrivals so far and from what it said before.
Predict: TypeAlias = Callable[[Sequence[float], Forecast | None], Forecast | None]

#: How many functions a plan looks at: of those called latest, and of those never called.
CANDIDATES, UNCALLED_CANDIDATES = 64, 16

#: Share of calls that find all its residents in use, from which a function is a candidate for one more.
NEEDS_MORE_SHARE = 0.1


#: Seconds after which a miss counts for 1/e of a new one, and how far ahead the next one is looked for.
MISSES_S, MISS_HORIZON_S = 300.0, 60.0


@dataclass(slots=True)
class FunctionRecord:
    function: Function
    profile: Profile
    arrivals: deque[float]
    template: ResidentKey | None = None
    """The key of the template it may be forked from; None when templates are not used for it."""
    forecast: Forecast | None = None
    load_failure: Failure | None = None
    """Why it could not be loaded; pre-loading leaves it alone until a call has shown otherwise."""
    registered_at: float = 0.0
    """When it was registered."""
    concurrency: Concurrency = field(default_factory=Concurrency)
    removed: bool = False
    cached_view: tuple[Profile, bool, FunctionView] | None = None
    """Its latest view, with what that was made from beside forecast and copies."""


@dataclass(slots=True)
class TemplateRecord:
    """Before the first has been made nothing is known of it: whether there can be one, the runtime finds out."""

    namespace: str
    profile: Profile = field(default_factory=Profile)
    load_failure: Failure | None = None
    users: tuple[FunctionKey, ...] = ()
    """Functions that may be forked from it, those registered first first; another tuple when they change."""
    misses: float = 0.0
    """Calls of its functions that had to load, each counting the less the longer it is ago."""
    missed_at: float = 0.0

    def missed(self, at: float) -> None:
        """A call of one of its functions has to load."""
        self.misses = 1.0 + self.misses * math.exp((self.missed_at - at) / MISSES_S)
        self.missed_at = at

    def chance(self, at: float) -> float:
        """Probability that a call of one of its functions has to load within `MISS_HORIZON_S`."""
        rate = self.misses * math.exp((self.missed_at - at) / MISSES_S) / MISSES_S
        return -math.expm1(-rate * MISS_HORIZON_S)


class Registry(dict[FunctionKey, FunctionRecord]):
    """The functions by their keys; changed by its own methods only.

    `guess_load_s`: seconds of loading assumed of a function never loaded; `history`: arrivals remembered.
    """

    def __init__(self, forecast: Predict, *, guess_load_s: float, history: int, templates: bool) -> None:
        super().__init__()
        self.templates: dict[ResidentKey, TemplateRecord] = {}
        self.first_calls = FirstCallRate()
        self._called: dict[FunctionKey, None] = {}
        """Functions that have been called, the latest last."""
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
        """The template that a function is to be forked from, if there is one; None when templates are not for it."""
        return function.template if self._use_templates and function.templated else None

    def forget(self, key: FunctionKey, at: float) -> None:
        """Forget a function of which nothing is left."""
        record = self.pop(key)
        self._called.pop(key, None)
        if key in self._uncalled:
            del self._uncalled[key]
            self.first_calls.removed(record.registered_at, at)
        if record.template is not None:
            template = self.templates[record.template]
            template.users = tuple(user for user in template.users if user != key)

    def unused_template(self, key: ResidentKey) -> bool:
        """Whether it is known, and no function is there any longer that could be forked from it."""
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
        """Functions that could be resident and are not: the latest called ones, then some that never were.

        Among the called ones are those whose residents are often all in use.

        A rate falls with the silence, so that what was not called for long is worth little: looking at the latest only
        keeps a plan's cost the same for a hundred functions and for ten thousand.
        """
        called = (
            key for key in reversed(self._called) if self.is_absent(key, pool) or self._needs_more_residents(key, pool)
        )
        yield from islice(called, CANDIDATES)
        yield from islice((key for key in self._uncalled if self.is_absent(key, pool)), UNCALLED_CANDIDATES)

    def is_absent(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether it could be resident and is not."""
        return self._absent(key, pool) is not None

    def absent_view(self, key: FunctionKey, pool: Pool) -> FunctionView | None:
        """Its view if it could be resident and is not, else None."""
        record = self._absent(key, pool)
        return None if record is None else self.view_of(record, key, pool)

    def _absent(self, key: FunctionKey, pool: Pool) -> FunctionRecord | None:
        record = None if key in pool.copies else self.get(key)
        return None if record is None or record.removed or record.load_failure is not None else record

    def _needs_more_residents(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether calls of a resident function often find all of its residents in use."""
        record = self[key]
        if record.concurrency.found(1) < NEEDS_MORE_SHARE or record.removed or record.load_failure is not None:
            return False
        return record.concurrency.found(pool.copies.get(key, 0)) >= NEEDS_MORE_SHARE

    # -- costs -----------------------------------------------------------------------------------------------------

    def load_s(self, key: FunctionKey, *, forked: bool) -> float:
        """Seconds that loading it takes, measured or guessed."""
        record = self[key]
        profile = record.profile
        if forked and profile.forks:
            return profile.load_s(forked=True)
        if forked and profile.loads:
            return profile.model_s
        if profile.loads:
            return profile.load_s(forked=False)
        if not forked and profile.forks and record.template is not None:
            # Never loaded from nothing: that would be the imports its template has made, and its model.
            return self.templates[record.template].profile.library_s + profile.model_s
        return self._guess_load_s / 2 if forked else self._guess_load_s

    def estimate_bytes(self, key: ResidentKey, *, forked: bool = False) -> int:
        """Size of a resident or a template before it is measured in this place."""
        if is_template(key):
            return self.templates[key].profile.resident_bytes
        record = self[key]
        plain_bytes = record.profile.resident_bytes or record.function.estimate_bytes
        return (record.profile.forked_bytes or plain_bytes) if forked else plain_bytes

    # -- views -----------------------------------------------------------------------------------------------------

    def view(self, key: FunctionKey, pool: Pool) -> FunctionView:
        return self.view_of(self[key], key, pool)

    def view_of(self, record: FunctionRecord, key: FunctionKey, pool: Pool) -> FunctionView:
        """The same, for who has looked it up already."""
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
