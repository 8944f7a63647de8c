"""A function template, as the manager sees it: loaded, proven fit, stopped, and continued for each fork (ADR 21)."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from ..wire.calls import RESIDENT_FOLDER, TO_PROCESS, Fork
from ..wire.messages import Function
from . import tracing
from .function_process import FunctionProcess
from .memory import children, is_stopped, of_group
from .process import Listening, State
from .templates import TemplateProcess
from .uids import Uids

_MOST_MAKING_S = 120.0
"""Limit in seconds on the load, and again on the warm-up and the proof that it can be forked."""


class FunctionTemplate(FunctionProcess):
    """The process group of a function template."""

    whose = "the function's template"

    def __init__(
        self,
        key: str,
        function: Function,
        scratch: str,
        listening: Listening,
        *,
        template: TemplateProcess | None,
        uids: Uids,
        proves: bool,
    ) -> None:
        """Start the process. `proves`: it has to answer the function's sample.

        Raises OSError when that is not possible (no such interpreter, no memory).
        """
        super().__init__(key, function, scratch, listening)
        self.time_limit_s = min(function.timeout_s, _MOST_MAKING_S)
        self.begin()
        self.proves = proves
        self.forked_bytes = 0
        """Size of the first resident that was forked from it, when that had just been forked. 0 before that."""
        self.may_fork_ahead = True
        """Whether a process that is forked ahead of its call can wait here. False when this host, or the function, does
        not allow it."""
        self.has_told_ahead = False
        """Whether its size was reported with that of such a process."""
        self.says_it_stands = False
        self.is_cleared = False
        """Whether nothing of it is left but its folder, in which residents forked from it still live."""
        self._is_held = False
        self._owes_wake = False
        self._is_checked = False
        """Whether its family has been looked at since it ran last."""
        self._count = 0
        self.start(template, uids=uids, stands=True, proves=proves)
        if self.pid is not None:
            self.hold()

    def hold(self) -> None:
        """Let nothing but the manager continue it once it has stopped. Without effect where the host forbids it."""
        assert self.pid is not None
        self._is_held = tracing.hold(self.pid)

    def expect_proof(self) -> None:
        """It is loaded. Begin the time limit for its warm-up and for the proof that it can be forked."""
        self.deadline_at = time.monotonic() + _MOST_MAKING_S

    # -- stopping and forking -----------------------------------------------------------------------------------------

    def has_stopped(self, status: int) -> None:
        """Take a wait status that says that it has stopped, for itself or for a signal."""
        assert self.pid is not None
        if not tracing.has_stopped_itself(status):
            if self._is_held:
                tracing.go_on(self.pid, tracing.signal_of(status))
            return
        self.is_stopped = True
        if self._owes_wake:
            self._wake()

    def next_scratch(self) -> str:
        """The folder that the next resident forked from it will have. The template creates it."""
        return os.path.join(self.scratch, RESIDENT_FOLDER.format(self._count + 1))

    def fork(self, sock: int, stdout: int, stderr: int) -> None:
        """Ask it to fork a process that gets these descriptors. The forked process reports itself. Raises OSError."""
        self.channel.send(TO_PROCESS.encode(Fork()), (sock, stdout, stderr))
        self._count += 1
        if self.is_stopped:
            self._wake()
        else:
            self._owes_wake = True  # continued before it has stopped, it would stop without having forked

    def _wake(self) -> None:
        assert self.pid is not None
        self.is_stopped = self._owes_wake = self._is_checked = False
        if self._is_held:
            tracing.go_on(self.pid)
        else:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGCONT)

    @property
    def standing(self) -> str:
        """How it is kept from running, in words."""
        if self._is_held:
            return "held by the manager"
        return "stopped, but not held (this host forbids tracing: a timer of its function could continue it)"

    # -- isolation ----------------------------------------------------------------------------------------------------

    def is_at_rest(self) -> bool:
        """Whether it stands and has stopped."""
        return self.state is State.READY and self.is_stopped

    def is_alone(self, known: set[int]) -> bool:
        """Whether it has a single thread, and no processes but those known, which were forked from it for calls.

        Its function's code has run in it while it was made. It may have started what nobody knows of. A process that
        is held and has not run since it was looked at is not looked at again.
        """
        if self._is_checked and self._is_held:
            return True
        assert self.pid is not None
        if not is_stopped(self.pid) or set(children(self.pid)) - known or of_group(children(os.getpid()), self.pid):
            return False
        self._is_checked = True
        return True
