"""Opportunistic pre-loading: which residents should which idle container hold? (SoCC 2024, section 4.)

A function becomes a candidate when its forecast says that a call will have come with probability P_load. Idle
containers are knapsacks: a resident weighs its bytes and is worth the seconds of loading that it is expected to save.
We fill them greedily by value for each byte, displacing residents of clearly lower value.

When the silence has lasted until P_offload the prediction was wrong. The paper off-loads the resident then. Measured,
that hurts: the memory is idle anyway, with a window of five calls the moment comes after half the window's length, and
the next call is a miss. By default such a resident therefore only loses its standing: it is off-loaded as soon as
anybody wants the room (``patient``). ``patient = False`` gives the paper's rule, and an overdue function is not loaded
again before its next call.

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
from collections.abc import Iterable, Sequence
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
        offloads = list(self._overdue(view))
        leaving = {(s.container, s.function) for s in offloads}
        loads: list[SuggestLoad] = []
        slots = view.load_slots
        for function in self._candidates(view):
            if len(loads) >= slots:
                break
            # One suggestion for each container and round: the books have changed when the next round comes.
            taken = {load.container for load in loads}
            open_to = [c for c in view.containers if c.id not in taken and c.namespace == function.namespace]
            place = self._best_place(function, open_to, view, leaving)
            if place is not None:
                loads.append(self._suggest(function, place, view.at))
        if not loads and slots > 0:
            loads = list(self._templates(view))[:1]
        return PreloadPlan(tuple(offloads) + tuple(loads), self._next_due(view))

    def _templates(self, view: NodeView) -> Iterable[SuggestLoad]:
        """Templates for containers that lack them and have room, the most valuable first."""
        worth = {key: self._template_value(view, key) for key in view.templates}
        for key in sorted(worth, key=lambda k: (-worth[k], k)):
            template = view.templates[key]
            for container in view.containers:
                if container.namespace != template.namespace or container.free_bytes < template.resident_bytes:
                    continue
                if worth[key] > 0 and all(r.function != key for r in container.residents):
                    reason = f"a miss here would import for {template.library_s:.2f} s"
                    yield SuggestLoad(container.id, key, template.resident_bytes, worth[key], (), reason)

    def _template_value(self, view: NodeView, key: ResidentKey) -> float:
        """Seconds of importing that a template is expected to save within the horizon."""
        calls = sum(
            self._chance(_rate(f, view.at), 0.0) * (SPARE_COPY if f.copies else 1.0)
            for f in view.functions.values()
            if f.template == key
        )
        return calls * view.templates[key].library_s if key in view.templates else 0.0

    def _candidates(self, view: NodeView) -> list[FunctionView]:
        """Functions that should be resident and are not, the most valuable byte first."""
        wanted = [f for f in view.functions.values() if f.copies == 0 and self._is_due(f, view.at)]
        wanted.sort(key=lambda f: (-self.worth(f, view.at) / max(1, f.resident_bytes), f.key))
        return wanted

    def _is_due(self, function: FunctionView, at: float) -> bool:
        forecast = function.forecast
        if forecast is None:
            return True
        return forecast.due_at(self.p_load) <= at and (self.patient or at < forecast.due_at(self.p_offload))

    def _overdue(self, view: NodeView) -> Iterable[SuggestOffload]:
        if self.patient:
            return
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

    def _next_due(self, view: NodeView) -> float | None:
        moments = (
            function.forecast.due_at(p)
            for function in view.functions.values()
            if function.forecast is not None
            for p in ((self.p_load,) if self.patient else (self.p_load, self.p_offload))
        )
        return min((m for m in moments if m > view.at), default=None)

    def _best_place(
        self,
        function: FunctionView,
        containers: Sequence[ContainerView],
        view: NodeView,
        leaving: set[tuple[str, ResidentKey]],
    ) -> _Place | None:
        best: _Place | None = None
        for container in containers:
            place = self._place(function, container, view, leaving)
            if place is not None and (best is None or place.value_s - place.lost_s > best.value_s - best.lost_s):
                best = place
        return best

    def _place(
        self, function: FunctionView, container: ContainerView, view: NodeView, leaving: set[tuple[str, ResidentKey]]
    ) -> _Place | None:
        """The value of the function in this container and whom it would displace; None when it does not pay."""
        if any(r.function == function.key for r in container.residents):
            return None
        forked = any(r.function == function.template and r.state is ResidentState.LOADED for r in container.residents)
        need_bytes = function.forked_bytes if forked else function.resident_bytes
        staying = [
            r
            for r in container.residents
            if r.state is not ResidentState.UNLOADING and (container.id, r.function) not in leaving
        ]
        coming_bytes = sum(r.charged_bytes for r in container.residents if (container.id, r.function) in leaving)
        room_bytes = container.free_bytes + container.freeing_bytes + coming_bytes
        own_rate = _rate(function, view.at)
        rates = {r.function: _known_rate(view, r.function) for r in staying}
        victims: list[ResidentView] = []
        lost_s = 0.0
        if room_bytes < need_bytes:
            all_rates = sum(rates.values())
            ranked = sorted(
                (
                    (self._resident_value(view, r, all_rates - rates[r.function]), r)
                    for r in staying
                    if r.state is ResidentState.LOADED and r.function != function.template
                ),
                key=lambda pair: pair[0] / max(1, pair[1].charged_bytes),
            )
            for value_s, resident in ranked:
                victims.append(resident)
                lost_s += value_s
                room_bytes += resident.charged_bytes
                if room_bytes >= need_bytes:
                    break
            else:
                return None
        ended = {v.function for v in victims}
        neighbours = sum(rate for name, rate in rates.items() if name not in ended)
        chance = self._chance(own_rate, neighbours)
        value_s = chance * function.load_s
        # A function without history is welcome wherever there is room; it must not push anyone out.
        if function.forecast is None:
            return None if victims else _Place(container, need_bytes, value_s, chance, (), 0.0)
        if own_rate / (own_rate + neighbours) < MIN_CHANCE or value_s <= lost_s * (1 + self.hysteresis):
            return None
        return _Place(container, need_bytes, value_s, chance, tuple(victims), lost_s)

    def _resident_value(self, view: NodeView, resident: ResidentView, neighbours: float) -> float:
        if is_template(resident.function):
            return self._template_value(view, resident.function)
        function = view.functions.get(resident.function)
        if function is None:
            return 0.0
        return self._value_s(function, self._chance(_known_rate(view, resident.function), neighbours))

    def _value_s(self, function: FunctionView, chance: float) -> float:
        return chance * function.load_s * (SPARE_COPY if function.copies > 1 else 1.0)

    def _chance(self, rate: float, neighbours: float) -> float:
        """Probability of being called before a neighbour is, and within the horizon."""
        together = rate + neighbours
        return 0.0 if together <= 0 else rate / together * -math.expm1(-together * self.horizon_s)

    def _suggest(self, function: FunctionView, place: _Place, at: float) -> SuggestLoad:
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
