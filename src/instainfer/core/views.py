"""Views of a node's functions, templates and containers: the read-only objects that policies are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .model import FunctionKey, ResidentKey, is_function_template
from .pool import Container, Pool
from .ports import ContainerView, FunctionView, NodeView, ResidentView, TemplateView
from .registry import Registry, TemplateRecord


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

    Function templates are left out: `templating` makes them by a rule of its own.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def __getitem__(self, key: ResidentKey) -> TemplateView:
        record = self._registry.templates[key]
        if not _can_be_made(key, record):
            raise KeyError(key)
        return TemplateView(key, record.namespace, record.profile.library_s, record.profile.resident_bytes)

    def __iter__(self) -> Iterator[ResidentKey]:
        return (key for key, record in self._registry.templates.items() if _can_be_made(key, record))

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _can_be_made(key: ResidentKey, template: TemplateRecord) -> bool:
    """Whether a library template has been made before, its last load did not fail, and some function can be forked from
    it."""
    was_made = template.profile.loads and template.users and template.load_failure is None
    return bool(was_made) and not is_function_template(key)


def node_view(
    registry: Registry, pool: Pool, at: float, load_slots: int, *, due: Iterable[FunctionKey] = ()
) -> NodeView:
    """A thorough view for a pre-loading policy: all idle containers, and the functions that can be loaded into them.

    `due` are more candidates, besides those that `Registry.absent` names.
    """
    candidates = dict.fromkeys([*registry.absent(pool), *due])
    return NodeView(
        at,
        tuple(container_view(container, pool) for container in pool.idle.values()),
        tuple(registry.view(key, pool) for key in candidates),
        Views(registry, pool),
        TemplateViews(registry),
        load_slots,
        first_rate=registry.first_calls.rate(at),
    )


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
    free_bytes, freeing_bytes = pool.ledger.free_in(container.id), pool.freeing_in(container)
    view = ContainerView(container.id, container.namespace, free_bytes, freeing_bytes, residents, container.owner)
    container.view = view
    return view
