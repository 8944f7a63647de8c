"""Which items should which bin hold, so that the sum of values grows? Multiple knapsacks with neighbours.

The value of a bin is that of `valuation`: g(Lambda) x W. The problem is NP-hard already
without neighbours (SoCC 2024, section 4.2, gives it to a dynamic program, its successor to a greedy by value per byte).
Ours, in two steps:

1. *Greedy*: items in the order of value per byte; each goes where it adds most, of the `LOOKED_AT` quietest bins with
   room (`Packing.insert`). Where it fits nowhere, or adds little, it may displace residents that are there already:
   the cheapest per byte first, all that are needed or none, and only if the sum grows by more than `hysteresis` of
   what is lost (`Packing.displace`).
2. *Local improvement* (`improving.improve`), where several items were placed at once.

Victims are complete sets, and a bin in which somebody is to be ended takes nobody else in the same plan.

In tests the result is held against the exact optimum.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final

from ...core.model import ContainerId, ResidentKey
from .valuation import container_value_s, until_first_call_s

LOOKED_AT: Final = 6
"""Bins with room that an item is tried in; the quietest ones, since noise is what takes value away."""
UNLIMITED: Final = 1 << 30
quietest_first: Final = attrgetter("rate", "id")
"""What bins are sorted by."""


@dataclass(slots=True, eq=False)
class Item:
    """A function that wants a place."""

    key: ResidentKey
    namespace: str
    rate: float
    saves_s: float
    plain_bytes: int
    forked_bytes: int
    """What it takes beside its template."""
    alone_s: float
    """What it is worth where it has no neighbours."""
    density: float
    """What a byte of it is worth there."""
    template: ResidentKey | None = None
    never_called: bool = False
    """Never called: it takes what is free, and pushes nobody out."""

    def bytes_in(self, place: Bin) -> int:
        if self.template is not None and self.template in place.templates:
            return self.forked_bytes
        return self.plain_bytes


@dataclass(slots=True, eq=False)
class Resident:
    """Something in a bin that can be ended."""

    key: ResidentKey
    size_bytes: int
    rate: float
    """0 for a function that was never called, and for a template, which calls do not end."""
    saves_s: float
    fixed_s: float
    """What it is worth besides, when it is to be ended: a template's value, or that of being at home."""
    density: float
    """What a byte of it is worth in its bin."""
    is_template: bool


@dataclass(slots=True, eq=False)
class Bin:
    """An idle container, as a plan sees it."""

    id: ContainerId
    namespace: str
    room_bytes: int
    """Free now or soon, without ending anybody."""
    holds: Collection[ResidentKey]
    """Everything in it, in whatever state."""
    templates: Collection[ResidentKey]
    """Templates that can be forked from."""
    rate: float
    """Lambda: of the functions that stay and have been called before."""
    weight: float
    """W: the sum of their rates x seconds saved."""
    loaded: list[Resident]
    """Those that may be displaced, the cheapest byte first."""
    least_density: float
    """Value of their cheapest byte; ``inf`` where nobody can be displaced."""
    seats: int = UNLIMITED
    """Functions it may hold besides."""
    g: float = 0.0
    """g(Lambda) as it is now."""

    @property
    def value_s(self) -> float:
        return self.g * self.weight

    def copy(self) -> Bin:
        return Bin(
            self.id,
            self.namespace,
            self.room_bytes,
            self.holds,
            self.templates,
            self.rate,
            self.weight,
            self.loaded,
            self.least_density,
            self.seats,
            self.g,
        )

    def put(self, item: Item, horizon_s: float) -> None:
        self.room_bytes -= item.bytes_in(self)
        self.seats -= 1
        if not item.never_called:
            self.rate += item.rate
            self.weight += item.rate * item.saves_s
            self.g = until_first_call_s(self.rate, horizon_s)

    def take_out(self, item: Item, horizon_s: float) -> None:
        """The inverse of `put`."""
        self.room_bytes += item.bytes_in(self)
        self.seats += 1
        if not item.never_called:
            self.rate = max(0.0, self.rate - item.rate)
            self.weight = max(0.0, self.weight - item.rate * item.saves_s)
            self.g = until_first_call_s(self.rate, horizon_s)


@dataclass(slots=True, eq=False)
class Placed:
    item: Item
    bin: Bin
    adds_s: float
    """By how much the sum of values grows."""
    chance: float
    """Probability of being used within the horizon, beside those that were there when it was placed."""
    victims: tuple[Resident, ...] = ()
    lost_s: float = 0.0
    """What the victims were worth; part of `adds_s`."""


