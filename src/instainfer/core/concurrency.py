"""How many calls of a function are under way when another one comes: what a further resident of it is good for.

Calls come in bursts, so how often they overlap does not follow from their rate: a function that is called every four
seconds for a quarter of a second would overlap in 6 of 100 calls if they came independently, and did in 29. So it is
counted, as shares of the recent calls.

Worked example. Of four calls the second comes while the first is under way, and the last while two others are. With
weights that were equal, half of them found at least one other and a quarter at least two: a second resident would have
been used by half of the calls, and a third one by a quarter.
"""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.02
"""Of the latest call; what counts is about the last fifty."""
MOST: Final = 32
"""More are not told apart."""
_NEGLIGIBLE: Final = 0.001


class Concurrency:
    """`under_way`: calls that have come and were not answered."""

    __slots__ = ("_shares", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self._shares: list[float] = []
        """Of calls that found at least one other, at least two, ..."""

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
        """Share of the recent calls that found at least so many others under way."""
        if others <= 0:
            return 1.0
        return self._shares[others - 1] if others <= len(self._shares) else 0.0
