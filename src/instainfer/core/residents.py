"""The beginning and the end of residents, which of them end when memory is short, and when containers must report.

`Residents` is the fourth layer of a node's `Books`.
"""

from __future__ import annotations

import math
from collections.abc import Set

from .decisions import Offload
from .lifecycle import IDLE, LOADED, LOADING, UNLOADING
from .model import BY_PRELOAD, FROM_LIBRARIES, EndCause, FunctionKey, Origin, ResidentKey, templated_function
from .pool import Container, Resident
from .records import FunctionRecord
from .requests import Request
from .sizing import Sizing

#: Seconds that making a template may take in all. The runtime may make it several times, each time without one more
#: module that does not survive a fork.
TEMPLATE_LIMIT_S = 300.0


class Residents(Sizing):
    def add_resident(self, container: Container, key: ResidentKey, origin: Origin, reason: str) -> Resident:
        resident = Resident(key, container.id, LOADING, origin, self.at, reason)
        self.pool.add(resident, self.estimate_in(container, key))
        self._expect_load(resident)
        return resident

    def unload(self, resident: Resident) -> None:
        """Note that the end of a resident was asked for or has begun."""
        self.pool.set_resident_state(resident, UNLOADING)
        self._expect(resident, 0.0)

    def offload(self, resident: Resident, reason: str, cause: EndCause) -> None:
        if resident.is_function_template and resident.state is LOADED:
            self.functions.may_be_made_anew(resident.function)
        self.unload(resident)
        self.out.append(Offload(resident.container, resident.function, reason, cause))

    def _count_end(self, resident: Resident) -> None:
        if resident.origin is BY_PRELOAD and not resident.served and not resident.is_template:
            self.preloads.wasted += 1

    def end_templates(self, template: ResidentKey, reason: str, cause: EndCause = EndCause.OBSOLETE) -> None:
        """End a template everywhere."""
        for _, resident in list(self.pool.residents_of(template)):
            if resident.state in (LOADING, LOADED):
                self.offload(resident, reason, cause)

    def end_idle(self, record: FunctionRecord, reason: str, cause: EndCause) -> None:
        """End the residents of a function that no call uses, its function templates, and the loads of it that wait for
        room."""
        for container, resident in list(self.pool.residents_of(record.function.key)):
            if container.state is IDLE and resident.state is not UNLOADING:
                self.offload(resident, reason, cause)
        if record.own_template is not None:
            self.end_templates(record.own_template, reason, cause)
        waiting = (record.function.key, record.own_template)
        for id_ in [id_ for id_, promise in self.promises.items() if promise.function in waiting]:
            del self.promises[id_]

    # -- making way ----------------------------------------------------------------------------------------------------

    def _make_way(self, container: Container, key: FunctionKey) -> tuple[FunctionKey, ...]:
        """End all functions of a container but one. Returns the others, with those that are being ended already."""
        others = [r for r in container.residents.values() if not r.is_template and r.function != key]
        if not others:
            return ()
        for other in others:
            if other.state is not UNLOADING:
                self.unload(other)
        return tuple([other.function for other in others])

    def _end_makings(self, container: Container, key: FunctionKey) -> None:
        """End the function templates of other functions that are being made in a container, before a call of `key`.

        Until such a template stands stopped, it runs its function's code.
        """
        for resident in list(container.residents.values()):
            making = resident.is_function_template and resident.state is LOADING
            if making and templated_function(resident.function) != key:
                self.offload(resident, f"it is not made yet, and {key} runs here", EndCause.TAKEN)

    def _make_room_for(self, container: Container, key: FunctionKey) -> None:
        """End templates, those that are worth least first, until a load of `key` fits beside the others."""
        lacks_bytes = self.estimate_in(container, key) - self.pool.ledger.free_in(container.id)
        if lacks_bytes > 0:
            lacks_bytes -= self.pool.freeing_in(container)
        if lacks_bytes <= 0:
            return
        for template in self.in_the_way(container, lacks_bytes, self.functions[key].forked_from):
            self.offload(container.residents[template], f"room for {key}", EndCause.ROOM)

    def shrink(self, container: Container) -> None:
        """End the residents that are worth least until a container is within its limit again, unless that can grow.

        Measurements can show that residents are larger than estimated. At least one resident stays. Function templates
        go first: what was learned of the container's room is that there is none for them.
        """
        excess = -self.pool.ledger.free_in(container.id)
        if excess > 0:
            excess -= self.pool.freeing_in(container)
        if excess <= 0 or self.right_size(container):
            return
        kept = [r for r in container.residents.values() if r.state is not UNLOADING]
        used = {self.functions[r.function].template for r in kept if r.source is FROM_LIBRARIES and not r.is_template}
        kept.sort(key=lambda r: (_shrinks(r, used), self.gain_of(container, r.function), r.function))
        for resident in kept[:-1]:
            if excess > 0:
                excess -= self.pool.ledger.charged(container.id, resident.function)
                self.offload(resident, "measured memory is above the container's limit", EndCause.LIMIT)

    # -- what containers owe -------------------------------------------------------------------------------------------

    def expect_answer(self, request: Request, container: Container) -> None:
        """Start the time limit of a call. If its function has to be loaded first, the limit counts twice: for the load
        and for the run."""
        limit_s = self.functions[request.function].function.timeout_s
        request.answer_by = self.at + (limit_s if request.loaded else 2 * limit_s) + self.settings.answer_grace_s
        self.timers.arm(request.answer_by, container.answer_timer)

    def _expect(self, resident: Resident, limit_s: float) -> None:
        """Start the time within which a container has to report the end of a resident's load, or its end."""
        resident.due_at = self.at + limit_s + self.settings.answer_grace_s
        self.timers.arm(resident.due_at, f"answer {resident.container}")

    def _expect_load(self, resident: Resident) -> None:
        if resident.is_template:
            self._expect(resident, TEMPLATE_LIMIT_S)
        else:
            self._expect(resident, self.functions[resident.function].function.timeout_s)

    def answer_due_at(self, container: Container) -> float:
        """When the next report of a container is due. ``inf`` if it has nothing to report."""
        request = self.requests.get(container.running) if container.running is not None else None
        due_at = math.inf if request is None else request.answer_by
        for resident in container.residents.values():
            # The limit of a call includes the loads that it waits for.
            if resident.state is UNLOADING or (resident.state is LOADING and request is None):
                due_at = min(due_at, resident.due_at)
        return due_at


def _shrinks(resident: Resident, used: Set[ResidentKey | None]) -> int:
    """Sort key for ending residents when memory is short, lowest first.

    0: function templates. 1: pre-loaded functions, which are guesses. 2: library templates that no resident there was
    forked from. 3: functions that calls left there. 4: library templates that residents there were forked from.
    """
    if resident.is_function_template:
        return 0
    if resident.is_template:
        return 4 if resident.function in used else 2
    return 1 if resident.origin is BY_PRELOAD else 3
