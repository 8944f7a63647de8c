"""Counts how often calls of one function overlap. This tells how useful one more resident of the function would be.

Calls come in bursts, so their rate does not tell how often they overlap. Example: a function was called every four
seconds, and each call took a quarter of a second. If its calls were independent of each other, 6 of 100 would find
another one under way; measured were 29 of 100. So this module counts overlaps, as shares of the recent calls.

Worked example. There are four calls. The second one arrives while the first is under way, and the fourth one arrives
while two others are. If all calls had the same weight, half of them found at least one other call, and a quarter found
at least two. So half of the calls would have used a second resident, and a quarter a third one.
"""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.02
"""Weight of the latest call in each share. The shares therefore describe about the last 50 calls."""
MOST: Final = 32
"""Largest number of calls under way that is counted; more calls than this count as this many."""
_NEGLIGIBLE: Final = 0.001


class Concurrency:
    """The overlaps of one function's calls. `under_way` is the number of calls that have arrived and are unanswered."""

    __slots__ = ("_shares", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._shares: list[float] = []
        """Entry n is the share of recent calls that found at least n + 1 other calls under way."""

    def called(self) -> None:
        shares, found = self._shares, self.under_way
        for n, share in enumerate(shares):
            shares[n] = share + WEIGHT * ((found > n) - share)
        while len(shares) < min(found, MOST):
            shares.append(WEIGHT)
        if shares and shares[-1] < _NEGLIGIBLE:
            shares.pop()
        self.under_way = found + 1

    def answered(self) -> None:
        self.under_way -= 1

    def found(self, others: int) -> float:
        """Share (0 to 1) of the recent calls that found at least `others` other calls under way."""
        if others <= 0:
            return 1.0
        return self._shares[others - 1] if others <= len(self._shares) else 0.0
