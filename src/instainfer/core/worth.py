"""What residents and templates are worth, what they are expected to take in memory, and what was measured of them.

`Worth` is the second layer of a node's `Books`: it reads the state and changes none of it but measurements.
"""

from __future__ import annotations

from .guard import plain_forecast
from .lifecycle import UNLOADING
from .model import (
    FROM_FUNCTION,
    FROM_LIBRARIES,
    FROM_NOTHING,
    FunctionKey,
    ResidentKey,
    Source,
    is_function_template,
    is_template,
)
from .pool import Container, Resident
from .registry import FunctionRecord
from .state import State

#: Seconds for which a computed loss of a container is used again. What a resident is worth changes slowly while its
#: function is not called, and computing it anew for every call would cost too much.
LOSS_VALID_S = 5.0


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

    def takeover_loss_s(self, container: Container) -> float:
        """Expected seconds that the residents of an idle container lose when a call of another function takes it.

        The result is used again for `LOSS_VALID_S`, as long as the contents of the container do not change.
        """
        if self.at >= container.loss_valid_until:
            lost_s = templates_s = 0.0
            templates_bytes = 0
            for resident in container.residents.values():
                if resident.state is UNLOADING:
                    continue
                if resident.is_template:
                    templates_s += self.template_worth_s(resident.function)
                    templates_bytes += self.pool.ledger.charged(container.id, resident.function)
                else:
                    lost_s += self.worth_s(resident.function)
            container.takeover_loss_s = lost_s
            container.templates_worth_s, container.templates_bytes = templates_s, templates_bytes
            container.loss_valid_until = self.at + LOSS_VALID_S
        return container.takeover_loss_s

    def template_worth_s(self, key: ResidentKey) -> float:
        """Expected seconds of loading that calls have to wait for if one copy of a template is lost.

        With several copies on the node, each is worth an equal part of that.
        """
        template = self.functions.templates[key]
        saves_s = template.profile.library_s
        if is_function_template(key):
            saves_s = sum(self.functions.saves_s(user, self.pool) for user in template.users)
        return saves_s * template.chance(self.at) / max(1, self.pool.copies.get(key, 0))

    # -- memory --------------------------------------------------------------------------------------------------------

    def estimate_in(self, container: Container, key: ResidentKey) -> int:
        """Bytes that a load is expected to add to a container."""
        return self.functions.estimate_bytes(key, FROM_NOTHING if is_template(key) else self.source_in(container, key))

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
