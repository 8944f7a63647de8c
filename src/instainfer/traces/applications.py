"""Made-up applications like those of Azure 2019: how many functions they have, and what starts each.

How many: the share of the applications with more than n functions is a power of n between the published points.

Which set of triggers an application has depends on how many functions it has; nobody published how. We take the joint
table that assumes least, by proportional fitting. It begins with independence, but an application of three triggers
has at least three functions, and scales in turn the sizes, the ten common sets, and the sets with each trigger, until
all of them have their published shares. One thing is added: orchestrations are the likelier the larger an application
is, or 2.9 % of the applications could not have 8 % of the functions. Every trigger of the set starts one function.
Which starts the others is drawn by weights that are found in the same rounds; they bring the mix of the functions to
what was published, within 0.01.
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
"""Applications of these sizes are alike in their triggers."""
_MOST_TRIGGERS = 4
_ROUNDS = 60

_Cell = tuple[int, str]
"""A class of sizes and a set of triggers."""


class Sets(NamedTuple):
    """Sets of triggers, in the letters of `published.TRIGGERS`, and how common each is among some applications."""

    sets: tuple[str, ...]
    summed: tuple[float, ...]
    """The shares of all up to each."""


class Triggers(NamedTuple):
    by_class: tuple[Sets, ...]
    weights: dict[str, float]
    """By letter: how common it is among the functions that an application has beyond one for each trigger."""


def draw_application(rng: random.Random) -> list[str]:
    """The letter of each of its functions' triggers."""
    size = bisect_left(up_to(), 1 - rng.random())
    by_class, weights = triggers()
    sets = by_class[next(number for number, (_, most) in enumerate(_CLASSES) if size <= most)]
    letters = rng.choices(sets.sets, cum_weights=sets.summed)[0]
    return [*letters, *rng.choices(letters, [weights[letter] for letter in letters], k=size - len(letters))]


@cache
def up_to() -> tuple[float, ...]:
    """The share of the applications with at most 0, 1, 2, ... functions."""
    more = [1.0]
    for (few, at_few), (many, at_many) in pairwise(FUNCTIONS_PER_APP[:-1]):
        power = log((1 - at_many) / (1 - at_few)) / log(many / few)
        last = _LARGEST if many == FUNCTIONS_PER_APP[-2][0] else int(many)
        more += [(1 - at_few) * (n / few) ** power for n in range(int(few), last)]
    return (*(1 - share for share in more), 1.0)


@cache
def triggers() -> Triggers:
    """The table of sizes and sets, fitted to what was published."""
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
    """The expected share of the functions that each trigger starts."""
    mix = dict.fromkeys(TRIGGERS, 0.0)
    for (row, letters), share in table.items():
        summed = sum(weights[letter] for letter in letters)
        for letter in letters:
            mix[letter] += share * (1 + (means[row] - len(letters)) * weights[letter] / summed)
    functions = sum(mix.values())
    return {letter: number / functions for letter, number in mix.items()}
