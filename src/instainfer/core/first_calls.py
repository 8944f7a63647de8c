"""How soon a function that was never called is called for the first time, as this node has seen it.

Where functions are deployed to be used at once, a first call is due any minute; where thousands lie there that nobody
calls, hardly ever. So the rate is that at which first calls have come here: their number over the seconds that
functions have waited for theirs, all together (the estimate of a constant hazard, with a gamma prior that is soon
forgotten).

Worked example. Eight functions are deployed, and after a minute four of them have been called, in the mean after 30 s:
4.1 calls in 180 + 4 x 30 + 4 x 60 = 540 s, so that each of the others is expected within 132 s. A day later, still
uncalled, they have waited for 345,600 s more: one call in a day.
"""

from __future__ import annotations

from typing import Final

PRIOR_CALLS: Final = 0.1
PRIOR_S: Final = 180.0
"""What is believed before anything has been seen: as if a tenth of a call had come in three minutes."""


class FirstCallRate:
    def __init__(self) -> None:
        self._calls = 0
        self._waited_s = 0.0
        """By those that wait no longer."""
        self._waiting = 0
        self._since = 0.0
        """Sum of the moments at which those that wait have begun to."""

    def registered(self, at: float) -> None:
        self._waiting += 1
        self._since += at

    def called(self, since: float, at: float) -> None:
        """The first call has come of a function that was registered at `since`."""
        self.removed(since, at)
        self._calls += 1

    def removed(self, since: float, at: float) -> None:
        """A function that was never called is not there any longer."""
        self._waiting -= 1
        self._since -= since
        self._waited_s += at - since

    def rate(self, at: float) -> float:
        """Calls per second expected of a function that was never called."""
        waited_s = self._waited_s + max(0.0, self._waiting * at - self._since)
        return (PRIOR_CALLS + self._calls) / (PRIOR_S + waited_s)
