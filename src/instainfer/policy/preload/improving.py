"""Local improvement of a packing that the greedy algorithm has made.

Only items that are planned and not loaded yet are moved, so a move costs nothing but computing time. There are three
moves. They are tried in turn until none of them helps or the effort (see `EFFORT`) is used up. If effort is left, the
search starts again from packings that are filled in other orders.

- *Refill* one bin: take its planned items out. Then choose, from these and from the items without a place, the subset
  of most value that fits, by branch and bound. Items that lose their place may find another bin.
- *Exchange* two planned items of different bins, or move one item, if an item without a place then fits in and adds
  more value than the change costs.
- *Refill two* bins together, when the other moves no longer help: for each subset of items for the first bin, find the
  best subset of the remaining items for the second bin.

Worked example. A bin has room for 100 MB. Item a has 60 MB and is worth 6.1 s; items b and c have 50 MB each and are
worth 5 s each. The greedy algorithm takes a, which is worth most per byte, and then nothing else fits. Refilling finds
b and c: 10 s instead of 6.1 s.

Quality, measured on random instances against the exact optimum (`tests/unit/test_packing.py`): the greedy algorithm
alone is 4.8 % below the optimum on average and a third below it in the worst case. With the first two moves, the worst
case is 4.3 % below, and with all three 0.7 %.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, combinations, islice
from operator import attrgetter
from typing import Final

from .packing import Bin, Item, Packing, Placed, quietest_first
from .valuation import container_value_s, until_first_call_s

EFFORT: Final = 14_000
"""Number of subsets and pairs of items that are looked at in one plan."""
CHOICE: Final = 10
"""Number of items without a place that a bin may be refilled from, besides its own items."""
PER_BIN: Final = 400
"""Most subsets that are looked at for one bin."""
PER_PAIR: Final = 2000
"""Most subsets that are looked at for two bins together."""
REFILL: Final = 60
"""Additional effort that is counted for each refill, in subsets. It covers finding new places for other items."""
SECOND: Final = 8
"""Additional effort that is counted for each search for the best subset of the second of two bins."""
STARTS: Final[Sequence[Callable[[Item], float]]] = (
    attrgetter("alone_s"),
    attrgetter("rate"),
    attrgetter("plain_bytes"),
    lambda item: -item.rate,
)
"""Sort keys, largest first: the orders in which an empty packing is filled when the search starts again."""
LEAST_S: Final = 1e-9
"""A smaller growth of the value may be a rounding error and does not count."""


@dataclass(slots=True)
class _Search:
    """Searches the best subset of `items` for a bin: depth first, in the given order (most value per byte first).

    Branch and bound: a branch is cut off if it cannot give a better subset even when the room that is left is filled
    with the best value per byte of the remaining items (the bound of the fractional knapsack; Dantzig,
    "Discrete-Variable Extremum Problems", 1957).
    """

    place: Bin
    items: Sequence[Item]
    horizon_s: float
    looked_at: int = 0
    """Number of subsets that were looked at."""
    chosen: list[Item] = field(default_factory=list)
    best: list[Item] = field(default_factory=list)
    best_s: float = 0.0
    """Value of the bin, in seconds, with the items in `best`."""

    sizes_bytes: list[int] = field(init=False)
    """Sizes of the items. These lists are computed once, because a plan looks at thousands of subsets."""
    rates: list[float] = field(init=False)
    weights: list[float] = field(init=False)
    ratios: list[float] = field(init=False)
    """For each item, the largest weight per byte among it and all later items."""

    def __post_init__(self) -> None:
        place = self.place
        self.best_s = place.value_s
        self.sizes_bytes = [item.bytes_in(place) for item in self.items]
        self.rates = [item.rate for item in self.items]
        self.weights = [item.rate * item.saves_s for item in self.items]
        ratios = [weight / (size or 1) for weight, size in zip(self.weights, self.sizes_bytes, strict=True)]
        self.ratios = list(accumulate(reversed(ratios), max))[::-1]

    def run(self) -> None:
        place = self.place
        self._go(0, place.room_bytes, place.rate, place.weight, until_first_call_s(place.rate, self.horizon_s))

    def _go(self, start: int, room_bytes: int, rate: float, weight: float, at_most_s: float) -> None:
        """Look at all subsets that add items from index `start` on.

        `at_most_s` is g(Lambda) of the chosen items. It only shrinks when more items are added.
        """
        sizes_bytes, rates, weights, chosen = self.sizes_bytes, self.rates, self.weights, self.chosen
        if len(chosen) >= self.place.seats:
            return
        horizon_s = self.horizon_s
        for n in range(start, len(sizes_bytes)):
            if at_most_s * (weight + room_bytes * self.ratios[n]) <= self.best_s:
                return  # the bound: filling the room with the best bytes left would not help
            size_bytes = sizes_bytes[n]
            if size_bytes > room_bytes:
                continue
            if self.looked_at >= PER_BIN:
                return
            self.looked_at += 1
            rate_now, weight_now = rate + rates[n], weight + weights[n]
            chosen.append(self.items[n])
            # This is `container_value_s` written out, to save a call.
            once_s = -math.expm1(-rate_now * horizon_s) / rate_now if rate_now > 0.0 else horizon_s
            value_s = once_s * weight_now
            if value_s > self.best_s:
                self.best_s, self.best = value_s, list(chosen)
            self._go(n + 1, room_bytes - size_bytes, rate_now, weight_now, once_s)
            chosen.pop()

    def subsets(self) -> Iterator[tuple[list[Item], float]]:
        """All subsets that fit, each with the value of the bin, the empty one first. The same list is used for all."""
        yield self.chosen, self.place.value_s
        yield from self._subsets(0, self.place.room_bytes, self.place.rate, self.place.weight)

    def _subsets(self, start: int, room_bytes: int, rate: float, weight: float) -> Iterator[tuple[list[Item], float]]:
        if len(self.chosen) >= self.place.seats:
            return
        for n in range(start, len(self.items)):
            if self.sizes_bytes[n] > room_bytes:
                continue
            rate_now, weight_now = rate + self.rates[n], weight + self.weights[n]
            self.chosen.append(self.items[n])
            yield self.chosen, container_value_s(rate_now, weight_now, self.horizon_s)
            yield from self._subsets(n + 1, room_bytes - self.sizes_bytes[n], rate_now, weight_now)
            self.chosen.pop()


class _Improver:
    """The search. `contents` and `bins` hold the present packing, and `left` the items without a place."""

    def __init__(self, packing: Packing, planned: Sequence[Placed], left: Sequence[Item]) -> None:
        self.packing = packing
        self.horizon_s = packing.horizon_s
        self.contents: dict[str, list[Item]] = {each.id: [] for each in packing.bins}
        for placed in planned:
            self.contents[placed.bin.id].append(placed.item)
        self.bins = {each.id: each.copy() for each in packing.bins}
        self.left = list(left)
        self.effort = EFFORT

    @property
    def value_s(self) -> float:
        return sum(place.value_s for place in self.bins.values())

    def begin_again(self, order: Callable[[Item], float]) -> None:
        """Take all planned items out, and fill the bins again in another order, the largest `order` first."""
        items = list(self.left)
        for id_, contents in self.contents.items():
            for item in contents:
                self.bins[id_].take_out(item, self.horizon_s)
            items += contents
            contents.clear()
        items.sort(key=lambda item: (-order(item), item.key))
        self.left = sorted([item for item in items if not self._settle(item)], key=_most_per_byte_first)

    def placed(self) -> list[Placed]:
        """The present packing, the items that add most value first."""
        packing = self.packing
        placed = [
            Placed(item, place.copy(), packing.loses(item, place), packing.chance(item, place.rate - item.rate))
            for place in self.bins.values()
            for item in self.contents[place.id]
        ]
        return sorted(placed, key=lambda each: (-each.adds_s, each.item.key))

    def run(self) -> None:
        better = True
        while better and self.effort > 0:
            better = False
            for place in list(self.bins.values()):
                if self.left and self.effort > 0:
                    better |= self._refill(place)
            if self.left and self.effort > 0:
                better |= self._exchange()
            if not better and self.effort > 0:
                better = self._refill_two()

    # -- moves ---------------------------------------------------------------------------------------------------------

    def _refill(self, place: Bin) -> bool:
        before = self.contents[place.id]
        value_s = place.value_s
        room_bytes = place.room_bytes + sum(each.bytes_in(place) for each in before)
        choice = list(islice((item for item in self.left if _fits_alone(item, place, room_bytes)), CHOICE))
        if not choice:
            return False
        self._empty(place)
        search = _Search(place, sorted([*before, *choice], key=_most_per_byte_first), self.horizon_s)
        search.run()
        self.effort -= REFILL + search.looked_at
        better = search.best_s > value_s + LEAST_S
        self._fill(place, search.best if better else before)
        if better:
            self._place_anew(before, search.best)
        return better

    def _refill_two(self) -> bool:
        """Refill two bins together; the first pair of bins for which that helps."""
        for here, there in combinations(list(self.bins.values()), 2):
            if here.namespace == there.namespace and self.effort > 0 and self._refill_both(here, there):
                return True
        return False

    def _refill_both(self, here: Bin, there: Bin) -> bool:
        before = (*self.contents[here.id], *self.contents[there.id])
        items = sorted([*before, *islice(self.left, CHOICE)], key=_most_per_byte_first)
        value_s = here.value_s + there.value_s
        best = (self._empty(here), self._empty(there))
        items_here = [item for item in items if _fits_alone(item, here, here.room_bytes)]
        items_there = [item for item in items if _fits_alone(item, there, there.room_bytes)]
        most = _Search(there, items_there, self.horizon_s)
        most.run()
        best_s = least_s = value_s + LEAST_S
        effort = PER_PAIR
        for chosen, chosen_s in _Search(here, items_here, self.horizon_s).subsets():
            effort -= 1
            if effort <= 0:
                break
            if chosen_s + most.best_s <= best_s:
                continue
            taken = {item.key for item in chosen}
            rest = _Search(there, [item for item in items_there if item.key not in taken], self.horizon_s)
            rest.run()
            effort -= SECOND + rest.looked_at
            if chosen_s + rest.best_s > best_s:
                best, best_s = (list(chosen), rest.best), chosen_s + rest.best_s
        self.effort -= PER_PAIR - effort + REFILL
        self._fill(here, best[0])
        self._fill(there, best[1])
        if best_s > least_s:
            self._place_anew(before, (*best[0], *best[1]))
        return best_s > least_s

    def _empty(self, place: Bin) -> list[Item]:
        """Take the planned items out of a bin, and return them."""
        contents = self.contents[place.id]
        for item in contents:
            place.take_out(item, self.horizon_s)
        return contents

    def _fill(self, place: Bin, items: list[Item]) -> None:
        for item in items:
            place.put(item, self.horizon_s)
        self.contents[place.id] = items

    def _place_anew(self, before: Sequence[Item], now: Sequence[Item]) -> None:
        """After a refill, find other places for the items in `before` that lost theirs, and update `left`."""
        placed = {item.key for item in now}
        self.left = [item for item in self.left if item.key not in placed]
        for item in before:
            if item.key not in placed and not self._settle(item):
                insort(self.left, item, key=_most_per_byte_first)

    def _exchange(self) -> bool:
        """Make room for an item without a place: let two other items change places, or move one, if that helps."""
        for item in self.left[:CHOICE]:
            for place in self.bins.values():
                if place.namespace != item.namespace or item.key in place.holds or place.seats <= 0:
                    continue
                for goes in list(self.contents[place.id]):
                    for other in self.bins.values():
                        if other is place or other.namespace != place.namespace or goes.key in other.holds:
                            continue
                        for comes in (None, *self.contents[other.id]):
                            self.effort -= 1
                            if self.effort <= 0:
                                return False
                            if self._try(item, place, goes, other, comes):
                                return True
        return False

    def _try(self, item: Item, place: Bin, goes: Item, other: Bin, comes: Item | None) -> bool:
        freed_bytes = goes.bytes_in(place) - (0 if comes is None else comes.bytes_in(place))
        takes_bytes = goes.bytes_in(other) - (0 if comes is None else comes.bytes_in(other))
        if place.room_bytes + freed_bytes < item.bytes_in(place) or takes_bytes > other.room_bytes:
            return False
        if (comes is not None and comes.key in place.holds) or (comes is None and other.seats <= 0):
            return False
        before_s = place.value_s + other.value_s
        self._move(goes, place, other)
        if comes is not None:
            self._move(comes, other, place)
        place.put(item, self.horizon_s)
        if place.value_s + other.value_s > before_s + LEAST_S:
            self.contents[place.id].append(item)
            self.left.remove(item)
            return True
        place.take_out(item, self.horizon_s)
        if comes is not None:
            self._move(comes, place, other)
        self._move(goes, other, place)
        return False

    def _move(self, item: Item, here: Bin, there: Bin) -> None:
        here.take_out(item, self.horizon_s)
        self.contents[here.id].remove(item)
        there.put(item, self.horizon_s)
        self.contents[there.id].append(item)

    # -- help ----------------------------------------------------------------------------------------------------------

    def _settle(self, item: Item) -> bool:
        found = self.packing.insert(item, sorted(self.bins.values(), key=quietest_first))
        if found is None:
            return False
        found.bin.put(item, self.horizon_s)
        self.contents[found.bin.id].append(item)
        return True


def _most_per_byte_first(item: Item) -> float:
    return -item.density


def _fits_alone(item: Item, place: Bin, room_bytes: int) -> bool:
    return item.bytes_in(place) <= room_bytes and item.namespace == place.namespace and item.key not in place.holds


def improve(packing: Packing, planned: Sequence[Placed], left: Sequence[Item]) -> list[Placed]:
    """Improve a packing. Returns the new places, the items that add most value first.

    `planned` are the items of the present packing; none may have victims or be `never_called`. `left` are the items
    without a place, most value per byte first. The sum of the values never shrinks.
    """
    improver = _Improver(packing, planned, left)
    improver.run()
    best_s, best = improver.value_s, improver.placed()
    for order in STARTS:
        if improver.effort <= 0:
            break
        improver.begin_again(order)
        improver.run()
        if improver.value_s > best_s + LEAST_S:
            best_s, best = improver.value_s, improver.placed()
    return best
