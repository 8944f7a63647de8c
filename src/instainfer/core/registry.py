"""What a node knows about the functions that may be called, and about the templates that they may be forked from."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeAlias

from .first_calls import FirstCallRate
from .model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    MIB,
    Failure,
    FailureKind,
    Function,
    FunctionKey,
    Profile,
    ResidentKey,
    Source,
    Verdict,
    function_template_key,
    is_function_template,
    is_template,
    templated_function,
)
from .pool import Pool
from .ports import Forecast, FunctionView
from .records import FunctionRecord, TemplateRecord
from .sizes import bounded, learned

#: Makes a forecast after a call, from the times of the calls so far and from the forecast before.
Predict: TypeAlias = Callable[[Sequence[float], Forecast | None], Forecast | None]

#: How many functions a plan looks at: of the functions called last, and of those that were never called. With 64 of the
#: former, a simulation of a small node took a sixth longer and made more loads, and calls started no sooner.
CANDIDATES, UNCALLED_CANDIDATES = 24, 16

#: A function is a candidate for one more resident when at least this share of its calls find all residents in use.
NEEDS_MORE_SHARE = 0.1

#: What forking a resident from a function template is assumed to take, and to add in memory, until one was measured.
GUESS_FORK_S, GUESS_FORKED_BYTES = 0.005, 8 * MIB


class Registry(dict[FunctionKey, FunctionRecord]):
    """The functions by their keys. Only its own methods change it.

    `guess_load_s` is the assumed duration of a load of a function that was never loaded. `history` is the number of
    calls whose times are remembered for each function. `templates` tells whether library templates are used at all, and
    `function_templates` the same of function templates. `budget_bytes` is the node's memory.
    """

    def __init__(
        self,
        forecast: Predict,
        *,
        guess_load_s: float,
        history: int,
        templates: bool,
        budget_bytes: int,
        function_templates: bool = False,
    ) -> None:
        super().__init__()
        self.templates: dict[ResidentKey, TemplateRecord] = {}
        """All templates, of both kinds. Entries are added by `template` only."""
        self.libraries: dict[ResidentKey, TemplateRecord] = {}
        """The library templates among them."""
        self.asked: dict[FunctionKey, None] = {}
        """Functions of which places are wanted, or whose author has said how long they are kept after a call."""
        self.first_calls = FirstCallRate()
        self._called: dict[FunctionKey, None] = {}
        """Functions that have been called, the one called last at the end."""
        self._uncalled: dict[FunctionKey, None] = {}
        self._forecast = forecast
        self._guess_load_s = guess_load_s
        self._history = history
        self._budget_bytes = budget_bytes
        self.needs_bytes = 0
        """What all functions need, if each had a container of its own."""
        self._use_templates = templates
        self._use_function_templates = function_templates

    def register(
        self,
        function: Function,
        profile: Profile | None,
        at: float,
        verdict: Verdict | None = None,
        calls: Sequence[float] = (),
    ) -> None:
        """Make a function known, or give a known one a new description. `calls` are past calls of one that is new."""
        function = bounded(function, self._budget_bytes)
        record = self.get(function.key)
        if record is None:
            arrivals: deque[float] = deque(maxlen=self._history)
            self[function.key] = FunctionRecord(function, profile or Profile(), arrivals, registered_at=at)
            self.needs_bytes += function.memory_bytes
            if calls:
                self._remember_calls(self[function.key], calls)
            else:
                self._uncalled[function.key] = None
                self.first_calls.registered(at)
        else:
            self._describe(record, function)
            record.removed, record.load_failure = False, None
        self.learn(self[function.key], self[function.key].profile)
        self[function.key].verdict = verdict
        self._note_asked(self[function.key])
        self[function.key].template = key = self.template_of(function)
        if key is not None:
            template = self.template(key, function.namespace, function.image)
            if function.key not in template.users:
                template.users = (*template.users, function.key)
        self._register_own(self[function.key])

    def learn(self, record: FunctionRecord, profile: Profile) -> bool:
        """Note a profile that tells another peak. Returns whether the function has another size now."""
        before, record.profile = record.function, profile
        self._describe(record, learned(before, profile))
        return record.function is not before

    def _describe(self, record: FunctionRecord, function: Function) -> None:
        self.needs_bytes += function.memory_bytes - record.function.memory_bytes
        record.function = function

    @property
    def is_short(self) -> bool:
        """Whether the node has less memory than all functions need for containers of their own. Then they share."""
        return self.needs_bytes > self._budget_bytes

    def _remember_calls(self, record: FunctionRecord, calls: Sequence[float]) -> None:
        """Note calls of the past. Nothing of the function was on the node, so each counts as a miss."""
        for at in calls:
            record.arrivals.append(at)
            record.missed.append(at)
            record.forecast = self._forecast(record.arrivals, record.forecast)
        self._called[record.function.key] = None

    def _register_own(self, record: FunctionRecord) -> None:
        function, before = record.function, record.own_template
        record.own_template = key = self.own_template_of(function)
        if key is not None:
            template = self.template(key, function.namespace, function.image)
            template.users, template.load_failure = (function.key,), _unfitness(record.verdict)
        elif before is not None:
            self.templates[before].users = ()

    def want(self, record: FunctionRecord, places: int, at: float) -> None:
        """Note how many places of a function shall be ready. More than 0 is also another chance to load it."""
        record.wanted, record.wanted_at = places, at if places else -math.inf
        if places:
            record.put_away, record.load_failure = False, None
        self._note_asked(record)

    def _note_asked(self, record: FunctionRecord) -> None:
        if record.wanted or record.function.keep_alive_s is not None:
            self.asked[record.function.key] = None
        else:
            self.asked.pop(record.function.key, None)

    def lacking(self, pool: Pool) -> list[FunctionKey]:
        """Functions of which more places are to be made."""
        return [key for key in self.asked if self.is_lacking(key, pool)]

    def is_lacking(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether more places of a function are to be made."""
        return key in self.asked and self[key].loads_ahead and self.view(key, pool).lacks_places

    def template(self, key: ResidentKey, namespace: str, image: str) -> TemplateRecord:
        """The record of a template, a new one if it was not known."""
        record = self.templates.get(key)
        if record is None:
            record = self.templates[key] = TemplateRecord(namespace, image)
            if not is_function_template(key):
                self.libraries[key] = record
        return record

    def forget_template(self, key: ResidentKey) -> None:
        del self.templates[key]
        self.libraries.pop(key, None)

    def judge(self, key: FunctionKey, verdict: Verdict) -> bool:
        """Note whether a function can be forked. Returns whether that is news.

        Once it is known that it cannot, nothing but another registration changes that: of several templates that were
        being made at a time, one may stand nevertheless.
        """
        record = self[key]
        if record.removed or (record.verdict is not None and (verdict.fit or not record.verdict.fit)):
            return False
        record.verdict = verdict
        return True

    def template_of(self, function: Function) -> ResidentKey | None:
        """Key of the library template that a function may be forked from. None if it never uses one."""
        return function.template if self._use_templates and function.templated else None

    def own_template_of(self, function: Function) -> ResidentKey | None:
        """Key of a function's own template. None if it never has one."""
        return function_template_key(function.key) if self._use_function_templates and function.forkable else None

    def forget(self, key: FunctionKey, at: float) -> None:
        """Forget a removed function."""
        record = self.pop(key)
        self.asked.pop(key, None)
        self.needs_bytes -= record.function.memory_bytes
        self._called.pop(key, None)
        if key in self._uncalled:
            del self._uncalled[key]
            self.first_calls.removed(record.registered_at, at)
        if record.template is not None:
            template = self.templates[record.template]
            template.users = tuple(user for user in template.users if user != key)
        if record.own_template is not None:
            self.templates[record.own_template].users = ()

    def unused_template(self, key: ResidentKey) -> bool:
        """Whether this template is known, and no function that could be forked from it exists any longer."""
        template = self.templates.get(key)
        return template is not None and not template.users

    def called(self, key: FunctionKey, at: float) -> None:
        record = self[key]
        record.arrivals.append(at)
        record.put_away = False
        record.concurrency.called()
        record.forecast = self._forecast(record.arrivals, record.forecast)
        if key in self._uncalled:
            del self._uncalled[key]
            self.first_calls.called(record.registered_at, at)
        self._called.pop(key, None)
        self._called[key] = None

    def template_begun(self, key: ResidentKey, at: float) -> None:
        """A function template is being made."""
        self.templates[key].begun_at = at

    def may_be_made_anew(self, key: ResidentKey) -> None:
        """A function template has ended by no fault of its own."""
        self.templates[key].begun_at = -math.inf

    def candidates(self, pool: Pool) -> Iterator[FunctionKey]:
        """Candidates for a load: functions of which nothing is there, or that need one more resident, or a template.

        First come those that were called, the latest call first, then some that never were. The number is limited, so
        that a plan costs the same for a hundred functions and for ten thousand. This loses little: the longer a
        function is not called, the less its resident is worth.
        """
        called = (
            key
            for key in reversed(self._called)
            if self._is_absent(key, pool) or self._needs_more_residents(key, pool) or self._needs_template(key, pool)
        )
        yield from islice(called, CANDIDATES)
        yield from islice((key for key in self._uncalled if self._is_absent(key, pool)), UNCALLED_CANDIDATES)

    def _is_absent(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether a function has neither a resident nor a function template, and could be loaded."""
        record = self[key]
        return key not in pool.copies and record.own_template not in pool.copies and record.loads_ahead

    def candidate_view(self, key: FunctionKey, pool: Pool) -> FunctionView | None:
        """The view of a function that could be loaded, or whose function template could be made, otherwise None."""
        record = self.get(key)
        return self.view_of(record, key, pool) if record is not None and record.loads_ahead else None

    def _needs_more_residents(self, key: FunctionKey, pool: Pool) -> bool:
        """Whether calls of a function with residents often find all of them in use."""
        record = self[key]
        if record.concurrency.found(1) < NEEDS_MORE_SHARE or not record.loads_ahead:
            return False
        return record.concurrency.found(pool.copies.get(key, 0)) >= NEEDS_MORE_SHARE

    def _needs_template(self, key: FunctionKey, pool: Pool) -> bool:
        record = self[key]
        return record.own_template not in pool.copies and self.may_have_template(record, pool)

    # -- costs ---------------------------------------------------------------------------------------------------------

    def load_s(self, key: FunctionKey, source: Source = FROM_NOTHING) -> float:
        """Seconds that loading a function from this source takes, measured or guessed."""
        record = self[key]
        if source is FROM_FUNCTION and record.own_template is not None:
            own = self.templates[record.own_template].profile
            return own.fork_s if own.forks else GUESS_FORK_S
        profile = record.profile
        forked = source is not FROM_NOTHING
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

    def estimate_bytes(self, key: ResidentKey, source: Source = FROM_NOTHING) -> int:
        """Expected size of a resident made from this source, or of a template, before it is measured."""
        if is_template(key):
            measured_bytes = self.templates[key].profile.resident_bytes
            if measured_bytes or not is_function_template(key):
                return measured_bytes
            function = templated_function(key)
            return self.estimate_bytes(function, FROM_NOTHING if self[function].template is None else FROM_LIBRARIES)
        record = self[key]
        plain_bytes = record.profile.resident_bytes or record.function.estimate_bytes
        if source is FROM_FUNCTION and record.own_template is not None:
            return self.templates[record.own_template].profile.forked_bytes or GUESS_FORKED_BYTES
        return plain_bytes if source is FROM_NOTHING else (record.profile.forked_bytes or plain_bytes)

    def saves_s(self, key: FunctionKey, pool: Pool) -> float:
        """Seconds that a load of this function saves if its function template stands, and nothing else changes."""
        template = self[key].template
        without = FROM_NOTHING if template is None or template not in pool.by_function else FROM_LIBRARIES
        return max(0.0, self.load_s(key, without) - self.load_s(key, FROM_FUNCTION))

    def source_for(self, record: FunctionRecord, pool: Pool) -> Source:
        """What a load of a function is made from where all that the node has is at hand."""
        if record.own_template is not None and record.own_template in pool.copies:
            return FROM_FUNCTION
        forked = record.template is not None and record.template in pool.by_function
        return FROM_LIBRARIES if forked else FROM_NOTHING

    # -- views ---------------------------------------------------------------------------------------------------------

    def view(self, key: FunctionKey, pool: Pool) -> FunctionView:
        return self.view_of(self[key], key, pool)

    def view_of(self, record: FunctionRecord, key: FunctionKey, pool: Pool) -> FunctionView:
        """The view of a function whose record is known. The same object as long as nothing in it changes."""
        copies = pool.copies.get(key, 0)
        source = self.source_for(record, pool)
        own = record.own_template
        template = None if own is None else self.templates[own]
        own_copies = 0 if own is None else pool.copies.get(own, 0)
        begun_at = -math.inf if template is None else template.begun_at
        library = None if record.template is None else self.templates[record.template]
        library_bytes = library.profile.resident_bytes if library is not None and library.can_be_made else 0
        wanted = places = 0
        if key in self.asked:
            there = pool.places(key, own)
            places = len(there)
            wanted = max(0 if record.put_away else record.wanted, len(there.intersection(pool.kept(key))))
        basis = (
            record.profile,
            record.forecast,
            None if template is None else template.profile,
            record.function,
            record.verdict,
            source,
            begun_at,
            record.missed[-1] if record.missed else None,
            own_copies,
            copies,
            library_bytes,
            wanted,
            places,
        )
        if record.cached_view is not None and record.cached_view[0] == basis:
            return record.cached_view[1]
        view = FunctionView(
            key,
            record.function.namespace,
            load_s=self.load_s(key, source),
            resident_bytes=self.estimate_bytes(key),
            forked_bytes=self.estimate_bytes(key, FROM_FUNCTION if source is FROM_FUNCTION else FROM_LIBRARIES),
            forecast=record.forecast,
            copies=copies,
            template=own if source is FROM_FUNCTION else record.template,
            busy_s=record.profile.compute_s,
            needs=record.concurrency.found(copies - 1) if copies > 1 else 1.0,
            lacks=record.concurrency.found(copies) if copies > 0 else 1.0,
            library=record.template,
            library_bytes=library_bytes,
            memory_bytes=record.function.memory_bytes,
            own_template=own if self.may_have_template(record, pool) else None,
            own_copies=own_copies,
            own_bytes=0 if own is None else self.estimate_bytes(own),
            own_saves_s=0.0 if own is None else self.saves_s(key, pool),
            misses=len(record.missed),
            missed_since=record.missed[0] if record.missed else 0.0,
            wanted=wanted,
            places=places,
            image=record.function.image,
        )
        record.cached_view = (basis, view)
        return view

    def may_have_template(self, record: FunctionRecord, pool: Pool) -> bool:
        """Whether a function template of this function may be made now."""
        if record.own_template is None or not record.loads_ahead:
            return False
        template = self.templates[record.own_template]
        if template.load_failure is not None:
            return False
        if record.verdict is None and record.own_template in pool.copies:
            return False  # the first one also proves that the function can be forked, which may have effects
        if record.wanted_at > template.begun_at:
            return True
        return bool(record.arrivals) and record.arrivals[-1] > template.begun_at


def _unfitness(verdict: Verdict | None) -> Failure | None:
    """Why no function template is made, where that is known from an earlier one."""
    return None if verdict is None or verdict.fit else Failure(FailureKind.LOAD_FAILED, verdict.reason)
