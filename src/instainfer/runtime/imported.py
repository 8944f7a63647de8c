"""Finds the modules of its environment that a process has imported."""

from __future__ import annotations

import os
import site
import sys
from collections.abc import Set
from types import ModuleType

from ..wire.bounds import MOST_MODULES


def of_environment(before: Set[str] = frozenset()) -> list[str]:
    """Modules whose files lie in the environment's site-packages, each after those that its import needed first.

    `before` are names of those that are of no interest. Only what can be imported by its name is named.
    """
    folders = tuple(os.path.join(folder, "") for folder in site.getsitepackages())
    return [
        name
        for name, module in list(sys.modules.items())
        if name not in before and isinstance(module, ModuleType) and _is_from(folders, name, module)
    ][:MOST_MODULES]


def _is_from(folders: tuple[str, ...], name: str, module: ModuleType) -> bool:
    # Read from the dict, because a __getattr__ of the module may do anything.
    spec = vars(module).get("__spec__")
    origin = getattr(spec, "origin", None)
    return getattr(spec, "name", None) == name and isinstance(origin, str) and origin.startswith(folders)
