"""One function's process while it loads, as the manager sees it: from nothing, or forked from a library template."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ..wire.calls import FROM_PROCESS, TO_PROCESS, Imported, Jailed, Prepare, Prepared
from ..wire.framing import ProtocolError
from ..wire.messages import Function
from . import jail
from .logs import Log
from .process import Listening, Process, State
from .templates import TemplateProcess
from .uids import Uids


class FunctionProcess(Process):
    """The process group of a function, or of its template."""

    def __init__(self, key: str, function: Function, scratch: str, listening: Listening) -> None:
        self.function = function
        self.time_limit_s = function.timeout_s
        self.limit_bytes = function.memory_bytes
        self.library_template: TemplateProcess | None = None
        """The library template that it is forked from, if it is."""
        self.prepared: Prepared | None = None
        """Its message that it is loaded. None before that."""
        self.library_s = 0.0
        self.model_s = 0.0
        self.isolation: list[str] = []
        """The isolation that was applied to it, in words. Empty until it is known."""
        self.uid: int | None = None
        """The user id that the manager has chosen for it. None if it was given none."""
        self.is_apart = False
        """Whether it waits for a user id of its own. Its message may come before the one that it was forked."""
        self._may_have_uid = False
        self._imported_at: float | None = None
        super().__init__(key, scratch, Log(function.logs_bytes), FROM_PROCESS, listening)

    def start(
        self,
        template: TemplateProcess | None,
        *,
        uids: Uids,
        learns: bool = False,
        stands: bool = False,
        proves: bool = False,
    ) -> None:
        """Start it, from a library template or (None) from nothing, and have it load its function.

        `uids` may give it a user id of its own. `learns`: it is to say what it has imported. `stands`: it
        becomes a function template. `proves`: it answers the function's sample before that. Raises OSError when it
        cannot be started (no such interpreter, no memory).
        """
        self.library_template = self.forked_from = template
        self._may_have_uid = template is not None and uids.may_give(self.function.key)
        env = {**self.environment(), **self.function.env}
        if template is None:
            self.spawn("executor", self.function.python, env)
            assert self.pid is not None
            with suppress(ProcessLookupError):  # it has ended already; its end will be noticed
                self.uid = uids.of(self.function, self.pid) or None
        else:
            self.connect(template.fork)
        prepare = Prepare(
            self.function._replace(template=None),
            self.scratch,
            env if template is not None else {},
            learns=learns,
            own_uid=self._may_have_uid,
            uid=self.uid or 0,
            stands=stands,
            proves=proves,
        )
        self.channel.expect(0)  # it has no reason to send anything large before its first call
        self.channel.send(TO_PROCESS.encode(prepare))

    @property
    def awaits_uid(self) -> bool:
        """Whether it may ask for a user id of its own. It may ask once, if it was told that it can be given one."""
        return self._may_have_uid and not self.is_apart and not self.isolation and self.state is State.LOADING

    def is_jailed(self, message: Jailed) -> None:
        """Take its message that it is isolated now, and that no code of its function has run yet.

        The environment's packages have run in the template of a forked process. They may have left code behind that
        sends messages in the place of ours. So of the words of a forked process only those about why it has no user id
        of its own are used, and the kernel is asked whether it has one. The rest comes from its template, which was
        isolated before it imported anything; a forked process cannot undo that.
        """
        if self.isolation or not message.isolation or self._imported_at is not None:
            raise ProtocolError("it says for a second time what it has given up, or nothing")
        if self.library_template is None:
            self.isolation = message.isolation
            return
        uid = message.isolation[0]
        if self._runs_as_its_own():
            uid = jail.OWN_UID
        elif jail.is_own_uid(uid):
            uid = jail.FORKED_UID
        self.isolation = [uid, *self.library_template.isolation[1:]]

    def _runs_as_its_own(self) -> bool:
        try:
            return self.uid is not None and os.stat("/proc/{}".format(self.pid)).st_uid == self.uid
        except OSError:
            return False  # it has ended

    @property
    def own_uid(self) -> int | None:
        """The user id that only processes of its function have. None if it has none of its own."""
        return self.uid if self.isolation[:1] == [jail.OWN_UID] else None

    def is_imported(self, message: Imported) -> None:
        """Take its message that its imports are done."""
        if self._imported_at is not None or not self.isolation:
            raise ProtocolError("it says at a wrong time that its imports are done")
        self._imported_at = time.monotonic()

    def is_prepared(self, message: Prepared) -> None:
        """Take its message that it is loaded.

        The manager measures the times itself. Only the border between imports and model comes from the process.
        """
        if not self.isolation:
            raise ProtocolError("it is loaded before it has given up what it does not need")
        now = time.monotonic()
        imported_at = now if self._imported_at is None else self._imported_at
        self.prepared = message
        self.library_s = imported_at - self.began_at
        self.model_s = now - imported_at
