"""Says what a deployed function consists of: its packages and its weights, with their sizes on the disk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from .builder import packages_of
from .manifest import read_manifest
from .unused import size_bytes


def contents_of(folder: Path, environment: Path) -> dict[str, Any]:
    """The contents of the code in `folder` and of the folder of its environment, as plain JSON values.

    ``{packages, environment_bytes, weights}``: the first two are null if they are not known, and `weights` has the
    size in bytes of each file. What an environment shares with others does not count for its size.
    """
    packages = packages_of(environment)
    return {
        "packages": packages,
        "environment_bytes": None if packages is None else _size_bytes(environment),
        "weights": {path: (folder / path).stat().st_size for path in read_manifest(folder).weights},
    }


_size_bytes = lru_cache(maxsize=256)(size_bytes)
"""An environment has ten thousands of files, and none changes."""
