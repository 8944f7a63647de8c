"""The opportunistic pre-loading policy: which residents should each idle container hold? (SoCC 2024, section 4.)

*When.* A function becomes a candidate when a call has come with probability P_load, as its forecast says. When no call
has come until P_offload, the forecast was wrong, and the paper off-loads the resident. Measurements showed that this
does harm: the memory is idle anyway, and with a window of five calls P_offload comes after about half of the window's
length, so that the next call is a miss. So by default (``patient``) such a resident stays. Its value falls with its
rate, until another function that is clearly worth more needs the room. ``patient = False`` gives the rule of the paper,
and an overdue function is then not loaded again before its next call.

*Where.* Idle containers are knapsacks. The weight of a resident is its size in bytes, and its value is the seconds of
loading that it is expected to save in that container (`valuation`). Functions are placed in the order of their value
per byte, and may displace residents of clearly lower value (`packing`).

Templates come last. When no function is to be loaded, idle containers with room get templates of environments of their
namespace, so that a miss is fast there, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from ...core.lifecycle import LOADED, UNLOADING
from ...core.model import ContainerId, FunctionKey, ResidentKey, is_function_template
from ...core.ports import (
    ContainerView,
    FunctionView,
    NodeView,
    PreloadPlan,
    Remembered,
    ResidentView,
    SuggestLoad,
)
from .improving import improve
from .overdue import overdue, overdue_at
from .packing import UNLIMITED, Bin, Item, Packing, Placed, Resident
from .valuation import (
    AT_HOME,
    LOOK_EVERY_S,
    rate,
    saves_s,
    template_s,
    until_first_call_s,
    worth_s,
)

BIN_VALID_S = 15.0
"""Seconds for which a `Bin` is used again, as long as nothing changes in its container. Its rates change slowly."""
ITEM_VALID_S = 3.0
"""Seconds for which an `Item` is used again, as long as nothing changes. Its rate falls while it is not called."""


class Opportunistic:
    """The policy.

    `p_load` and `p_offload` are the probabilities P_load and P_offload. `horizon_s` is the horizon H of values. A load
    that displaces others must gain more than `hysteresis` times the value that is lost. `least_chance` is the least
    probability of being called before the neighbours. `max_residents` limits the functions in one container; 0 means
    no limit.
    """

    active = True

    def __init__(
        self,
        p_load: float = 0.06,
        p_offload: float = 0.94,
        horizon_s: float = 10.0,
        hysteresis: float = 0.2,
        least_chance: float = 0.05,
        *,
        patient: bool = True,
        max_residents: int = 0,
    ) -> None:
        self.p_load = p_load
        self.p_offload = p_offload
        self.horizon_s = horizon_s
        self.hysteresis = hysteresis
        self.least_chance = least_chance
        self.patient = patient
        self.max_residents = max_residents or UNLIMITED
        self._cached_bins: dict[ContainerId, _CachedBin] = {}
        self._cached_items: dict[ResidentKey, _CachedItem] = {}
        self._misses: dict[ResidentKey, float] = {}
        """Expected misses of each template's functions, from the last thorough plan."""
        self._templates_s: dict[ResidentKey, float] = {}
        """Values of templates in seconds, computed from these misses when they were first needed."""

    def worth(self, function: FunctionView, at: float) -> float:
        return worth_s(function, at)

    def ended(self, container: ContainerId) -> None:
        self._cached_bins.pop(container, None)

    def forget(self, function: FunctionKey) -> None:
        self._cached_items.pop(function, None)

    def remembered(self) -> Remembered:
        return Remembered(self._cached_items.keys(), self._cached_bins.keys())

    def plan(self, view: NodeView) -> PreloadPlan:
        offloads = [] if self.patient else list(overdue(view, self.p_offload))
        leaving = {(s.container, s.function) for s in offloads}
        fresh, later = self._items(view.absent, view)
        waiting, _ = self._items(view.waiting, view)
        if view.thorough:
            self._look_thoroughly(view)
        suggestions: list[SuggestLoad] = []
        left: list[Item] = []
        if view.load_slots > 0:
            suggestions, left = self._pack(view, self._all(view.containers, view, leaving), fresh, waiting)
            if not suggestions and view.thorough:
                suggestions = list(self._templates(view))[: view.load_slots]
        return PreloadPlan(
            (*offloads, *suggestions),
            self._next_look(view),
            tuple([item.key for item in left]),
            tuple(later),
        )

    def _look_thoroughly(self, view: NodeView) -> None:
        """Compute what needs a thorough view, and drop cached items and bins that are not in it."""
        absent = {function.key for function in view.absent}
        self._cached_items = {key: cached for key, cached in self._cached_items.items() if key in absent}
        here = {container.id for container in view.containers}
        self._cached_bins = {id_: cached for id_, cached in self._cached_bins.items() if id_ in here}
        self._templates_s = {}
        self._misses = {}
        for function in view.absent:
            if function.template is not None:
                chance = self._cached_item(function, view).chance
                self._misses[function.template] = self._misses.get(function.template, 0.0) + chance

    # -- which functions -----------------------------------------------------------------------------------------------

    def _items(
        self, functions: Iterable[FunctionView], view: NodeView
    ) -> tuple[list[Item], list[tuple[float, ResidentKey]]]:
        """The items of functions to load, and the functions that are not due yet, with their due times."""
        at = view.at
        items: list[Item] = []
        later: list[tuple[float, ResidentKey]] = []
        for function in functions:
            # This is `_cached_item` written out, because every plan asks for many items, and most are cached.
            cached = self._cached_items.get(function.key)
            if cached is None or cached.view is not function or at >= cached.until:
                cached = self._fresh_item(function, view)
            if at < cached.due_at:
                if cached.due_at < math.inf:
                    later.append((cached.due_at, function.key))
            elif at < cached.fails_at:
                items.append(cached.item)
        return items, later

    def _cached_item(self, function: FunctionView, view: NodeView) -> _CachedItem:
        """The item of a candidate, from the cache if it is still valid."""
        cached = self._cached_items.get(function.key)
        if cached is not None and cached.view is function and view.at < cached.until:
            return cached
        return self._fresh_item(function, view)

    def _fresh_item(self, function: FunctionView, view: NodeView) -> _CachedItem:
        each, saves = rate(function, view.at, view.first_rate) * function.lacks, saves_s(function, function.copies)
        used_s = until_first_call_s(each, self.horizon_s)
        alone_s = each * saves * used_s
        item = Item(
            function.key,
            function.namespace,
            each,
            saves,
            function.resident_bytes,
            function.forked_bytes,
            alone_s,
            alone_s / (function.resident_bytes or 1),
            function.template,
            function.forecast is None,
        )
        forecast = function.forecast
        if forecast is None:
            return _CachedItem(function, view.at, item, each * used_s)
        before = self._cached_items.get(function.key)
        if before is not None and before.view.forecast is forecast:
            due_at, fails_at = before.due_at, before.fails_at
        else:
            due_at = forecast.due_at(self.p_load)
            fails_at = math.inf if self.patient else forecast.due_at(self.p_offload)
        cached = _CachedItem(function, view.at + ITEM_VALID_S, item, each * used_s, due_at, fails_at)
        self._cached_items[function.key] = cached
        return cached

    def _next_look(self, view: NodeView) -> float | None:
        """When the next thorough plan is due even if nothing happens before."""
        look_at = math.inf
        if (view.absent or view.waiting) and (view.containers or view.others):
            look_at = view.at + LOOK_EVERY_S
        if not self.patient:
            look_at = min([look_at, *(moment for moment in overdue_at(view, self.p_offload) if moment > view.at)])
        return look_at if look_at < math.inf else None

    # -- which containers ----------------------------------------------------------------------------------------------

    def _pack(
        self, view: NodeView, changed: list[Bin], fresh: list[Item], waiting: list[Item]
    ) -> tuple[list[SuggestLoad], list[Item]]:
        """The loads, and the items that found no place, most value per byte first.

        `fresh` items are tried in all bins in view, `waiting` items only in `changed` ones.
        """
        others = self._all(view.others, view, set()) if fresh else []
        packing = Packing([*changed, *others], self.horizon_s, self.hysteresis, self.least_chance)
        items = _most_per_byte_first([*fresh, *waiting])
        here_only: set[ResidentKey] = set()
        changed_ids: set[ContainerId] = set()
        if others:
            here_only, changed_ids = {item.key for item in waiting}, {each.id for each in changed}
        near: list[Bin] | None = None
        placed: list[Placed] = []
        left: list[Item] = []
        for n, item in enumerate(items):
            if len(placed) >= view.load_slots or not packing.bins:
                left += items[n:]
                break
            bins = packing.bins
            if item.key in here_only:
                if near is None:
                    near = [each for each in bins if each.id in changed_ids]
                bins = near
            found = packing.place(item, bins)
            if found is None:
                left.append(item)
            else:
                placed.append(found)
                near = None
        if view.load_slots > 1 and placed:
            placed, left = self._improved(packing, items, placed, left, view.load_slots)
        return [self._suggest(each) for each in placed], left

    def _improved(
        self, packing: Packing, items: list[Item], placed: list[Placed], left: list[Item], load_slots: int
    ) -> tuple[list[Placed], list[Item]]:
        """Improve the packing when several items were placed at once."""
        open_bins = {each.id for each in packing.bins}
        free = [p for p in placed if not p.victims and not p.item.never_called and p.bin.id in open_bins]
        eager = [item for item in left if not item.never_called]
        if not (free and eager):
            return placed, left
        kept = [each for each in placed if each not in free]
        better = improve(packing, free, eager)[: load_slots - len(kept)]
        placed = [*kept, *better]
        here = {each.item.key for each in placed}
        return placed, [item for item in items if item.key not in here]

    def _all(
        self, containers: Iterable[ContainerView], view: NodeView, leaving: set[tuple[ContainerId, ResidentKey]]
    ) -> list[Bin]:
        """The bins of containers, from the cache if still valid. `leaving` are residents that this plan ends."""
        if leaving:
            return [self._new_bin(container, view, leaving) for container in containers]
        bins: list[Bin] = []
        for container in containers:
            cached = self._cached_bins.get(container.id)
            if cached is None or cached.view is not container or view.at >= cached.until:
                cached = _CachedBin(self._new_bin(container, view, leaving), container, view.at + BIN_VALID_S)
                self._cached_bins[container.id] = cached
            bins.append(cached.bin)
        return bins

    def _new_bin(self, container: ContainerView, view: NodeView, leaving: set[tuple[ContainerId, ResidentKey]]) -> Bin:
        at, known = view.at, view.functions
        room_bytes = container.free_bytes + container.freeing_bytes
        rates = weight = 0.0
        functions = 0
        ready: list[ResidentKey] = []
        staying: list[tuple[ResidentView, float, float]] = []
        for resident in container.residents:
            if resident.state is UNLOADING:
                continue
            if leaving and (container.id, resident.function) in leaving:
                room_bytes += resident.charged_bytes
                continue
            each = saves = 0.0
            if resident.is_template:
                if resident.state is LOADED:
                    ready.append(resident.function)
            else:
                functions += 1
                function = known.get(resident.function)
                if function is not None and function.forecast is not None:
                    each = function.forecast.rate(at) * function.needs
                    saves = saves_s(function, function.copies - 1)
                    rates += each
                    weight += each * saves
            if resident.state is LOADED and not is_function_template(resident.function):
                staying.append((resident, each, saves))
        g = until_first_call_s(rates, self.horizon_s)
        loaded: list[Resident] = []
        for resident, each, saves in staying:
            value_s = each * saves * g
            fixed_s = 0.0
            if resident.is_template:
                fixed_s = self._template_s(view, resident.function)
            elif resident.function == container.owner:
                fixed_s = (AT_HOME - 1.0) * value_s
            size_bytes = resident.charged_bytes
            density = (value_s + fixed_s) / (size_bytes or 1)
            loaded.append(Resident(resident.function, size_bytes, each, saves, fixed_s, density, resident.is_template))
        if len(loaded) > 1:
            loaded.sort(key=_CHEAPEST_BYTE_FIRST)
        return Bin(
            container.id,
            container.namespace,
            room_bytes,
            [r.function for r in container.residents],
            ready,
            rates,
            weight,
            loaded,
            loaded[0].density if loaded else math.inf,
            self.max_residents - functions,
            g,
        )

    def _template_s(self, view: NodeView, key: ResidentKey) -> float:
        worth_s = self._templates_s.get(key)
        if worth_s is None:
            worth_s = self._templates_s[key] = template_s(view, key, self._misses)
        return worth_s

    # -- templates -----------------------------------------------------------------------------------------------------

    def _templates(self, view: NodeView) -> Iterable[SuggestLoad]:
        """Loads of templates, the most valuable first: each template at most once, and at most one in a container."""
        worth = {key: self._template_s(view, key) for key in view.templates}
        taken: set[ContainerId] = set()
        for key in sorted(worth, key=lambda k: (-worth[k], k)):
            template = view.templates[key]
            for container in view.containers:
                if container.namespace != template.namespace or container.free_bytes < template.resident_bytes:
                    continue
                if container.id not in taken and all(r.function != key for r in container.residents):
                    taken.add(container.id)
                    reason = f"a miss here would import for {template.library_s:.2f} s"
                    yield SuggestLoad(container.id, key, template.resident_bytes, worth[key], (), reason)
                    break

    # -- reasons -------------------------------------------------------------------------------------------------------

    def _suggest(self, placed: Placed) -> SuggestLoad:
        item = placed.item
        if item.never_called:
            why = "never called yet, memory is idle"
        else:
            why = f"P(used within {self.horizon_s:g} s) = {placed.chance:.2f}, saves {item.saves_s:.2f} s"
        if placed.victims:
            why += f"; displaces {', '.join(v.key for v in placed.victims)} worth {placed.lost_s:.2f} s"
        return SuggestLoad(
            placed.bin.id,
            item.key,
            item.bytes_in(placed.bin),
            placed.chance * item.saves_s,
            tuple(v.key for v in placed.victims),
            why,
        )


_CHEAPEST_BYTE_FIRST = attrgetter("density", "key")
_KEY = attrgetter("key")
_DENSITY = attrgetter("density")


def _most_per_byte_first(items: list[Item]) -> list[Item]:
    """Sort items in place, and return them. Equal ones are sorted by key."""
    items.sort(key=_KEY)
    items.sort(key=_DENSITY, reverse=True)
    return items


@dataclass(slots=True, eq=False)
class _CachedItem:
    """The item of a candidate. It is valid until `until`, as long as the function has the same view."""

    view: FunctionView
    until: float
    item: Item
    chance: float
    """Probability of a call within the horizon."""
    due_at: float = -math.inf
    """When it may be loaded at the earliest (P_load)."""
    fails_at: float = math.inf
    """When it is overdue and no longer loaded (P_offload)."""


@dataclass(slots=True, eq=False)
class _CachedBin:
    """The bin of a container. It is valid until `until`, as long as the container has the same view."""

    bin: Bin
    view: ContainerView
    until: float
