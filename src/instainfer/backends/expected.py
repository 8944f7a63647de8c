"""Checks that the reports of a container's manager are possible after the commands that the manager was given.

Functions may have taken over their manager: without root, the manager has the same user id as the functions. So a
report is believed only if it can follow from the earlier commands and reports. Any other report raises
`ProtocolError`, which ends that container and nothing else.
"""

from __future__ import annotations

from collections import Counter

from ..core.model import (
    ActivationId,
    FunctionKey,
    ResidentKey,
    Source,
    function_template_key,
    is_function_template,
    is_template,
)
from ..wire import messages
from ..wire.framing import ProtocolError


class Expected:
    """The loads, runs and ends that one manager was commanded to do and has not reported yet."""

    def __init__(self) -> None:
        self._is_ready = False
        self._loaded: set[ResidentKey] = set()
        self._loads: Counter[ResidentKey] = Counter()
        """Loads whose end is not reported yet. Loading a loaded resident makes a count too high, without harm."""
        self._runs: dict[ActivationId, tuple[FunctionKey, float]] = {}
        """Function and command time of each run. The function may be loaded again until the run has been reported."""
        self._templates: dict[FunctionKey, ResidentKey] = {}
        """Library templates of all functions, and of their own templates, that were named and not forgotten. They may
        be made for these."""
        self._asked_at: dict[ResidentKey, float] = {}
        """The times at which the loads that have not ended were commanded."""
        self._stood: set[ResidentKey] = set()
        """Function templates that have stood here. What was forked from one may be reported after its end."""
        self._ends: set[ResidentKey] = set()
        """Residents that the manager was commanded to end."""

    # -- commands -----------------------------------------------------------------------------------------------------

    def load(self, key: ResidentKey, template: ResidentKey | None, now: float) -> None:
        self._loads[key] += 1
        self._will_be_loaded(key, template, now)

    def run(self, activation: ActivationId, function: FunctionKey, template: ResidentKey | None, now: float) -> None:
        self._runs[activation] = (function, now)
        self._will_be_loaded(function, template, now)
        self._ends.update(key for key in (*self._loaded, *self._loads) if key != function and not is_template(key))
        own = function_template_key(function)
        self._ends.update(key for key in self._loads if key != own and is_function_template(key))

    def offload(self, key: ResidentKey) -> None:
        self._ends.add(key)

    def forget(self, key: FunctionKey) -> None:
        """Forget a function that no later command names and that is not in the container."""
        self._templates.pop(key, None)
        self._templates.pop(function_template_key(key), None)
        self._stood.discard(function_template_key(key))

    def _will_be_loaded(self, key: ResidentKey, template: ResidentKey | None, now: float) -> None:
        if key not in self._loaded:
            self._asked_at.setdefault(key, now)
        if template is not None:
            self._templates[key] = template
            if template not in self._loaded:
                self._asked_at.setdefault(template, now)

    # -- reports ------------------------------------------------------------------------------------------------------

    def ready(self) -> None:
        if self._is_ready:
            raise ProtocolError("it says for a second time that it is ready")
        self._is_ready = True

    def check_ready(self) -> None:
        if not self._is_ready:
            raise ProtocolError("it reports before it is ready")

    def loaded(self, message: messages.Loaded, now: float) -> float:
        """Returns the most seconds that the load can have taken."""
        key = message.function
        asked_at = self._asked_at.get(key, now)
        self._end_load(key, "is loaded")
        if message.source == Source.LIBRARIES and key not in self._templates:
            raise ProtocolError(f"it says that {key:.100} was forked, which has no template")
        if message.source == Source.FUNCTION and function_template_key(key) not in self._stood:
            raise ProtocolError(f"it says that {key:.100} was forked from its own template, which has not stood")
        self._loaded.add(key)
        if is_function_template(key):
            self._stood.add(key)
        return now - asked_at

    def load_failed(self, message: messages.LoadFailed) -> None:
        self._end_load(message.function, "cannot be loaded")
        if not self._is_awaited(message.function):
            self._ends.discard(message.function)  # nothing is left that could be ended

    def gone(self, message: messages.Gone) -> None:
        key = message.function
        if message.failure is None and key not in self._ends:
            raise ProtocolError(f"it has ended {key:.100}, which nobody has asked for")
        if key in self._loaded:
            self._loaded.discard(key)
        elif self._is_awaited(key) or (key in self._ends and self._may_be_loaded(key)):
            asked_at = self._asked_at.get(key)
            self._end_load(key, "is gone")
            if asked_at is not None and self._may_be_loaded(key):
                self._asked_at[key] = asked_at  # a template whose functions still wait for it is made anew
        else:
            raise ProtocolError(f"it says that {key:.100} is gone, which was not there")
        self._ends.discard(key)

    def ran(self, message: messages.Ran, now: float) -> float:
        """Returns the most seconds that the run can have taken."""
        function, asked_at = self._runs.pop(message.activation, ("", 0.0))
        if not function or function != message.function:
            raise ProtocolError(f"it has run {message.activation:.100}, which nobody has asked for")
        if message.alive and function not in self._loaded:
            raise ProtocolError(f"it has run {function:.100}, which is not loaded")
        if not message.alive:
            self._ends.add(function)
        return now - asked_at

    def measured(self, message: messages.Measured) -> None:
        for key in message.resident_bytes:
            if key not in self._loaded:
                raise ProtocolError(f"it has measured {key:.100}, which is not loaded")

    def _end_load(self, key: ResidentKey, what: str) -> None:
        if key in self._loaded:
            raise ProtocolError(f"it says that {key:.100} {what}, which is loaded already")
        if self._loads[key] > 0:
            self._loads[key] -= 1
        elif not self._may_be_loaded(key):
            raise ProtocolError(f"it says that {key:.100} {what}, which nobody has asked for")
        if self._loads[key] == 0:
            del self._loads[key]
        if not self._is_awaited(key):
            self._asked_at.pop(key, None)

    def _may_be_loaded(self, key: ResidentKey) -> bool:
        """Whether a load or run of `key` is awaited, or one of a function that is forked from the template `key`."""
        return self._is_awaited(key) or any(
            template == key and self._is_awaited(function) for function, template in self._templates.items()
        )

    def _is_awaited(self, key: ResidentKey) -> bool:
        return self._loads[key] > 0 or any(function == key for function, _ in self._runs.values())
