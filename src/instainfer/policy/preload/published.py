"""The pre-loading scheduler that the paper describes (SoCC 2024, section 4), to compare others with.

Algorithm. A function is a candidate from the moment when a call has come with probability P_load until the moment when
it has come with probability P_offload. Its value is P(call within a minute) x load seconds, in any container.
Candidates are placed in the order of their value per byte. Each goes into the idle container with the most room. If it
fits nowhere, it displaces residents of *lower* value, the least valuable first, in the first container where that makes
enough room. A pre-loaded resident is off-loaded when P_offload has passed without a call.

Worked example. A container of 2 GB holds ResNet-18 (0.65 GB, load 1 s) and ResNet-50 (0.9 GB, load 1.2 s). Both are
called twenty times a minute, so their values are 1 s and 1.2 s. VGG-19 (1.6 GB, load 3.1 s) is called four times a
minute and falls due. Its value is 0.98 x 3.1 = 3.0 s, more than that of either resident. Both are ended for it.

How `opportunistic` differs. There, the value of a resident depends on its neighbours, and a resident that is there
already has an advantage. Here neither holds, and a function that is called a few times a minute is worth about as much
as one that is called sixty times. Some mistakes of the published code are not repeated: here all needed victims are
ended, a function that finds no place is not loaded, and nothing is placed twice. The paper's dynamic program ignores
sizes; the published code does not run it either.

Sources. SoCC 2024, sections 4.2 and 4.3. The order by value per byte is from its successor Tyche (TPDS 2026). Choosing
the container with the most room, the horizon of a minute, and the rule for victims are from the published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ...core.lifecycle import LOADED
from ...core.model import ResidentKey
from ...core.ports import ContainerView, FunctionView, NodeView, PreloadPlan, ResidentView, SuggestLoad
from ..objective import Valued
from .overdue import LOOK_EVERY_S, overdue, overdue_at

HORIZON_S: Final = 60.0
"""Seconds within which a call counts for the value; the number is that of the published code."""


class Published(Valued):
    """`p_load` and `p_offload` are the probabilities P_load and P_offload."""

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
        wanted, later = self._wanted((*view.candidates, *view.waiting), view.at)
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
        """The functions to load, most value per byte first, and those that are not due yet, with their due times."""
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
                function = view.known.functions.get(resident.function)
                loaded.append((0.0 if function is None else self.worth(function, view.at), resident))
        loaded.sort(key=lambda each: (each[0], each[1].function))
        return _Place(container, room_bytes, loaded)

    def _load(self, function: FunctionView, places: list[_Place], at: float) -> SuggestLoad | None:
        """Find a container for a function. One in which victims have to end takes no more loads in this plan."""
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
    """An idle container while a plan is made."""

    container: ContainerView
    room_bytes: int
    """Bytes that are free now, or soon, without ending more residents."""
    loaded: Sequence[tuple[float, ResidentView]]
    """Residents that may be ended, each with its value in seconds, the least valuable first."""
    taken: tuple[ResidentKey, ...] = ()
    """Functions that this plan has placed here."""

    def may_take(self, function: FunctionView) -> bool:
        holds = any(resident.function == function.key for resident in self.container.residents)
        return self.container.housing == function.housing and not holds and function.key not in self.taken

    def size_bytes(self, function: FunctionView) -> int:
        ready = any(r.function == function.template and r.state is LOADED for r in self.container.residents)
        return function.forked_bytes if ready else function.resident_bytes

    def victims(self, size_bytes: int, worth_s: float) -> tuple[ResidentKey, ...] | None:
        """The residents to end so that `size_bytes` fit. None if those worth less than `worth_s` are not enough."""
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
