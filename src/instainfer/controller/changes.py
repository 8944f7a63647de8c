"""Keeps two requests from changing the same entity at the same time, and two collections from having the same name.

Actions in no package, packages, triggers and rules share their names, as in OpenWhisk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ..errors import Conflict
from .paths import EntityPath

OTHER_COLLECTION = "Resource by this name exists but is not in this collection."
CONCURRENT = "Concurrent modification to resource detected."


class Changes:
    """The entities that are being changed, and who has which names. All collections share one of these."""

    def __init__(self) -> None:
        self._changing: dict[EntityPath, object] = {}
        self._collections: dict[str, Callable[[EntityPath], bool]] = {}

    def has(self, collection: str, has: Callable[[EntityPath], bool]) -> None:
        """Tell how to find out whether a collection has a name."""
        self._collections[collection] = has

    def check_name(self, path: EntityPath, collection: str) -> None:
        """Raise `Conflict` when another collection than this one has a name."""
        if any(has(path) for name, has in self._collections.items() if name != collection):
            raise Conflict(OTHER_COLLECTION)

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
