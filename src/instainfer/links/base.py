"""The contract of a link: the controller's hold on one node."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..backends.base import Call, FunctionSpec
from ..core.model import Failure, Function, FunctionKey, Phases, Profile, StartKind


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


class Link(Protocol):
    """One node as the controller sees it."""

    name: str

    def register(self, function: Function, spec: FunctionSpec, profile: Profile | None) -> None:
        """Make a function known to the node, before any call of it."""
        ...

    def unregister(self, function: FunctionKey) -> None: ...

    def invoke(self, call: Call) -> Awaitable[Outcome]:
        """Never raises for what happens to the call: that is in the `Outcome`."""
        ...

    def snapshot(self) -> Mapping[str, Any]:
        """What is there now, for ``status``: plain JSON values, see `instainfer.invoker.snapshot`."""
        ...
