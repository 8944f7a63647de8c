"""The function templates of one container, as its manager holds them."""

from __future__ import annotations

from collections.abc import Iterable
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

    def others(self, function: str) -> list[FunctionTemplate]:
        """The templates of all other functions."""
        return [template for key, template in self.items() if key != function]


def aheads(templates: Iterable[FunctionTemplate]) -> list[Resident]:
    """The processes that were forked from these templates ahead of calls."""
    return [template.ahead for template in templates if isinstance(template.ahead, Resident)]


def restless(templates: Iterable[FunctionTemplate], residents: Iterable[Process]) -> list[FunctionTemplate]:
    """The templates that may still run code of their functions, or be about to fork.

    `residents` are the residents of the container, also those that are being ended.
    """
    templates = list(templates)
    processes = (*residents, *aheads(templates))
    forking = {r.template for r in processes if isinstance(r, Resident) and r.pid is None}
    return [template for template in templates if template in forking or not template.is_at_rest()]


def intruded(
    templates: Iterable[FunctionTemplate], residents: Iterable[Process]
) -> list[tuple[FunctionTemplate, Failure]]:
    """The stopped templates that have started what they should not have, with what to say about it."""
    templates = list(templates)
    known = {process.pid for process in (*residents, *aheads(templates)) if process.pid is not None}
    text = "the function's template has a thread or a process that nobody asked for, and was ended"
    return [(template, Failure("crashed", text)) for template in templates if not template.is_alone(known)]
