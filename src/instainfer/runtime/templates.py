"""The templates of one container, as its manager holds them: which there are, what they lack, which are in vain."""

from __future__ import annotations

import os

from ..wire.forks import FROM_TEMPLATE, TO_TEMPLATE, Fork, Make
from ..wire.messages import Function, Template
from .logs import Log
from .process import Listening, Process

MOST_ATTEMPTS = 5
"""How often a template is made anew without one more module before it is given up."""
MAKING_TIMEOUT_S = 60.0
_LOG_BYTES = 64 * 1024


class TemplateProcess(Process):
    """A template's process group."""

    whose = "the template"
    time_limit_s = MAKING_TIMEOUT_S

    def __init__(self, template: Template, modules: list[str], nursery: str, listening: Listening) -> None:
        """Start it. Raises OSError when that is not possible.

        `nursery` is a folder in which it and what is forked from it have folders of their own. It stays, as they may
        outlive the template.
        """
        self.template = template
        self.nursery = nursery
        self.isolation: list[str] = []
        """What it has given up, in words; said before it imports anything."""
        scratch = os.path.join(nursery, "template")
        os.mkdir(scratch, 0o700)
        super().__init__(template.key, scratch, Log(_LOG_BYTES), FROM_TEMPLATE, listening)
        self.spawn("template", template.python, self.environment())
        self.channel.send(TO_TEMPLATE.encode(Make(modules, template.folders, nursery)))

    def fork(self, sock: int, stdout: int, stderr: int) -> None:
        """Ask for a process that gets these; whether it comes to be, it says itself. Raises OSError."""
        self.channel.send(TO_TEMPLATE.encode(Fork()), (sock, stdout, stderr))


class Templates(dict[str, TemplateProcess]):
    """Those that are there or being made, by their keys, and what is known of the others."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, dict[str, str]] = {}
        """By template, the modules that must not be imported, and why."""
        self._hopeless: dict[str, Template] = {}

    def may_help(self, function: Function) -> bool:
        """Whether a function can be forked, from a template that is there or could be made."""
        wanted = function.template
        if wanted is None:
            return False
        there = self.get(wanted.key)
        if there is not None:
            return function.folder in there.template.folders
        return bool(wanted.modules) and function.folder in wanted.folders and self._hopeless.get(wanted.key) != wanted

    def is_hopeless(self, template: Template) -> None:
        """Not to be made again for a function's sake, unless it becomes another one."""
        self._hopeless[template.key] = template

    def is_asked_for(self, template: Template) -> None:
        """Somebody wants it for its own sake."""
        self._hopeless.pop(template.key, None)

    def modules(self, template: Template) -> list[str]:
        """What it should import, without what must not be."""
        out = self.left_out.get(template.key, {})
        return [name for name in template.modules if not any(_is_within(name, module) for module in out)]

    def leave_out(self, template: Template, module: str, reason: str) -> bool:
        """Import this no more; false when there have been too many of them, or when it was not imported at all."""
        out = self.left_out.setdefault(template.key, {})
        if module in out:
            return False  # made anew without it, it would say so for ever
        out[module] = reason
        return len(out) < MOST_ATTEMPTS


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")
