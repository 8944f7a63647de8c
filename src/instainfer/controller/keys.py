"""Makes the keys of versions of functions. A key is never used for two different versions while this process lives.

A node may still be ending the residents of one version when the next one is deployed. With the same key the node could
not tell them apart. But authors choose version numbers, and a function can be deleted and created again. So if a
version is not higher than all earlier ones, its key ends in a number, such as ``guest/echo@0.0.1+2``. For this, only
the highest version and the last number of each function are remembered, also of the functions that were deleted last.
"""

from __future__ import annotations

from typing import NamedTuple

from ..core.model import FunctionKey
from .paths import EntityPath
from .records import Action

MOST_GONE = 10_000
"""Number of deleted functions that are remembered. Nodes have long ended the residents of one that is forgotten."""


class _Used(NamedTuple):
    highest: tuple[int, ...]
    number: int


class Keys:
    def __init__(self) -> None:
        self._used: dict[EntityPath, _Used] = {}
        self._gone: dict[EntityPath, _Used] = {}

    def restored(self, action: Action) -> None:
        """Remember the key of a stored action, which an earlier run of the platform made."""
        _, _, number = action.key.rpartition("@")[2].partition("+")
        self._used[action.path] = _Used(_parts(action.version), int(number or 1))

    def new(self, path: EntityPath, version: str) -> FunctionKey:
        """A new key for a version that is about to be deployed."""
        key = f"{path}@{version}"
        parts = _parts(version)
        used = self._used.get(path) or self._gone.pop(path, None)
        if used is None or parts > used.highest:
            self._used[path] = _Used(parts, used.number if used is not None else 1)
            return key
        number = used.number + 1
        self._used[path] = _Used(used.highest, number)
        return f"{key}+{number}"

    def deleted(self, path: EntityPath) -> None:
        """Record that a function does not exist: it was deleted, or its first put failed."""
        used = self._used.pop(path, None)
        if used is not None:
            self._gone[path] = used
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def __len__(self) -> int:
        return len(self._used) + len(self._gone)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
