"""What residents and templates are worth, what they are expected to take in memory, and what was measured of them.

`Worth` is the second layer of a node's `Books`: it reads the state and changes none of it but measurements.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from .guard import plain_forecast
from .lifecycle import UNLOADING
from .model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FunctionKey,
    ResidentKey,
    Source,
    is_function_template,
    is_template,
    templated_function,
)
from .pool import Container, Resident
from .ports import Contents, KeptContainer, Stand
from .records import FunctionRecord
from .state import State
from .views import container_view

#: What is known of an idle container's contents is used until nothing has happened there for this much longer, as a
#: share of the time since it was found out: rates fall while nobody calls, ever more slowly.
AGEING: Final = 0.1
#: Least such time in seconds.
AGEING_S: Final = 1.0


class Worth(State):
    def worth_s(self, key: ResidentKey) -> float:
        """Expected seconds that a resident saves, as the pre-loading policy sees it. 0 for a template."""
        if is_template(key) or not self.guard.preloading_active:
            return 0.0
        record = self.functions[key]
        worth_s = self.guard.worth(self.functions.view_of(record, key, self.pool), self.at)
        if worth_s is None:
            self.mend_forecast(record)
            return 0.0
        return worth_s

    def rate_of(self, record: FunctionRecord) -> float | None:
        """Expected calls per second of a function now. None without a forecast, or when the forecast fails."""
        return None if record.forecast is None else self.guard.rate(record.forecast, self.at)

    def mend_forecast(self, record: FunctionRecord) -> None:
        """Replace the forecast of a function if it is broken, after something that used it has failed."""
        forecast = record.forecast
        if forecast is not None and not self.guard.is_sound(forecast, self.at):
            record.forecast = plain_forecast(record.arrivals)

    def contents(self, container: Container) -> Contents:
        """What stands in an idle container is worth. The same object as long as nothing there changes.

        What somebody has asked for is valued anew each time, since that depends on its places elsewhere.
        """
        asked = self.functions.asked and self._is_asked_for(container)
        if container.contents is None or self.at >= container.contents_until or asked:
            view = container_view(container, self.pool)
            container.contents = self.guard.contents(view, self.known, self.at)
            container.contents_until = self.at + max(AGEING_S, AGEING * (self.at - container.idle_since))
        return container.contents

    def takeover_loss_s(self, container: Container, needs_bytes: int, forked_from: Collection[ResidentKey]) -> float:
        """Expected seconds that are lost when a call of a function that is not there takes an idle container.

        Its functions end. If `needs_bytes` do not fit beside its templates, so do those of `in_the_way`.
        """
        contents = self.contents(container)
        lacks_bytes = needs_bytes - self._room_beside_templates(container)
        return contents.loss_s + sum(stand.loss_s for stand in _cheapest(contents, lacks_bytes, forked_from))

    def _room_beside_templates(self, container: Container) -> int:
        """Bytes of a container that its templates leave."""
        return container.limit_bytes - sum(
            self.pool.ledger.charged(container.id, key) for key, r in container.residents.items() if r.is_template
        )

    def stop_loss_s(self, container: Container) -> float:
        """Expected seconds that are lost when an idle container is stopped."""
        contents = self.contents(container)
        return contents.loss_s + sum(stand.loss_s for stand in contents.stands)

    def in_the_way(
        self, container: Container, lacks_bytes: int, forked_from: Collection[ResidentKey]
    ) -> list[ResidentKey]:
        """The templates to end in an idle container so that `lacks_bytes` more become free, worth least first."""
        return [stand.key for stand in _cheapest(self.contents(container), lacks_bytes, forked_from)]

    def gain_of(self, container: Container, key: ResidentKey) -> float:
        """Seconds of waiting that something in an idle container saves per second; 0 if it does not stand there."""
        return next((stand.gain for stand in self.contents(container).stands if stand.key == key), 0.0)

    # -- places that are wanted ----------------------------------------------------------------------------------------

    def holds_place(self, container: Container) -> bool:
        """Whether a container is one of the last places of a function that wants it, or may become one."""
        if not self.functions.asked:
            return False
        owner = container.owner
        if owner is not None and self.functions.is_lacking(owner, self.pool):
            return True
        return any(self._makes_place(container, resident) for resident in container.residents.values())

    def _makes_place(self, container: Container, resident: Resident) -> bool:
        """Whether this makes its container one of the last places of its function, all of which are wanted."""
        key = templated_function(resident.function) if resident.is_function_template else resident.function
        if key not in self.functions.asked or resident.state is UNLOADING:
            return False
        if not self.functions.view(key, self.pool).is_held:
            return False
        own_template = self.functions[key].own_template
        if container.id not in self.pool.places(key, own_template):
            return False
        # Beside its function's own template, a resident is hardly missed.
        return resident.is_function_template or not self.pool.template_in(container, own_template)

    def _is_asked_for(self, container: Container) -> bool:
        """Whether something in a container is of a function of which places may be wanted."""
        asked = self.functions.asked
        return bool(asked) and any(key in asked or templated_function(key) in asked for key in container.residents)

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        """Idle containers by the order in which they may be stopped: that of the keep-alive policy.

        Where it spends memory on containers, those whose contents save least come first among themselves. Those that
        hold a place which is wanted come last.
        """
        order = self._eviction_order(idle)
        if not self.functions.asked:
            return order
        return sorted(order, key=lambda each: self.holds_place(self.pool.containers[each.id]))

    def _eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        order = self.guard.eviction_order(idle)
        spending = {namespace for namespace in {each.namespace for each in idle} if self.guard.spends(namespace)}
        if not spending:
            return order
        spent = [each for each in order if each.namespace in spending]
        spent.sort(key=lambda each: self.contents(self.pool.containers[each.id]).gain)
        least_first = iter(spent)
        return [next(least_first) if each.namespace in spending else each for each in order]

    # -- memory --------------------------------------------------------------------------------------------------------

    def estimate_in(self, container: Container, key: ResidentKey) -> int:
        """Bytes that a load is expected to add to a container."""
        if is_template(key):
            size_bytes = self.functions.estimate_bytes(key)
            if is_function_template(key):
                library = self.functions[templated_function(key)].template
                if library is not None and library not in container.residents:
                    size_bytes += self.functions.estimate_bytes(library)
            return size_bytes
        return self.functions.estimate_bytes(key, self.source_in(container, key))

    def source_in(self, container: Container, key: FunctionKey) -> Source:
        """What a load of a function in a container would be made from."""
        record = self.functions[key]
        return self.pool.source_in(container, record.own_template, record.template)

    def measured(self, resident: Resident, size_bytes: int) -> None:
        """Note the measured size of a loaded resident in the ledger and in the profile that it belongs to."""
        key, functions = resident.function, self.functions
        self.pool.charge(self.pool.containers[resident.container], key, size_bytes)
        if resident.is_template:
            template = functions.templates[key]
            template.profile = template.profile.with_bytes(size_bytes, forked=False)
            return
        record = functions[key]
        if resident.source is not FROM_FUNCTION:
            record.profile = record.profile.with_bytes(size_bytes, forked=resident.source is FROM_LIBRARIES)
        elif record.own_template is not None:
            template = functions.templates[record.own_template]
            template.profile = template.profile.with_bytes(size_bytes, forked=True)


def _cheapest(contents: Contents, lacks_bytes: int, forked_from: Collection[ResidentKey]) -> list[Stand]:
    """The templates with the least gain per byte that together have `lacks_bytes`, or all of them.

    Those that the function which needs the room is forked from stay.
    """
    ending: list[Stand] = []
    for stand in contents.stands:
        if lacks_bytes <= 0:
            break
        if stand.is_template and stand.key not in forked_from:
            ending.append(stand)
            lacks_bytes -= stand.size_bytes
    return ending
