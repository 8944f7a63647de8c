"""A call that is next in its container: how long it may wait until its function sees the request, and what for."""

from __future__ import annotations

import time

from ..wire.messages import Failure, Function, Run
from .quiet import Quiet

LOOK_S = 0.001
"""Seconds after which it is looked again whether neighbours can run no more."""
_AT_ONCE_S = 0.001
"""So long it is looked right away: mostly they have begun to exit by then."""
_PAUSE_S = 50e-6
_SHARE_FOR_TEMPLATE = 0.5
"""Of the time for a load, so much may pass until its template is ready; then it is loaded from nothing."""
_GRACE_S = 2.0
"""After its time, so long it is waited for what was told to end."""


class Turn:
    """The call's, from when it is first in its container to when its function sees the request or it has failed."""

    def __init__(self, run: Run, function: Function, quiet: Quiet) -> None:
        now = time.monotonic()
        self.run = run
        self.function = function
        self.quiet = quiet
        self.deadline_at = now + function.timeout_s
        """Until then it must have been loaded, its template's making and the ends of others included."""
        self.template_until = now + function.timeout_s * _SHARE_FOR_TEMPLATE
        self._moments = [self.template_until, self.deadline_at, self.deadline_at + _GRACE_S]
        self.look_at: float | None = None
        """When to look again whether it is quiet, if it was not."""
        self.is_handed_over = False
        self.awaits = "its own load"

    @property
    def has_time_for_template(self) -> bool:
        return time.monotonic() < self.template_until

    @property
    def is_late(self) -> bool:
        return not self.is_handed_over and time.monotonic() >= self.deadline_at

    @property
    def is_hopeless(self) -> bool:
        """Whether not even what should have ended with its time has ended."""
        return not self.is_handed_over and time.monotonic() >= self.deadline_at + _GRACE_S

    def next_moment(self) -> float | None:
        """When something is to be done for it."""
        if self.is_handed_over:
            return None
        moments = self._moments if self.look_at is None else [self.look_at, *self._moments]
        return min(moments, default=None)

    def on_moment(self, now: float) -> None:
        """It is looked after now. Only so is a moment left behind, not by passing."""
        self._moments = [moment for moment in self._moments if moment > now]

    def failure(self) -> Failure:
        text = "the call waited for {} for {:g} seconds, the function's time limit".format(
            self.awaits, self.function.timeout_s
        )
        return Failure("timed_out", text)


class Looking:
    """Looks for a moment, with pauses in which others get the processor."""

    def __init__(self) -> None:
        self._until = time.monotonic() + _AT_ONCE_S

    def goes_on(self) -> bool:
        if time.monotonic() >= self._until:
            return False
        time.sleep(_PAUSE_S)
        return True
