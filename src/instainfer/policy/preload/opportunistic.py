"""Opportunistic pre-loading: which residents should which idle container hold? (SoCC 2024, section 4.)

A function becomes a candidate when its forecast says that a call will have come with probability P_load. Idle
containers are knapsacks: a resident weighs its bytes and is worth the seconds of loading that it is expected to save.
We fill them greedily by value for each byte, displacing residents of clearly lower value.

When the silence has lasted until P_offload the prediction was wrong. The paper off-loads the resident then. Measured,
that hurts: the memory is idle anyway, with a window of five calls the moment comes after half the window's length, and
the next call is a miss. By default such a resident therefore stays, and only its worth falls with its rate until
somebody who is worth clearly more wants the room (``patient``). ``patient = False`` gives the paper's rule, and an
overdue function is not loaded again before its next call.

The paper values a resident by P(called within a horizon) x load seconds wherever it is. But a call for *any* resident
of a container ends all others in it, so the value depends on the neighbours: with lambda the function's own rate and
mu the sum of its neighbours' rates, it is used before it is ended, and within the horizon H, with probability

    lambda / (lambda + mu) x (1 - exp(-(lambda + mu) H))

which is the paper's value when there are no neighbours. A place where this probability is below `MIN_CHANCE` is not
worth the load: it would burn CPU to be ended again.

Worked example. ResNet-50 (load 2 s, called once a minute, H = 60 s) alone: 2 x 0.63 = 1.26 s. Beside a function that
is called every five seconds: lambda / (lambda + mu) = 1/13, hence 0.15 s. It goes into the other container.

A function that was never called has a small prior rate, so that otherwise empty memory is used; being worth least it
is the first to make room. Its neighbours are not thought to be in danger from it. A second copy of a resident helps
only when two calls overlap: copies are worth `SPARE_COPY` of a single one, and none is loaded on purpose.

Templates come last: when every function that is wanted has its place, idle containers with room get the templates of
the environments that may be called there, so that a miss is fast too. A template is worth the imports that it is
expected to save its functions, mostly those without a resident of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...core.lifecycle import ResidentState
from ...core.model import ResidentKey, is_template
from ...core.pool import Origin
from ...core.ports import (
    ContainerView,
    FunctionView,
    NodeView,
    PreloadPlan,
    ResidentView,
    SuggestLoad,
    SuggestOffload,
)

PRIOR_RATE_PER_S = 1 / 1800.0
MIN_CHANCE = 0.02
SPARE_COPY = 0.1
TEMPLATE_CHANCE = 0.05
"""Expected misses of a template's functions that are resident elsewhere, or that nobody has in view."""
LOOKS_PER_HORIZON = 6


@dataclass(slots=True)
class _Bin:
    """An idle container, as one plan sees it."""

    container: ContainerView
    staying: list[ResidentView]
    """Functions that would be ended by a call of another, and templates."""
    rates: dict[ResidentKey, float]
    """Calls per second of the functions among them."""
    neighbours: float
    """Sum of those rates."""
    room_bytes: int
    """Free now or soon, without ending anybody."""
    missing: Mapping[ResidentKey, float]
    """Expected calls, by template, of functions that are nowhere resident; the same for all of a plan."""
    ranked: list[tuple[float, ResidentView]] | None = None
    """Whom to displace first: seconds that each is worth, cheapest byte first."""


@dataclass(frozen=True, slots=True)
class _Place:
    container: ContainerView
    need_bytes: int
    value_s: float
    chance: float
    victims: tuple[ResidentView, ...]
    lost_s: float


