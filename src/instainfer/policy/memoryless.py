"""`Memoryless` is the base class of policies that remember nothing about functions and containers."""

from __future__ import annotations

from typing import Any

from ..core.model import FunctionKey
from ..core.ports import NOTHING_REMEMBERED, Remembered


class Memoryless:
    """Ignores the end of functions and containers."""

    def ended(self, container: Any) -> None:
        pass

    def forget(self, function: FunctionKey) -> None:
        pass

    def remembered(self) -> Remembered:
        return NOTHING_REMEMBERED
