"""The contract of a link: the controller's hold on one node."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

from ..backends.base import Call, FunctionSpec
from ..core.model import Function, FunctionKey, Profile
from ..invoker.outcome import Outcome

__all__ = ["Link", "Outcome"]


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
