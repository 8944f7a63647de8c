"""Decides which items to put into which bins, so that the sum of the bins' values grows as much as possible.

An item is a function that wants a place, and a bin is an idle container. The value of a bin is g(Lambda) x W, as
described in `valuation`. This is a multiple knapsack problem in which an item's value depends on its neighbours. It is
NP-hard even without neighbours. SoCC 2024, section 4.2, uses a dynamic program for it, and its successor a greedy
algorithm by value per byte. Here there are two steps:

1. *Greedy*. Items are taken in the order of their value per byte. Each goes into the bin where it adds most, of the
   `LOOKED_AT` bins with room whose residents are called least (`Packing.insert`). Where it fits nowhere or adds little,
   it may displace residents, those of the least value per byte first. It does so only if all needed victims can be
   ended, and if the sum grows by more than `hysteresis` x the value that is lost (`Packing.displace`).
2. *Local improvement* (`improving.improve`), when several items were placed in one plan.

A bin in which victims have to end takes no other item in the same plan. Tests compare results with the exact optimum.
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
"""Number of bins with room that an item is tried in. They are those with the lowest Lambda, where it keeps most
of its value."""
UNLIMITED: Final = 1 << 30
quietest_first: Final = attrgetter("rate", "id")
"""Sort key of bins: a quiet bin is one whose residents are called rarely (low Lambda)."""


@dataclass(slots=True, eq=False)
class Item:
    """A function that wants a place."""

    key: ResidentKey
    namespace: str
    rate: float
    """Expected calls per second that would use it."""
    saves_s: float
    """Seconds that it saves each of these calls."""
    plain_bytes: int
    """Its size if it is loaded without a template."""
    forked_bytes: int
    """Its size if it is forked from a template in the same bin."""
    alone_s: float
    """Its value in seconds in a bin without neighbours."""
    density: float
    """`alone_s` per byte."""
    template: ResidentKey | None = None
    never_called: bool = False
    """Whether it was never called. Then it only takes free room, and does not count as a neighbour of others."""

    def bytes_in(self, place: Bin) -> int:
        if self.template is not None and self.template in place.templates:
            return self.forked_bytes
        return self.plain_bytes


@dataclass(slots=True, eq=False)
class Resident:
    """A function or a template in a bin that can be ended."""

    key: ResidentKey
    size_bytes: int
    rate: float
    """Calls per second. 0 for a template, and for a function that was never called."""
    saves_s: float
    """Seconds that it saves each of these calls."""
    fixed_s: float
    """Value that is lost in addition if it is ended: the value of a template, or of a function in its own container."""
    density: float
    """Its whole value in its bin, in seconds per byte."""
    is_template: bool


@dataclass(slots=True, eq=False)
class Bin:
    """An idle container while a plan is made."""

    id: ContainerId
    namespace: str
    room_bytes: int
    """Bytes that are free now, or soon, without ending more residents."""
    holds: Collection[ResidentKey]
    """Keys of all residents in it, in any state."""
    templates: Collection[ResidentKey]
    """Keys of its templates that functions can be forked from."""
    rate: float
    """Lambda: the sum of the rates of the functions that stay and have been called before."""
    weight: float
    """W: the sum of rate x seconds saved over these functions."""
    loaded: list[Resident]
    """Residents that may be displaced, those of the least value per byte first."""
    least_density: float
    """Lowest `density` in `loaded`. ``inf`` if it is empty."""
    seats: int = UNLIMITED
    """How many more functions it may hold."""
    g: float = 0.0
    """g(Lambda) for the present `rate`."""

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
        """Undo `put`."""
        self.room_bytes += item.bytes_in(self)
        self.seats += 1
        if not item.never_called:
            self.rate = max(0.0, self.rate - item.rate)
            self.weight = max(0.0, self.weight - item.rate * item.saves_s)
            self.g = until_first_call_s(self.rate, horizon_s)


@dataclass(slots=True, eq=False)
class Placed:
    """An item that was given a place in a bin."""

    item: Item
    bin: Bin
    adds_s: float
    """By how many seconds the sum of the values grows."""
    chance: float
    """Probability that a call uses it within the horizon, given the neighbours at the time of placing."""
    victims: tuple[Resident, ...] = ()
    lost_s: float = 0.0
    """Value of the victims in seconds. It is already subtracted in `adds_s`."""


class Packing:
    """A packing to which items are added one by one. A bin that gets an item is replaced by a changed copy.

    An item is not put beside neighbours if the probability that it is called before them is below `least_chance`: it
    would most likely be ended unused, and its load would waste processor time.
    """

    def __init__(self, bins: Iterable[Bin], horizon_s: float, hysteresis: float, least_chance: float) -> None:
        self.horizon_s = horizon_s
        self.hysteresis = hysteresis
        self.least_chance = least_chance
        self.bins = sorted(bins, key=quietest_first)
        """Sorted by `quietest_first`."""
        # These lists make plans faster: an item that is too large for every bin is not tried in any, and an item is
        # tried for displacing only in bins with residents.
        self._rooms_bytes = sorted([each.room_bytes for each in self.bins])
        self._with_victims = [each for each in self.bins if each.loaded]

    def place(self, item: Item, bins: Sequence[Bin] | None = None) -> Placed | None:
        """Put an item where the sum of the values grows most. None if it grows nowhere.

        `bins` restricts the search; they must be sorted like `self.bins`.
        """
        looked_at = self.bins if bins is None else bins
        placed = self.insert(item, looked_at)
        if not item.never_called:
            placed = self.displace(item, looked_at, placed)
        if placed is not None:
            self.enter(placed)
        return placed

    def insert(self, item: Item, bins: Sequence[Bin]) -> Placed | None:
        """The best place for an item that has room for it. It is not put there."""
        if bins is self.bins and bins and item.forked_bytes > self._rooms_bytes[-1]:
            return None
        best: Bin | None = None
        gain_s = 0.0
        tries = LOOKED_AT
        # `Item.bytes_in` is written out here and in `displace`, because this code runs for every item and bin.
        key, namespace, template = item.key, item.namespace, item.template
        forked_bytes, plain_bytes = item.forked_bytes, item.plain_bytes
        for each in bins:
            room_bytes = each.room_bytes
            if room_bytes < forked_bytes or (room_bytes < plain_bytes and template not in each.templates):
                continue
            if each.namespace != namespace or each.seats <= 0 or key in each.holds:
                continue
            if item.rate < self.least_chance * (item.rate + each.rate):
                break  # the residents of the next bins are called even more often
            adds_s = self.gain(item, each)
            if adds_s > gain_s:
                best, gain_s = each, adds_s
            tries -= 1
            if tries == 0:
                break
        return None if best is None else Placed(item, best, gain_s, self.chance(item, best.rate))

    def chance(self, item: Item, neighbours: float) -> float:
        """Probability that an item is called within the horizon and before neighbours with this sum of rates."""
        return item.rate * until_first_call_s(neighbours + item.rate, self.horizon_s)

    def gain(self, item: Item, place: Bin) -> float:
        """By how many seconds the value of a bin grows with the item."""
        if item.never_called:
            return place.g * item.rate * item.saves_s
        rate, weight = place.rate + item.rate, place.weight + item.rate * item.saves_s
        return container_value_s(rate, weight, self.horizon_s) - place.value_s

    def loses(self, item: Item, place: Bin) -> float:
        """By how many seconds the value of a bin would shrink without an item that is in it."""
        rate, weight = max(0.0, place.rate - item.rate), max(0.0, place.weight - item.rate * item.saves_s)
        return place.value_s - container_value_s(rate, weight, self.horizon_s)

    def displace(self, item: Item, bins: Sequence[Bin], best: Placed | None) -> Placed | None:
        """A better place than `best` where residents have to be ended. If there is none, `best`."""
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
            # A bound: the bytes that are missing cost at least `least_density` each.
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
        """Put a placed item into its bin. A bin in which victims have to end is removed from this packing."""
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
