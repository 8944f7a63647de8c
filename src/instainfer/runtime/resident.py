"""One function's process, as the manager holds it: started from nothing or forked from a template."""

from __future__ import annotations

import time

from ..wire.calls import FROM_PROCESS, TO_PROCESS, Prepare, Prepared
from ..wire.messages import Function
from .logs import Log
from .process import Listening, Process
from .templates import TemplateProcess


class Resident(Process):
    """A function's process group."""

    whose = "the function"

    def __init__(
        self,
        function: Function,
        scratch: str,
        listening: Listening,
        *,
        template: TemplateProcess | None,
        own_uid: bool,
    ) -> None:
        """Start the process. Raises OSError when that is not possible (no such interpreter, no memory)."""
        self.function = function
        self.template = template
        """What it is forked from."""
        self.time_limit_s = function.timeout_s
        self.limit_bytes = function.memory_bytes
        self.prepared: Prepared | None = None
        """What it said when it was loaded."""
        self.library_s = 0.0
        self.is_apart = False
        """Whether it waits for a user id of its own, which it may say before we know that it is born."""
        super().__init__(function.key, scratch, Log(function.logs_bytes), FROM_PROCESS, listening)
        env = {**self.environment(), **function.env}
        if template is None:
            self.spawn("executor", function.python, env)
        else:
            self.connect(template.fork)
        prepare = Prepare(
            function._replace(template=None),
            scratch,
            env if template is not None else {},
            learns=function.template is not None,
            own_uid=own_uid,
        )
        self.channel.send(TO_PROCESS.encode(prepare))

    @property
    def is_forked(self) -> bool:
        return self.template is not None

    def is_prepared(self, message: Prepared) -> None:
        self.prepared = message
        self.library_s = max(0.0, time.monotonic() - self.began_at - message.model_s)
