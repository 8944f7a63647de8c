"""`Outcome`: what an invoker reports about the end of a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..core.model import Failure, FunctionKey, Option, Phases, StartKind


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an activation ended on its node. There is exactly one for every call that a link accepted."""

    activation: str
    function: FunctionKey
    container: str
    """Id of its container. Empty if it never had one."""
    start_kind: StartKind | None
    """None if it was refused before it started."""
    phases: Phases
    failure: Failure | None
    result: bytes | None
    """JSON text in UTF-8. None if there is a failure. Empty if the values that were handed on are it."""
    logs: Sequence[str] = ()
    options: Sequence[Option] = ()
    """What the node could have done with it: the choice, and then the cheapest of the others (see `core.options`)."""
