"""The scheduler as the paper describes it (SoCC 2024, section 4; its successor's greedy), to be compared with.

Algorithm. A function that is due (a call will have come with probability P_load) and not overdue (P_offload) wants a
place; it is worth P(call within a minute) x load seconds, wherever that is. Those of most value for each byte come
first. Each goes into the idle container with the most room. If it fits nowhere, it displaces residents of *lower*
value, the cheapest first, in the first container where that makes enough room. A pre-loaded resident is off-loaded when
P_offload has passed without a call.

Worked example. One container of 2 GB holds ResNet-18 (0.65 GB, load 1 s) and ResNet-50 (0.9 GB, 1.2 s), each called
twenty times a minute: 1 s and 1.2 s. VGG-19 (1.6 GB, load 3.1 s), called four times a minute, falls due: 0.98 x 3.1 =
3.0 s, more than either. Both are ended for it.

What it is for. `opportunistic` differs in what a place is worth: here neighbours are not looked at, nothing counts
for being there already, and whoever is called a few times a minute is worth about as much as who is called sixty
times. The mistakes of the published code are not repeated: sets of victims are complete, whoever finds no place stays
out, and nothing is placed twice (its dynamic program, which knows no sizes, is not what that code runs either).

Sources. SoCC 2024, sections 4.2 and 4.3; the order by value per byte is Tyche's (TPDS 2026); worst fit, the horizon of
a minute and the rule for victims are the published code's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...core.lifecycle import LOADED
from ...core.model import ResidentKey
from ...core.ports import ContainerView, FunctionView, NodeView, PreloadPlan, ResidentView, SuggestLoad
from ..memoryless import Memoryless
from .overdue import overdue, overdue_at
from .valuation import LOOK_EVERY_S

HORIZON_S: Final = 60.0
"""Within which a call counts, in the published code."""


class Published(Memoryless):
    """`p_load`, `p_offload`: probabilities."""

    active = True

    def __init__(self, p_load: float = 0.06, p_offload: float = 0.94) -> None:
        self.p_load = p_load
        self.p_offload = p_offload

    def worth(self, function: FunctionView, at: float) -> float:
        return 0.0 if function.forecast is None else function.forecast.probability(at, HORIZON_S) * function.load_s

    def plan(self, view: NodeView) -> PreloadPlan:
        offloads = tuple(overdue(view, self.p_offload))
        leaving = {(each.container, each.function) for each in offloads}
        places = [self._place(container, view, leaving) for container in (*view.containers, *view.others)]
        wanted, later = self._wanted((*view.absent, *view.waiting), view.at)
        loads: list[SuggestLoad] = []
        left: list[ResidentKey] = []
        for function in wanted:
            load = self._load(function, places, view.at) if len(loads) < view.load_slots else None
            if load is None:
                left.append(function.key)
            else:
                loads.append(load)
        moments = [when for when in overdue_at(view, self.p_offload) if when > view.at]
        if left and places:
            moments.append(view.at + LOOK_EVERY_S)
        wake_at = min((when for when in moments if when < math.inf), default=None)
        return PreloadPlan((*offloads, *loads), wake_at, tuple(left), tuple(later))

    def _wanted(
        self, functions: Iterable[FunctionView], at: float
    ) -> tuple[list[FunctionView], list[tuple[float, ResidentKey]]]:
        """Who should be loaded, those of most value per byte first, and who is not due yet, with when they will be."""
        wanted: list[FunctionView] = []
        later: list[tuple[float, ResidentKey]] = []
        for function in functions:
            if function.forecast is None or function.copies:
                continue
            due_at = function.forecast.due_at(self.p_load)
            if due_at > at:
                if due_at < math.inf:
                    later.append((due_at, function.key))
            elif at < function.forecast.due_at(self.p_offload):
                wanted.append(function)
        wanted.sort(key=lambda each: (-self.worth(each, at) / (each.resident_bytes or 1), each.key))
        return wanted, later

    def _place(self, container: ContainerView, view: NodeView, leaving: set[tuple[str, ResidentKey]]) -> _Place:
        room_bytes = container.free_bytes + container.freeing_bytes
        loaded: list[tuple[float, ResidentView]] = []
        for resident in container.residents:
            if (container.id, resident.function) in leaving:
                room_bytes += resident.charged_bytes
            elif resident.state is LOADED and not resident.is_template:
                function = view.functions.get(resident.function)
                loaded.append((0.0 if function is None else self.worth(function, view.at), resident))
        loaded.sort(key=lambda each: (each[0], each[1].function))
        return _Place(container, room_bytes, loaded)

    def _load(self, function: FunctionView, places: list[_Place], at: float) -> SuggestLoad | None:
        """Where it goes, if anywhere; the place is then done with when somebody has to be ended there."""
        worth_s = self.worth(function, at)
        open_to_it = [each for each in places if each.may_take(function)]
        open_to_it.sort(key=lambda each: (-each.room_bytes, each.container.id))
        for place in open_to_it:
            size_bytes = place.size_bytes(function)
            victims = place.victims(size_bytes, worth_s)
            if victims is None:
                continue
            if victims:
                places.remove(place)
            place.room_bytes -= size_bytes
            place.taken = (*place.taken, function.key)
            why = f"P(call within {HORIZON_S:g} s) x load = {worth_s:.2f} s"
            if victims:
                why += f"; displaces {', '.join(victims)}"
            return SuggestLoad(place.container.id, function.key, size_bytes, worth_s, victims, why)
        return None


@dataclass(slots=True, eq=False)
class _Place:
    """An idle container in the course of a plan."""

    container: ContainerView
    room_bytes: int
    """Free now or soon, without ending anybody."""
    loaded: Sequence[tuple[float, ResidentView]]
    """Who may be ended, with what they are worth, the cheapest first."""
    taken: tuple[ResidentKey, ...] = ()

    def may_take(self, function: FunctionView) -> bool:
        holds = any(resident.function == function.key for resident in self.container.residents)
        return self.container.namespace == function.namespace and not holds and function.key not in self.taken

    def size_bytes(self, function: FunctionView) -> int:
        ready = any(r.function == function.template and r.state is LOADED for r in self.container.residents)
        return function.forked_bytes if ready else function.resident_bytes

    def victims(self, size_bytes: int, worth_s: float) -> tuple[ResidentKey, ...] | None:
        """Who has to be ended, all worth less than the newcomer; None where that is not enough."""
        lacks_bytes = size_bytes - self.room_bytes
        victims: list[ResidentKey] = []
        for theirs_s, resident in self.loaded:
            if lacks_bytes <= 0:
                break
            if theirs_s >= worth_s:
                return None
            victims.append(resident.function)
            lacks_bytes -= resident.charged_bytes
        return tuple(victims) if lacks_bytes <= 0 else None
