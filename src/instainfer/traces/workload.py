"""What every trace comes to, whatever its layout: some functions, and a stream of their calls in the order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol


class Arrival(NamedTuple):
    """One call of a trace."""

    at_s: float
    """Seconds since the trace began."""
    function: int
    """Index into the functions of the trace."""
    duration_s: float | None = None
    """How long it ran, where the trace says so."""


class Row(NamedTuple):
    """A function of a trace."""

    owner: str
    app: str
    name: str


class Workload(Protocol):
    """A trace that can be replayed or simulated as often as one likes."""

    @property
    def source(self) -> str:
        """Where it came from, for reports."""
        ...

    @property
    def duration_s(self) -> float: ...

    @property
    def functions(self) -> Sequence[Row]: ...

    @property
    def calls(self) -> int: ...

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Its calls, ascending in time, made as they are asked for.

        `seed` places them where the trace does not say exactly when they came. Raises `BadInput`, with file, line and
        reason, when it comes to a malformed place that had not been looked at before.
        """
        ...
