"""What every layout of a trace is read into: functions, and a stream of their calls ordered by time."""

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
    """How long the call ran; None where the trace does not say."""


class Row(NamedTuple):
    """One function of a trace."""

    owner: str
    app: str
    name: str


class Workload(Protocol):
    """A trace that can be replayed or simulated any number of times."""

    @property
    def source(self) -> str:
        """Where the trace comes from, for reports."""
        ...

    @property
    def duration_s(self) -> float: ...

    @property
    def functions(self) -> Sequence[Row]: ...

    @property
    def calls(self) -> int: ...

    def arrivals(self, seed: int) -> Iterator[Arrival]:
        """Yield the calls in ascending time; they are made while they are read.

        `seed` gives times to calls where the trace does not say exactly when they came. Raises `BadInput` with file,
        line and reason at a malformed place that was not read before.
        """
        ...
