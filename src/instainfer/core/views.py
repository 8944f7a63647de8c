"""Views of a node's functions, templates and containers: the read-only objects that policies are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .model import FunctionKey, ResidentKey
from .pool import Container, Pool
from .ports import ContainerView, FunctionView, Known, ResidentView, TemplateView
from .registry import Registry


class Views(Mapping[FunctionKey, FunctionView]):
    """The views of all functions. A view is created when it is asked for."""

    def __init__(self, registry: Registry, pool: Pool) -> None:
        self._registry = registry
        self._pool = pool

    def __getitem__(self, key: FunctionKey) -> FunctionView:
        return self._registry.view(key, self._pool)

    def get(self, key: FunctionKey, default: Any = None) -> Any:
        # Faster than `Mapping.get`, which costs an exception and two more calls: a plan asks for every resident.
        record = self._registry.get(key)
        return default if record is None else self._registry.view_of(record, key, self._pool)

    def __iter__(self) -> Iterator[FunctionKey]:
        return iter(self._registry)

    def __len__(self) -> int:
        return len(self._registry)


class TemplateViews(Mapping[ResidentKey, TemplateView]):
    """The views of all library templates that can be made. A view is created when it is asked for.

    Function templates are left out: what is known of them is in the views of their functions.
    """

    def __init__(self, registry: Registry, pool: Pool, now: Callable[[], float]) -> None:
        self._registry = registry
        self._pool = pool
        self._now = now

    def __getitem__(self, key: ResidentKey) -> TemplateView:
        view: TemplateView | None = self.get(key)
        if view is None:
            raise KeyError(key)
        return view

    def get(self, key: ResidentKey, default: Any = None) -> Any:
        record = self._registry.libraries.get(key)
        if record is None or not record.can_be_made:
            return default
        profile, copies = record.profile, self._pool.copies.get(key, 0)
        rate = record.misses_per_s(self._now())
        return TemplateView(
            key, record.namespace, profile.library_s, profile.resident_bytes, rate, copies, record.image
        )

    def __iter__(self) -> Iterator[ResidentKey]:
        return (key for key, record in self._registry.libraries.items() if record.can_be_made)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def known(registry: Registry, pool: Pool, now: Callable[[], float]) -> Known:
    """All views. They are made when they are asked for, so this stays true; `now` is the time of the latest event."""
    return Known(Views(registry, pool), TemplateViews(registry, pool, now))


def container_view(container: Container, pool: Pool) -> ContainerView:
    """The view of one idle container. It stays the same object as long as nothing in the container changes."""
    if container.view is not None:
        return container.view
    charges = pool.ledger.charges_in(container.id)
    residents = tuple(
        [
            ResidentView(r.function, r.state, r.origin, charges[r.function], r.is_template)
            for r in container.residents.values()
        ]
    )
    view = ContainerView(
        container.id,
        container.namespace,
        container.limit_bytes,
        pool.ledger.free_in(container.id),
        pool.freeing_in(container),
        residents,
        container.owner,
        container.image,
    )
    container.view = view
    return view