class Packing:
    """A plan in the making: items go into bins one by one, and copies of those that get one keep the books.

    `least_chance`: where an item would be called before its neighbours more rarely than that, it is not worth the load:
    it would burn CPU to be ended again.
    """

    def __init__(self, bins: Iterable[Bin], horizon_s: float, hysteresis: float, least_chance: float) -> None:
        self.horizon_s = horizon_s
        self.hysteresis = hysteresis
        self.least_chance = least_chance
        self.bins = sorted(bins, key=quietest_first)
        """The quietest first."""
        # Kept beside them, since plans ask for every item: whom no room is large enough for looks at none of them, and
        # who would displace somebody only where there is somebody.
        self._rooms_bytes = sorted([each.room_bytes for each in self.bins])
        self._with_victims = [each for each in self.bins if each.loaded]

    def place(self, item: Item, bins: Sequence[Bin] | None = None) -> Placed | None:
        """Put an item where the sum of values grows most; None where that is nowhere."""
        looked_at = self.bins if bins is None else bins
        placed = self.insert(item, looked_at)
        if not item.never_called:
            placed = self.displace(item, looked_at, placed)
        if placed is not None:
            self.enter(placed)
        return placed

    def insert(self, item: Item, bins: Sequence[Bin]) -> Placed | None:
        """The best place that is free."""
        if bins is self.bins and bins and item.forked_bytes > self._rooms_bytes[-1]:
            return None
        best: Bin | None = None
        gain_s = 0.0
        tries = LOOKED_AT
        # `bytes_in` spelt out, here and in `displace`: plans ask for every item and bin.
        key, namespace, template = item.key, item.namespace, item.template
        forked_bytes, plain_bytes = item.forked_bytes, item.plain_bytes
        for each in bins:
            room_bytes = each.room_bytes
            if room_bytes < forked_bytes or (room_bytes < plain_bytes and template not in each.templates):
                continue
            if each.namespace != namespace or each.seats <= 0 or key in each.holds:
                continue
            if item.rate < self.least_chance * (item.rate + each.rate):
                break  # the next ones are louder still
            adds_s = self.gain(item, each)
            if adds_s > gain_s:
                best, gain_s = each, adds_s
            tries -= 1
            if tries == 0:
                break
        return None if best is None else Placed(item, best, gain_s, self.chance(item, best.rate))

    def chance(self, item: Item, neighbours: float) -> float:
        """Probability that it is called within the horizon, and before others that are called at that rate."""
        return item.rate * until_first_call_s(neighbours + item.rate, self.horizon_s)

    def gain(self, item: Item, place: Bin) -> float:
        """By how much the bin's value grows by an item."""
        if item.never_called:
            return place.g * item.rate * item.saves_s
        rate, weight = place.rate + item.rate, place.weight + item.rate * item.saves_s
        return container_value_s(rate, weight, self.horizon_s) - place.value_s

    def loses(self, item: Item, place: Bin) -> float:
        """By how much the bin's value would shrink without an item of it."""
        rate, weight = max(0.0, place.rate - item.rate), max(0.0, place.weight - item.rate * item.saves_s)
        return place.value_s - container_value_s(rate, weight, self.horizon_s)

    def displace(self, item: Item, bins: Sequence[Bin], best: Placed | None) -> Placed | None:
        """A better place than `best` among the full ones, at the cost of who is there; else `best`."""
        most_s = item.alone_s
        better_than_s = 0.0 if best is None else best.adds_s
        key, namespace, template = item.key, item.namespace, item.template
        forked_bytes, plain_bytes = item.forked_bytes, item.plain_bytes
        for each in self._with_victims if bins is self.bins else bins:
            if not each.loaded:
                continue
            lacks_bytes = (forked_bytes if template in each.templates else plain_bytes) - each.room_bytes
            if lacks_bytes <= 0:
                if each.seats > 0:
                    continue
                lacks_bytes = 0
            # The cheapest bytes there cost at least so much.
            if most_s - lacks_bytes * each.least_density * (1 + self.hysteresis) <= better_than_s:
                continue
            if each.namespace != namespace or each.seats < 0 or key in each.holds:
                continue
            found = self._victims(item, each, most_s - better_than_s)
            if found is not None and found.adds_s > better_than_s:
                best, better_than_s = found, found.adds_s
        return best

    def _victims(self, item: Item, place: Bin, most_s: float) -> Placed | None:
        lacks_bytes = item.bytes_in(place) - place.room_bytes
        seats, rate, weight, lost_s = place.seats, place.rate, place.weight, 0.0
        victims: list[Resident] = []
        for resident in place.loaded:
            if lacks_bytes <= 0 and seats > 0:
                break
            if resident.key == item.template or (lacks_bytes <= 0 and resident.is_template):
                continue
            victims.append(resident)
            lacks_bytes -= resident.size_bytes
            seats += not resident.is_template
            rate -= resident.rate
            weight -= resident.rate * resident.saves_s
            lost_s += resident.rate * resident.saves_s * place.g + resident.fixed_s
            if lost_s >= most_s:
                return None
        rate = max(0.0, rate) + item.rate
        if lacks_bytes > 0 or seats <= 0 or item.rate < self.least_chance * rate:
            return None
        weight = max(0.0, weight) + item.rate * item.saves_s
        fixed_s = sum(victim.fixed_s for victim in victims)
        adds_s = container_value_s(rate, weight, self.horizon_s) - fixed_s - place.value_s
        if adds_s <= self.hysteresis * lost_s:
            return None
        return Placed(item, place, adds_s, self.chance(item, rate - item.rate), tuple(victims), lost_s)

    def enter(self, placed: Placed) -> None:
        """Keep the bins' books; one in which somebody is to be ended first is done with."""
        place = placed.bin
        self.bins.remove(place)
        del self._rooms_bytes[bisect_left(self._rooms_bytes, place.room_bytes)]
        if place.loaded:
            self._with_victims.remove(place)
        if not placed.victims:
            fuller = place.copy()
            fuller.put(placed.item, self.horizon_s)
            insort(self.bins, fuller, key=quietest_first)
            insort(self._rooms_bytes, fuller.room_bytes)
            if fuller.loaded:
                insort(self._with_victims, fuller, key=quietest_first)
