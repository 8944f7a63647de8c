"""How long a call waits until its neighbours have ended, by how many they are.

They are ended side by side and the call waits for the last: two take longer than one, but not twice as long. How much
longer depends on processors and on what the processes hold, so it is measured, whenever a call has ended somebody.

Worked example. Calls that ended one neighbour waited for 20 ms, and those that ended three for 26 ms. Two have not been
seen together: at least 20 ms. Four: at least 26 ms.
"""

from __future__ import annotations

from typing import Final

WEIGHT: Final = 0.1
"""Of the latest wait in the mean."""
GUESS_S: Final = 0.005
"""Until something has been seen: what a small process takes."""
NOTABLE: Final = 0.02
"""Smaller changes of a mean are not passed on: they would cost more than they tell."""
MOST: Final = 16
"""More neighbours are not told apart."""


class EvictionDelay:
    """`waits_s`: for none, one, two, ... neighbours up to `MOST`; never falls."""

    def __init__(self) -> None:
        self._means: dict[int, float] = {}
        self._told: dict[int, float] = {}
        """The means as they are in `waits_s`."""
        self.waits_s = self._filled()

    def waited(self, neighbours: int, seconds: float) -> None:
        """A call has ended so many, one at least, and waited for so long."""
        key = min(neighbours, MOST)
        mean = self._means.get(key, seconds)
        mean += WEIGHT * (seconds - mean)
        is_new = key not in self._means
        self._means[key] = mean
        if is_new or abs(mean - self._told.get(key, 0.0)) > NOTABLE * mean:
            self._told[key] = mean
            self.waits_s = self._filled()

    def _filled(self) -> tuple[float, ...]:
        waits_s = [0.0]
        for neighbours in range(1, MOST + 1):
            waits_s.append(max(waits_s[-1], self._told.get(neighbours, 0.0 if self._told else GUESS_S)))
        return tuple(waits_s)
