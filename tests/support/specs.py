"""Function specs whose folder nobody opens."""

from __future__ import annotations

import sys
from pathlib import Path

from instainfer.backends.base import FunctionSpec


def spec(key: str) -> FunctionSpec:
    return FunctionSpec(key, Path("/nonexistent"), Path(sys.executable), "handler", memory_bytes=512 << 20)
