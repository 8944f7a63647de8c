"""How a call ended, as an invoker tells it to whoever handed it over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.model import Failure, FunctionKey, Phases, StartKind


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an activation ended on its node. Exactly one for every call that a link accepted."""

    activation: str
    function: FunctionKey
    container: str
    """Empty when no container ever had it."""
    start_kind: StartKind | None
    """None when it was refused before it started."""
    phases: Phases
    failure: Failure | None
    result: bytes | None
    """JSON as UTF-8; None when there is a failure."""
    logs: Sequence[str] = ()
