"""Keeps two requests from changing the same entity at the same time. The second one is refused, as in OpenWhisk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import Conflict
from .paths import EntityPath

CONCURRENT = "Concurrent modification to resource detected."


class Changes:
    """The entities that are being changed. Actions and packages share their names, so they share one of these."""

    def __init__(self) -> None:
        self._changing: dict[EntityPath, object] = {}

    @contextmanager
    def one(self, path: EntityPath) -> Iterator[None]:
        """Keep all others from changing an entity. Raises `Conflict` when another request is changing it."""
        if path in self._changing:
            raise Conflict(CONCURRENT)
        self._changing[path] = object()
        try:
            yield
        finally:
            del self._changing[path]

    @property
    def under_way(self) -> frozenset[object]:
        """One opaque object for each change that is under way."""
        return frozenset(self._changing.values())

    def within(self, package: EntityPath) -> bool:
        """Whether an action of a package is being changed."""
        return any((path.namespace, path.package) == (package.namespace, package.name) for path in self._changing)
