"""What a policy that remembers nothing answers when it is told of ends, and asked what it remembers."""

from __future__ import annotations

from typing import Any

from ..core.model import FunctionKey
from ..core.ports import NOTHING_REMEMBERED, Remembered


class Memoryless:
    """Base of policies without any state of their own."""

    def ended(self, container: Any) -> None:
        pass

    def forget(self, function: FunctionKey) -> None:
        pass

    def remembered(self) -> Remembered:
        return NOTHING_REMEMBERED
