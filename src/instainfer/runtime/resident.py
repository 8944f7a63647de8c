"""One resident, as the manager sees it: a process that answers the calls of its function."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from ..wire.messages import Function
from . import tracing
from .exits import wait_status
from .function_process import FunctionProcess
from .function_template import FunctionTemplate
from .memory import children, is_stopped
from .process import Listening
from .templates import TemplateProcess
from .uids import Uids

_FORK_LIMIT_S = 5.0
"""Seconds that a function template may take to fork. It takes milliseconds; one that does not fork is ended."""


class Resident(FunctionProcess):
    """The process group of a function. It is started from nothing, or forked from a template of either kind."""

    whose = "the function"

    def __init__(
        self,
        function: Function,
        scratch: str,
        listening: Listening,
        *,
        template: TemplateProcess | FunctionTemplate | None,
        uids: Uids,
    ) -> None:
        """Start the process. Raises OSError when that is not possible (no such interpreter, no memory)."""
        super().__init__(function.key, function, scratch, listening)
        self.template = self.forked_from = template
        """The template that it is forked from. None: it is started from nothing."""
        self.fork_limit_s = self.time_limit_s
        self.born_by: float | None = None
        """When its template must have forked it, in monotonic seconds. None when it has."""
        self.is_held = False
        """Whether it was forked ahead of its call and has been stopped, or will be, until that comes."""
        self._is_checked = False
        self._pidfd: int | None = None
        if isinstance(template, FunctionTemplate):
            self.is_child = False
            self.isolation = template.isolation  # everything that narrows the process was done there
            self.fork_limit_s = min(self.time_limit_s, _FORK_LIMIT_S)
            self.born_by = self.began_at + self.fork_limit_s
            self.connect(template.fork)
            self.channel.expect(0)
        else:
            self.start(template, uids=uids, learns=function.template is not None)

    @property
    def source(self) -> str:
        """What it was made from, a value of `core.model.Source`."""
        if self.template is None:
            return "nothing"
        return "function" if isinstance(self.template, FunctionTemplate) else "libraries"

    # -- a process that was forked ahead of its call ------------------------------------------------------------------

    def hold(self) -> bool:
        """Stop it, so that it can wait beside the calls of other functions. Returns whether this host allows it."""
        assert self.pid is not None
        self.is_held = tracing.hold(self.pid)
        if self.is_held:
            tracing.stop(self.pid)
        return self.is_held

    def has_stopped(self, status: int) -> None:
        """Take a wait status that says that it has stopped, because of `hold` or for a signal."""
        assert self.pid is not None
        if tracing.was_stopped(status):
            self.is_stopped = True
        else:
            tracing.go_on(self.pid, tracing.signal_of(status))

    def is_alone(self) -> bool:
        """Whether it is stopped, has a single thread, and has started nothing."""
        if not self._is_checked:
            assert self.pid is not None
            self._is_checked = is_stopped(self.pid) and not children(self.pid)
        return self._is_checked

    def let_go(self) -> None:
        """Let it go on, for good. It answers calls from now on."""
        assert self.pid is not None
        tracing.let_go(self.pid)
        self.is_stopped = self.is_held = False

    # -- its end, where it is a child of a template, which does not report it to the manager ---------------------------

    def watch_end(self, pid: int, on_end: Callable[[Resident], None]) -> None:
        """Have `on_end` called when the process has ended. Raises ProcessLookupError if it has already."""
        self._pidfd = os.pidfd_open(pid)
        self._loop.watch(self._pidfd, partial(on_end, self))

    def take_wait_status(self) -> int | None:
        """How the process has ended, once `on_end` was called. None if the kernel does not tell."""
        assert self.pid is not None
        assert self._pidfd is not None
        status = wait_status(self.pid, self._pidfd)
        self._close_pidfd()
        return status

    def _close_pidfd(self) -> None:
        if self._pidfd is not None:
            self._loop.forget(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None

    def kill(self) -> None:
        # The kernel may give the number of a process that its template has not reaped to another one. What is left of
        # the group then are children of the manager, which finds and kills them as strays.
        if self.is_child or not self.is_reaped:
            super().kill()

    def clear(self) -> None:
        super().clear()
        self._close_pidfd()