class Opportunistic:
    """`p_load`, `p_offload`: probabilities; `horizon_s`: seconds; `hysteresis`: share of what would be displaced."""

    active = True

    def __init__(
        self,
        p_load: float = 0.06,
        p_offload: float = 0.94,
        horizon_s: float = 60.0,
        hysteresis: float = 0.2,
        *,
        patient: bool = True,
    ) -> None:
        self.p_load = p_load
        self.p_offload = p_offload
        self.horizon_s = horizon_s
        self.hysteresis = hysteresis
        self.patient = patient

    def worth(self, function: FunctionView, at: float) -> float:
        return self._value_s(function, self._chance(_rate(function, at), 0.0))

    def plan(self, view: NodeView) -> PreloadPlan:
        offloads = [] if self.patient else list(self._overdue(view))
        leaving = {(s.container, s.function) for s in offloads}
        missing = self._missing(view)
        bins = [self._bin(container, view, leaving, missing) for container in view.containers]
        loads: list[SuggestLoad] = []
        for function in self._candidates(view):
            if len(loads) >= view.load_slots or not bins:
                break
            place = self._best_place(function, bins, view)
            if place is not None:
                loads.append(self._suggest(function, place))
                # One suggestion for each container and round: the books have changed when the next round comes.
                bins = [each for each in bins if each.container is not place.container]
        if not loads and view.load_slots > 0:
            loads = list(self._templates(view, missing))[:1]
        return PreloadPlan(tuple(offloads) + tuple(loads), self._next_look(view))

    # -- whom ------------------------------------------------------------------------------------------------------

    def _candidates(self, view: NodeView) -> list[FunctionView]:
        """Functions that should be resident and are not, the most valuable byte first."""
        wanted = [f for f in view.absent if self._is_due(f, view.at)]
        wanted.sort(key=lambda f: (-self.worth(f, view.at) / max(1, f.resident_bytes), f.key))
        return wanted

    def _is_due(self, function: FunctionView, at: float) -> bool:
        forecast = function.forecast
        if forecast is None:
            return True
        return forecast.due_at(self.p_load) <= at and (self.patient or at < forecast.due_at(self.p_offload))

    def _overdue(self, view: NodeView) -> Iterable[SuggestOffload]:
        for container in view.containers:
            for resident in container.residents:
                function = view.functions.get(resident.function)
                if function is None or function.forecast is None or resident.origin is not Origin.PRELOAD:
                    continue
                if (
                    resident.state is not ResidentState.UNLOADING
                    and function.forecast.due_at(self.p_offload) <= view.at
                ):
                    yield SuggestOffload(
                        container.id, function.key, f"not called although P(call) has passed {self.p_offload:g}"
                    )

    def _next_look(self, view: NodeView) -> float | None:
        """When the plan may come out differently although nothing has happened."""
        moments = [f.forecast.due_at(self.p_load) for f in view.absent if f.forecast is not None]
        if not self.patient:
            residents = (view.functions.get(r.function) for c in view.containers for r in c.residents)
            moments += [
                f.forecast.due_at(self.p_offload) for f in residents if f is not None and f.forecast is not None
            ]
        if view.absent and view.containers:
            # Those that are resident lose worth while they are silent.
            moments.append(view.at + self.horizon_s / LOOKS_PER_HORIZON)
        return min((m for m in moments if m > view.at), default=None)

    # -- where -----------------------------------------------------------------------------------------------------

    def _bin(
        self,
        container: ContainerView,
        view: NodeView,
        leaving: set[tuple[str, ResidentKey]],
        missing: Mapping[ResidentKey, float],
    ) -> _Bin:
        staying = []
        rates = {}
        room_bytes = container.free_bytes + container.freeing_bytes
        for resident in container.residents:
            if (container.id, resident.function) in leaving:
                room_bytes += resident.charged_bytes
            elif resident.state is not ResidentState.UNLOADING:
                staying.append(resident)
                if not is_template(resident.function):
                    rates[resident.function] = _known_rate(view, resident.function)
        return _Bin(container, staying, rates, sum(rates.values()), room_bytes, missing)

    def _best_place(self, function: FunctionView, bins: Sequence[_Bin], view: NodeView) -> _Place | None:
        """Where its value, less that of whom it displaces, is highest; None when it pays nowhere."""
        own_rate = _rate(function, view.at)
        best: _Place | None = None
        gain_s = 0.0
        quietest: _Bin | None = None
        full: list[_Bin] = []
        for each in bins:
            if each.container.namespace != function.namespace or any(
                r.function == function.key for r in each.container.residents
            ):
                continue
            if each.room_bytes < self._need_bytes(function, each):
                full.append(each)
            elif quietest is None or each.neighbours < quietest.neighbours:
                quietest = each
        if quietest is not None and (
            function.forecast is None or own_rate >= MIN_CHANCE * (own_rate + quietest.neighbours)
        ):
            chance = self._chance(own_rate, quietest.neighbours)
            gain_s = chance * function.load_s
            best = _Place(quietest.container, self._need_bytes(function, quietest), gain_s, chance, (), 0.0)
        # A function without history is welcome wherever there is room; it must not push anyone out.
        if function.forecast is None:
            return best
        for each in full:
            place = self._displacing(function, own_rate, each, view, gain_s)
            if place is not None:
                best, gain_s = place, place.value_s - place.lost_s
        return best

    def _displacing(
        self, function: FunctionView, own_rate: float, place: _Bin, view: NodeView, better_than_s: float
    ) -> _Place | None:
        """Its value in a full container, and whom it displaces there: all that are needed, and cheap enough."""
        if place.ranked is None:
            place.ranked = self._rank(place, view)
        most_s = self._chance(own_rate, 0.0) * function.load_s - better_than_s
        room_bytes, need_bytes = place.room_bytes, self._need_bytes(function, place)
        victims: list[ResidentView] = []
        lost_s, neighbours = 0.0, place.neighbours
        for value_s, resident in place.ranked:
            if room_bytes >= need_bytes:
                break
            if resident.function == function.template:
                continue
            victims.append(resident)
            room_bytes += resident.charged_bytes
            neighbours -= place.rates.get(resident.function, 0.0)
            lost_s += value_s
            if lost_s >= most_s:
                return None
        neighbours = max(0.0, neighbours)
        chance = self._chance(own_rate, neighbours)
        value_s = chance * function.load_s
        if room_bytes < need_bytes or own_rate < MIN_CHANCE * (own_rate + neighbours):
            return None
        if value_s <= lost_s * (1 + self.hysteresis) or value_s - lost_s <= better_than_s:
            return None
        return _Place(place.container, need_bytes, value_s, chance, tuple(victims), lost_s)

    def _rank(self, place: _Bin, view: NodeView) -> list[tuple[float, ResidentView]]:
        ranked = [(self._resident_value(view, r, place), r) for r in place.staying if r.state is ResidentState.LOADED]
        ranked.sort(key=lambda pair: (pair[0] / max(1, pair[1].charged_bytes), pair[1].function))
        return ranked

    def _need_bytes(self, function: FunctionView, place: _Bin) -> int:
        """Less beside a template that it can be forked from."""
        if function.template is None:
            return function.resident_bytes
        forked = any(r.function == function.template and r.state is ResidentState.LOADED for r in place.staying)
        return function.forked_bytes if forked else function.resident_bytes

    # -- what it is worth ------------------------------------------------------------------------------------------

    def _resident_value(self, view: NodeView, resident: ResidentView, place: _Bin) -> float:
        if is_template(resident.function):
            return self._template_value(view, resident.function, place.missing)
        function = view.functions.get(resident.function)
        if function is None:
            return 0.0
        rate = place.rates[resident.function]
        return self._value_s(function, self._chance(rate, max(0.0, place.neighbours - rate)))

    def _value_s(self, function: FunctionView, chance: float) -> float:
        return chance * function.load_s * (SPARE_COPY if function.copies > 1 else 1.0)

    def _chance(self, rate: float, neighbours: float) -> float:
        """Probability of being called before a neighbour is, and within the horizon."""
        together = rate + neighbours
        return 0.0 if together <= 0 else rate / together * -math.expm1(-together * self.horizon_s)

    # -- templates -------------------------------------------------------------------------------------------------

    def _templates(self, view: NodeView, missing: Mapping[ResidentKey, float]) -> Iterable[SuggestLoad]:
        """Templates for containers that lack them and have room, the most valuable first."""
        worth = {key: self._template_value(view, key, missing) for key in view.templates}
        for key in sorted(worth, key=lambda k: (-worth[k], k)):
            template = view.templates[key]
            for container in view.containers:
                if container.namespace != template.namespace or container.free_bytes < template.resident_bytes:
                    continue
                if all(r.function != key for r in container.residents):
                    reason = f"a miss here would import for {template.library_s:.2f} s"
                    yield SuggestLoad(container.id, key, template.resident_bytes, worth[key], (), reason)

    def _missing(self, view: NodeView) -> dict[ResidentKey, float]:
        """Calls expected within the horizon of functions that are nowhere resident, by their templates."""
        calls: dict[ResidentKey, float] = {}
        for function in view.absent:
            if function.template is not None:
                chance = self._chance(_rate(function, view.at), 0.0)
                calls[function.template] = calls.get(function.template, 0.0) + chance
        return calls

    def _template_value(self, view: NodeView, key: ResidentKey, missing: Mapping[ResidentKey, float]) -> float:
        """Seconds of importing that a template is expected to save within the horizon, over all its functions."""
        template = view.templates.get(key)
        return 0.0 if template is None else (missing.get(key, 0.0) + TEMPLATE_CHANCE) * template.library_s

    # -- words -----------------------------------------------------------------------------------------------------

    def _suggest(self, function: FunctionView, place: _Place) -> SuggestLoad:
        if function.forecast is None:
            why = "never called yet, memory is idle"
        else:
            why = f"P(used within {self.horizon_s:g} s) = {place.chance:.2f}, saves {function.load_s:.2f} s"
        if place.victims:
            why += f"; displaces {', '.join(v.function for v in place.victims)} worth {place.lost_s:.2f} s"
        return SuggestLoad(
            place.container.id,
            function.key,
            place.need_bytes,
            place.value_s,
            tuple(v.function for v in place.victims),
            why,
        )


def _rate(function: FunctionView, at: float) -> float:
    return PRIOR_RATE_PER_S if function.forecast is None else function.forecast.rate(at)


def _known_rate(view: NodeView, key: ResidentKey) -> float:
    function = view.functions.get(key)
    return 0.0 if function is None or function.forecast is None else function.forecast.rate(view.at)
