"""The function templates of one container, as its manager holds them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from ..wire.messages import Failure, Function
from .function_template import FunctionTemplate
from .process import Process, State
from .resident import Resident


class Wanted(NamedTuple):
    """A function template that is to be made."""

    key: str
    function: Function
    proves: bool = False
    """Whether it has to answer the function's sample."""


class FunctionTemplates(dict[str, FunctionTemplate]):
    """The function templates that exist or are being made, by the keys of their functions."""

    def __init__(self) -> None:
        super().__init__()
        self.wanted: dict[str, Wanted] = {}
        """Those to be made as soon as possible, by the keys of their functions."""
        self.ahead: dict[str, Resident] = {}
        """Processes that were forked from them before any load was asked for, by the keys of their functions. They wait
        stopped, as their templates do, and nobody outside the container knows of them."""

    def of(self, key: str) -> FunctionTemplate | None:
        """The function template with this key of its own."""
        return next((template for template in self.values() if template.key == key), None)

    def standing(self, function: str) -> FunctionTemplate | None:
        """The template that a function can be forked from now."""
        template = self.get(function)
        return template if template is not None and template.state is State.READY else None

    def want(self, wanted: Wanted) -> None:
        if wanted.function.key not in self:
            self.wanted[wanted.function.key] = wanted

    def want_no_more(self, key: str) -> bool:
        """Give up one that is not being made yet. Returns whether it was wanted."""
        functions = [function for function, wanted in self.wanted.items() if wanted.key == key]
        for function in functions:
            del self.wanted[function]
        return bool(functions)

    def is_ahead(self, process: Process) -> bool:
        return self.ahead.get(process.key) is process

    def others(self, function: str) -> list[FunctionTemplate]:
        """The templates of all other functions."""
        return [template for key, template in self.items() if key != function]

    def restless(self, templates: Iterable[FunctionTemplate], residents: Iterable[Process]) -> list[FunctionTemplate]:
        """Those of the templates that may still run code of their functions, or be about to fork.

        `residents` are the residents of the container, also those that are being ended.
        """
        forking = {r.template for r in residents if isinstance(r, Resident) and r.pid is None}
        forking |= {r.template for r in self.ahead.values() if not r.is_stopped}
        return [template for template in templates if template in forking or not template.is_at_rest()]

    def intruded(
        self, templates: Iterable[FunctionTemplate], residents: Iterable[Process]
    ) -> Iterator[tuple[Process, Failure]]:
        """What has started what it should not have, of stopped templates and of what was forked from them ahead."""
        known = {process.pid for process in (*residents, *self.ahead.values()) if process.pid is not None}
        for template in templates:
            text = "{} has a thread or a process that nobody asked for, and was ended"
            ahead = self.ahead.get(template.function.key)
            if ahead is not None and not ahead.is_alone():
                yield ahead, Failure("crashed", text.format(ahead.whose))
            if not template.is_alone(known):
                yield template, Failure("crashed", text.format(template.whose))
