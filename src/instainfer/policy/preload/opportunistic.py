"""The opportunistic pre-loading policy: what should each idle container hold? (SoCC 2024, section 4.)

Idle containers are knapsacks. Residents, function templates and library templates can be put into them;
`policy.objective` says what each of these is worth. At each opportunity, the policy asks one question: which load gains
most per byte, and in which container?

*Which.* For each function there is one candidate: its function template, where it can have one and the node holds none;
otherwise one more resident. With a function template, a call finds a process that was forked ahead of it, so a resident
beside it would gain nothing. A resident is loaded once a call has come with probability P_load, as its function's
forecast says. In the paper, a resident is off-loaded when no call has come until P_offload. Here it stays, because the
memory is idle anyway; its gain falls with its rate until something else is worth more.

*Where.* A candidate goes to the place where the sum of the gains grows most. Its own gain there depends on its
neighbours, theirs depends on it, and what it displaces is lost. Of the places with room, `LOOKED_AT` are compared,
those whose residents are called least.

*Library templates* come last. Function templates and residents bring the one that they are forked from. Where nothing
is to be loaded, containers with room get more of them, so that a miss is fast there, too.

*New containers.* What finds no place gets a new container, if the keep-alive policy spends memory that nobody uses.

A greedy choice of one load at a time, without any later improvement of the packing, was as good in the paper's
experiments as a packing that was improved by local search (ADR 22).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from ...core.model import FunctionKey, ResidentKey
from ...core.ports import (
    ContainerView,
    Contents,
    FunctionView,
    Known,
    NodeView,
    PreloadPlan,
    Stand,
    SuggestCreate,
    SuggestLoad,
    SuggestOffload,
)
from ...core.registry import NEEDS_MORE_SHARE
from ..objective import (
    HELD,
    HORIZON_S,
    TERM_S,
    Valued,
    library_gain,
    resident_rate,
    resident_saves_s,
    template_gain,
    template_most_s,
    template_rate,
    until_first_call_s,
)
from .places import Candidate, Load, Place, bytes_in, is_too_large, place_of
from .wanted import clear, load_wanted, wanted_candidate

LOOKED_AT: Final = 6
"""Places that a candidate is compared in."""
AT_HOME: Final = 8.0
"""How many times its gain is lost when a function is displaced from the container that keep-alive keeps for it. That
policy expects its next call there, so a guess about another function has to be clearly better: after a burst, the rates
of both look high. (Without it, start-up in bursts is 94 ms instead of 62, ADR 22.)"""
LOOK_AGAIN_S: Final = 10.0
"""Seconds until everything is looked at again, when there was something to load that no load was left for."""


class Opportunistic(Valued):
    """`p_load` is P_load, and `processor_price_s` the price of a processor second, in seconds of waiting.

    Without `residents`, only function templates are made. `max_residents` limits the functions in one container; 0
    means no limit.
    """

    active = True

    def __init__(
        self,
        p_load: float = 0.06,
        processor_price_s: float = 0.2,
        *,
        residents: bool = True,
        max_residents: int = 0,
    ) -> None:
        self.p_load = p_load
        self.processor_price_s = processor_price_s
        self.residents = residents
        self.max_residents = max_residents

    def plan(self, view: NodeView) -> PreloadPlan:
        candidates, later = self._candidates((*view.candidates, *view.waiting), view)
        waiting = {function.key for function in view.waiting}
        is_new = any(candidate.function.key not in waiting for candidate in candidates)
        changed = [place_of(container, view) for container in view.containers] if candidates else []
        others = [place_of(container, view) for container in view.others] if is_new else []
        places = sorted([*changed, *others], key=_QUIETEST_FIRST)
        loads: list[SuggestLoad | SuggestCreate] = []
        offloads: list[SuggestOffload] = []
        left: list[Candidate] = []
        look_again_at: float | None = None
        for candidate in candidates:
            load = None
            if len(loads) >= view.load_slots:
                if candidate.function.key not in waiting:
                    look_again_at = view.at + LOOK_AGAIN_S  # it has not been tried anywhere
            else:
                load = self._best(candidate, changed if candidate.function.key in waiting else places)
            if load is not None and self._is_better_off_alone(load, view):
                load = None
            if load is None:
                left.append(candidate)
            else:
                # A place takes one load in each plan, so that what is known of it stays true.
                places = [place for place in places if place is not load.place]
                changed = [place for place in changed if place is not load.place]
                if candidate.key not in load.place.holds:
                    loads.append(_suggest(load))
                offloads += clear(load)
        if not loads and self.residents:
            loads = list(self._library_loads(view.containers, view.known))[: view.load_slots]
        new = self._new_container(left, view) if len(loads) < view.load_slots else None
        suggestions = [*offloads, *loads] if new is None else [*offloads, *loads, new]
        return PreloadPlan(tuple(suggestions), look_again_at, tuple([each.function.key for each in left]), tuple(later))

    # -- which ---------------------------------------------------------------------------------------------------------

    def _candidates(
        self, functions: Iterable[FunctionView], view: NodeView
    ) -> tuple[list[Candidate], list[tuple[float, FunctionKey]]]:
        """The candidates, most gain per byte first, and functions that are not due yet, with their due times."""
        due: list[Candidate] = []
        later: list[tuple[float, FunctionKey]] = []
        for function in functions:
            candidate = self._candidate(function, view)
            if candidate is None:
                continue
            forecast = function.forecast
            at_once = forecast is None or candidate.is_template or candidate.is_wanted
            due_at = -math.inf if forecast is None or at_once else forecast.due_at(self.p_load)
            if due_at <= view.at:
                due.append(candidate)
            elif due_at < math.inf:
                later.append((due_at, function.key))
        due.sort(key=_KEY)
        due.sort(key=_DENSITY, reverse=True)
        return due, later

    def _candidate(self, function: FunctionView, view: NodeView) -> Candidate | None:
        """What may be loaded for a function. None if nothing is worth its processor time, whatever the neighbours."""
        at = view.at
        if function.lacks_places:
            return wanted_candidate(function)
        if function.own_copies > 0:
            return None
        if function.own_template is not None and not (self.residents and is_too_large(function)):
            rate = template_rate(function, at)
            gain = template_gain(function, rate, 1)
            most_s = template_most_s(function, at)
            if min(gain * TERM_S, most_s) <= self.processor_price_s * function.load_s:
                return None
            density = gain / (function.own_bytes or 1)
            return Candidate(function.own_template, function, True, rate, function.own_saves_s, gain, density, most_s)
        if not self.residents or (function.copies > 0 and function.lacks < NEEDS_MORE_SHARE):
            return None
        rate = resident_rate(function, at, view.first_rate) * function.lacks
        saves_s = resident_saves_s(function, function.copies)
        gain = rate * saves_s * until_first_call_s(rate, HORIZON_S) / HORIZON_S
        return Candidate(
            function.key, function, False, rate, saves_s, gain, gain / (function.resident_bytes or 1), saves_s
        )

    # -- where ---------------------------------------------------------------------------------------------------------

    def _best(self, candidate: Candidate, places: Iterable[Place]) -> Load | None:
        best: Load | None = None
        tries = LOOKED_AT
        for place in places:
            load = self._load(candidate, place)
            if load is None:
                continue
            if best is None or load.adds > best.adds:
                best = load
            tries -= 1
            if tries == 0:
                break
        return best

    def _load(self, candidate: Candidate, place: Place) -> Load | None:
        """The candidate in this place. None if it does not fit, or does not pay."""
        function, container = candidate.function, place.view
        if container.housing != function.housing or (candidate.key in place.holds and not candidate.is_wanted):
            return None
        if container.limit_bytes < function.memory_bytes:
            return None
        if place.is_held and function.key not in place.holds:
            return None  # a call of this function there would end what is held
        if candidate.is_wanted:
            return load_wanted(candidate, place)
        if 0 < self.max_residents <= place.functions and not candidate.is_template:
            return None
        size_bytes = bytes_in(candidate, place.ready)
        ends: list[Stand] = []
        lost = ended_rate = ended_weight = 0.0
        processor_s = function.load_s
        lacks_bytes = size_bytes - place.room_bytes
        for stand in place.contents.stands if lacks_bytes > 0 else ():
            if stand.key in (function.template, function.library):
                continue
            if stand.gain >= HELD:
                return None
            ends.append(stand)
            if stand.is_template:
                lost += stand.gain
            elif stand.key != function.key:  # beside its template, a resident of the function is hardly missed
                ended_rate += stand.rate
                ended_weight += stand.rate * stand.saves_s
                if stand.key == container.owner:
                    lost += (AT_HOME - 1.0) * stand.gain
            processor_s += stand.saves_s  # the time for loading it again
            lacks_bytes -= stand.size_bytes
            if lacks_bytes <= 0:
                break
        if lacks_bytes > 0 or (ends and function.forecast is None):
            return None  # a function that was never called takes free room only
        adds = self._adds(candidate, place.contents, ended_rate, ended_weight) - lost
        if min(adds * TERM_S, candidate.most_s) <= self.processor_price_s * processor_s:
            return None
        return Load(candidate, place, adds, size_bytes, ends)

    def _adds(self, candidate: Candidate, contents: Contents, ended_rate: float, ended_weight: float) -> float:
        """By how much the gain of a place's functions grows with the candidate, when some of them are ended for it."""
        now = contents.weight * until_first_call_s(contents.rate, HORIZON_S)
        rate, weight = max(0.0, contents.rate - ended_rate), max(0.0, contents.weight - ended_weight)
        if candidate.is_template:
            return candidate.gain + (weight * until_first_call_s(rate, HORIZON_S) - now) / HORIZON_S
        if candidate.function.forecast is not None:
            rate += candidate.rate
        weight += candidate.rate * candidate.saves_s
        return (weight * until_first_call_s(rate, HORIZON_S) - now) / HORIZON_S

    def _library_loads(self, places: Iterable[ContainerView], known: Known) -> Iterable[SuggestLoad | SuggestCreate]:
        """Library templates for containers with room, each one's most useful one."""
        libraries = list(known.templates.values())
        begun: set[ResidentKey] = set()
        for place in places:
            best, gain = None, 0.0
            holds = {each.function for each in place.residents}
            for library in libraries:
                if library.housing != place.housing or library.key in holds or library.key in begun:
                    continue
                adds = library_gain(library, library.copies + 1)
                pays = adds * TERM_S > self.processor_price_s * library.library_s
                if pays and adds > gain and library.resident_bytes <= place.free_bytes:
                    best, gain = library, adds
            if best is not None:
                begun.add(best.key)
                reason = f"a miss here would import for {best.library_s:.2f} s"
                yield SuggestLoad(place.id, best.key, best.resident_bytes, gain * TERM_S, (), reason)

    def _is_better_off_alone(self, load: Load, view: NodeView) -> bool:
        """Whether a new container is worth its making: there the candidate displaces nothing and has no neighbours."""
        candidate = load.candidate
        pays = (candidate.gain - load.adds) * TERM_S > self.processor_price_s * candidate.function.load_s
        return pays and _fits_in_spare(candidate, view)

    def _new_container(self, left: Iterable[Candidate], view: NodeView) -> SuggestCreate | None:
        """A new container for the first candidate that found no place, and that fits in the spare memory."""
        for candidate in left:
            if candidate.is_wanted and bytes_in(candidate, ()) <= candidate.function.memory_bytes:
                return SuggestCreate(candidate.function.key, "somebody asked for it to be ready")
            pays = candidate.gain * TERM_S > self.processor_price_s * candidate.function.load_s
            if pays and _fits_in_spare(candidate, view):
                return SuggestCreate(candidate.function.key, f"there is no place for {candidate.key}")
        return None


def _fits_in_spare(candidate: Candidate, view: NodeView) -> bool:
    """Whether a container may be created for a candidate, and has room for it."""
    function = candidate.function
    if function.memory_bytes > view.spare_bytes or bytes_in(candidate, ()) > function.memory_bytes:
        return False
    return view.spends(function.namespace)


def _suggest(load: Load) -> SuggestLoad:
    candidate = load.candidate
    if candidate.is_wanted:
        why = f"somebody asked for it to be ready, in places: {candidate.function.wanted}"
    elif candidate.function.forecast is None:
        why = "never called yet, memory is idle"
    else:
        why = f"{candidate.rate * 60:.2g} calls a minute would use it, saves {candidate.saves_s:.2f} s"
    if load.ends:
        why += f"; displaces {', '.join(stand.key for stand in load.ends)}"
    ends = tuple([stand.key for stand in load.ends])
    return SuggestLoad(load.place.view.id, candidate.key, load.size_bytes, load.adds * TERM_S, ends, why)


_KEY: Final = attrgetter("key")
_DENSITY: Final = attrgetter("density")
_QUIETEST_FIRST: Final = attrgetter("contents.rate", "view.id")
