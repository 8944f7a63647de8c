"""Names for the versions of functions, none of which names two things in the life of this process.

A node may still be ending residents of a version when the next one comes; under one key they would be taken for each
other. So a version that is not above all those before it gets a number behind its key. Remembered are the highest
version and the last number of each function, and of those deleted lately: redeploying costs no memory.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from ..core.model import FunctionKey
from .records import Action

MOST_GONE = 10_000
"""Deleted functions that are remembered; a node has long ended what it had of one before so many others."""

Place: TypeAlias = tuple[str, str]


class _Used(NamedTuple):
    highest: tuple[int, ...]
    number: int


class Keys:
    def __init__(self) -> None:
        self._used: dict[Place, _Used] = {}
        self._gone: dict[Place, _Used] = {}

    def restored(self, action: Action) -> None:
        """An action of an earlier platform has its key already."""
        _, _, number = action.key.rpartition("@")[2].partition("+")
        self._used[action.namespace, action.name] = _Used(_parts(action.version), int(number or 1))

    def new(self, namespace: str, name: str, version: str) -> FunctionKey:
        place = (namespace, name)
        key = f"{namespace}/{name}@{version}"
        parts = _parts(version)
        used = self._used.get(place) or self._gone.pop(place, None)
        if used is None or parts > used.highest:
            self._used[place] = _Used(parts, used.number if used is not None else 1)
            return key
        number = used.number + 1
        self._used[place] = _Used(used.highest, number)
        return f"{key}+{number}"

    def deleted(self, namespace: str, name: str) -> None:
        """There is no such function any more, or it never came to be."""
        place = (namespace, name)
        used = self._used.pop(place, None)
        if used is not None:
            self._gone[place] = used
            if len(self._gone) > MOST_GONE:
                del self._gone[next(iter(self._gone))]

    def __len__(self) -> int:
        return len(self._used) + len(self._gone)


def _parts(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
