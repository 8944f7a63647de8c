"""Estimates how soon a function that was never called will be called for the first time on this node.

On one node, functions are deployed and used at once; on another, thousands of functions are deployed and nobody calls
them. So the rate is measured: the number of first calls so far, divided by the total number of seconds that all
functions have waited for their first call. This is the standard estimate of a constant hazard rate. It starts from a
gamma prior, whose influence is small as soon as there are a few observations.

Worked example. Eight functions are deployed. After one minute four of them have been called, 30 s after their
deployment on average. That makes 4.1 calls (0.1 from the prior) in 180 + 4 x 30 + 4 x 60 = 540 s. So each of the other
four is expected to be called once in 132 s. One day later they are still uncalled and have together waited 345,600 s
more: now each of them is expected to be called about once a day.
"""

from __future__ import annotations

from typing import Final

PRIOR_CALLS: Final = 0.1
PRIOR_S: Final = 180.0
"""The prior: the estimate starts as if 0.1 first calls had come in 180 seconds of waiting."""


class FirstCallRate:
    """Counts first calls and the time that functions have waited for them. All times are in seconds."""

    def __init__(self) -> None:
        self._calls = 0
        self._waited_s = 0.0
        """Seconds that functions have waited which were called or removed since."""
        self._waiting = 0
        self._since = 0.0
        """Sum of the registration times of all functions that still wait for their first call."""

    def registered(self, at: float) -> None:
        self._waiting += 1
        self._since += at

    def called(self, since: float, at: float) -> None:
        """A function that was registered at time `since` got its first call."""
        self.removed(since, at)
        self._calls += 1

    def removed(self, since: float, at: float) -> None:
        """A function that was registered at time `since` and never called was removed."""
        self._waiting -= 1
        self._since -= since
        self._waited_s += at - since

    def rate(self, at: float) -> float:
        """Expected calls per second of a function that was never called."""
        waited_s = self._waited_s + max(0.0, self._waiting * at - self._since)
        return (PRIOR_CALLS + self._calls) / (PRIOR_S + waited_s)
