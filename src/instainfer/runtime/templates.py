"""The library templates of one container, as its manager sees them, and which of them cannot be made."""

from __future__ import annotations

import os

from ..wire.forks import FROM_TEMPLATE, TO_TEMPLATE, Fork, Make
from ..wire.messages import Function, Template
from .logs import Log
from .process import Listening, Process
from .uids import Uids

MOST_ATTEMPTS = 5
"""Number of attempts to make a template, each without one more module, before it is given up."""
MAKING_TIMEOUT_S = 60.0
_LOG_BYTES = 64 * 1024


class TemplateProcess(Process):
    """The process group of a template."""

    whose = "the template"
    time_limit_s = MAKING_TIMEOUT_S

    def __init__(self, template: Template, modules: list[str], nursery: str, listening: Listening, uids: Uids) -> None:
        """Start it. Raises OSError when that is not possible.

        `nursery` is a folder in which the template and each process forked from it have folders of their own. It is
        not removed with the template, because the forked processes may live longer.
        """
        self.template = template
        self.nursery = nursery
        self.isolation: list[str] = []
        """The isolation that was applied to it, in words. It reports this before it imports anything."""
        scratch = os.path.join(nursery, "template")
        os.mkdir(scratch, 0o700)
        super().__init__(template.key, scratch, Log(_LOG_BYTES), FROM_TEMPLATE, listening)
        self.spawn("template", template.python, self.environment())
        assert self.pid is not None
        self.uid = uids.of_template(self.pid)
        make = Make(modules, template.folders, nursery, template.caches, self.uid)
        self.channel.send(TO_TEMPLATE.encode(make))

    def fork(self, sock: int, stdout: int, stderr: int) -> None:
        """Ask it to fork a process that gets these descriptors. The forked process reports itself. Raises OSError."""
        self.channel.send(TO_TEMPLATE.encode(Fork()), (sock, stdout, stderr))


class Templates(dict[str, TemplateProcess]):
    """The templates that exist or are being made, by their keys, and what is known about the others."""

    def __init__(self) -> None:
        super().__init__()
        self.left_out: dict[str, dict[str, str]] = {}
        """For each template, the modules that must not be imported, and why."""
        self._hopeless: dict[str, Template] = {}

    def may_help(self, function: Function) -> bool:
        """Whether a function can be forked from a template that exists or could be made."""
        wanted = function.template
        if wanted is None:
            return False
        there = self.get(wanted.key)
        if there is not None:
            return function.folder in there.template.folders
        return bool(wanted.modules) and function.folder in wanted.folders and self._hopeless.get(wanted.key) != wanted

    def is_hopeless(self, template: Template) -> None:
        """Do not make this template again for the load of a function, unless its description changes."""
        self._hopeless[template.key] = template

    def is_asked_for(self, template: Template) -> None:
        """A command asks for the template itself, so it is tried again."""
        self._hopeless.pop(template.key, None)

    def modules(self, template: Template) -> list[str]:
        """The modules that it should import, without those that must not be imported."""
        out = self.left_out.get(template.key, {})
        return [name for name in template.modules if not any(_is_within(name, module) for module in out)]

    def leave_out(self, template: Template, module: str, reason: str) -> bool:
        """Leave a module out from now on. False when too many were left out, or when this one was left out before."""
        out = self.left_out.setdefault(template.key, {})
        if module in out:
            return False  # it names a module that it did not import, and would do so for ever
        out[module] = reason
        return len(out) < MOST_ATTEMPTS


def _is_within(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")
