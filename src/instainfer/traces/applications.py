"""Draws synthetic applications like those of Azure 2019: how many functions each has, and what triggers them.

The number of functions: between two published points, the share of applications with more than n functions is a power
of n.

The set of triggers depends on the number of functions, but no source says how. We take the joint table with the fewest
assumptions, found by iterative proportional fitting. The table starts with size and triggers independent of each other,
except that an application with n triggers has at least n functions. Then it is scaled in turn to the published
shares of the sizes, of the ten most common sets, and of the sets with each trigger, until all fit. We add one
assumption: larger applications are more likely to have orchestrations; otherwise 2.9 % of the applications could not
have 8 % of the functions. Each trigger of the set starts one function. What starts the application's other functions is
drawn with weights that are fitted in the same rounds; with them the triggers of all functions match the published
shares within 0.01.
"""

from __future__ import annotations

import random
from bisect import bisect_left
from functools import cache
from itertools import accumulate, combinations, pairwise
from math import log
from typing import NamedTuple

from .published import COMBINATIONS, FUNCTIONS_PER_APP, TRIGGERS

_LARGEST = int(FUNCTIONS_PER_APP[-1][0])
_CLASSES = ((1, 1), (2, 2), (3, 3), (4, 5), (6, 10), (11, 20), (21, _LARGEST))
"""Ranges of application sizes; within a range the triggers do not depend on the size."""
_MOST_TRIGGERS = 4
_ROUNDS = 60

_Cell = tuple[int, str]
"""A range of sizes (index into `_CLASSES`) and a set of triggers."""


class Sets(NamedTuple):
    """Sets of triggers, written with the letters of `published.TRIGGERS`, and how common they are."""

    sets: tuple[str, ...]
    summed: tuple[float, ...]
    """For each set, the share of this set and all sets before it."""


class Triggers(NamedTuple):
    by_class: tuple[Sets, ...]
    weights: dict[str, float]
    """By trigger: its weight when the triggers of functions beyond the first of each trigger are drawn."""


def draw_application(rng: random.Random) -> list[str]:
    """Draw an application: the letter of the trigger of each of its functions."""
    size = bisect_left(up_to(), 1 - rng.random())
    by_class, weights = triggers()
    sets = by_class[next(number for number, (_, most) in enumerate(_CLASSES) if size <= most)]
    letters = rng.choices(sets.sets, cum_weights=sets.summed)[0]
    return [*letters, *rng.choices(letters, [weights[letter] for letter in letters], k=size - len(letters))]


@cache
def up_to() -> tuple[float, ...]:
    """Return the share of the applications with at most 0, 1, 2, ... functions."""
    more = [1.0]
    for (few, at_few), (many, at_many) in pairwise(FUNCTIONS_PER_APP[:-1]):
        power = log((1 - at_many) / (1 - at_few)) / log(many / few)
        last = _LARGEST if many == FUNCTIONS_PER_APP[-2][0] else int(many)
        more += [(1 - at_few) * (n / few) ** power for n in range(int(few), last)]
    return (*(1 - share for share in more), 1.0)


@cache
def triggers() -> Triggers:
    """Return the sets of triggers by size, and the weights, fitted to the published shares."""
    sizes = [up_to()[n] - up_to()[n - 1] for n in range(1, _LARGEST + 1)]
    shares = [sum(sizes[least - 1 : most]) for least, most in _CLASSES]
    means = [
        sum(n * sizes[n - 1] for n in range(least, most + 1)) / share
        for (least, most), share in zip(_CLASSES, shares, strict=True)
    ]
    every = ["".join(letters) for k in range(1, _MOST_TRIGGERS + 1) for letters in combinations(TRIGGERS, k)]
    common = {_ordered(letters): percent / 100 for letters, percent in COMBINATIONS.items()}
    table = {
        (row, letters): share * (means[row] if "O" in letters else 1.0)
        for row, share in enumerate(shares)
        for letters in every
        if len(letters) <= _CLASSES[row][0]
    }
    rest = {
        letter: trigger.apps / 100 - sum(share for letters, share in common.items() if letter in letters)
        for letter, trigger in TRIGGERS.items()
    }
    goals = [
        *(([cell for cell in table if cell[1] == letters], share) for letters, share in common.items()),
        *(
            ([cell for cell in table if letter in cell[1] and cell[1] not in common], share)
            for letter, share in rest.items()
        ),
        *(([cell for cell in table if cell[0] == row], share) for row, share in enumerate(shares)),
    ]
    functions = sum(trigger.functions for trigger in TRIGGERS.values())
    weights = dict.fromkeys(TRIGGERS, 1.0)
    for _ in range(_ROUNDS):
        for cells, share in goals:
            factor = share / sum(table[cell] for cell in cells)
            for cell in cells:
                table[cell] *= factor
        mix = _mix(table, means, weights)
        for letter, trigger in TRIGGERS.items():
            weights[letter] *= (trigger.functions / functions / mix[letter]) ** 0.5
    rows = ([(letters, share) for (row, letters), share in table.items() if row == n] for n in range(len(_CLASSES)))
    by_class = (
        Sets(tuple(letters for letters, _ in row), tuple(accumulate(share for _, share in row))) for row in rows
    )
    return Triggers(tuple(by_class), weights)


def _ordered(letters: str) -> str:
    return "".join(letter for letter in TRIGGERS if letter in letters)


def _mix(table: dict[_Cell, float], means: list[float], weights: dict[str, float]) -> dict[str, float]:
    """Return the expected share of the functions that each trigger starts."""
    mix = dict.fromkeys(TRIGGERS, 0.0)
    for (row, letters), share in table.items():
        summed = sum(weights[letter] for letter in letters)
        for letter in letters:
            mix[letter] += share * (1 + (means[row] - len(letters)) * weights[letter] / summed)
    functions = sum(mix.values())
    return {letter: number / functions for letter, number in mix.items()}
