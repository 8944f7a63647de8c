"""OpenWhisk's home nodes."""

from __future__ import annotations

from collections import Counter
from itertools import combinations
from math import gcd

import pytest

from instainfer.core.cluster import NodeView
from instainfer.core.errors import InternalError
from instainfer.policy.routing.home import HomeRouting, coprime_steps, home_hash

GUEST_HASH = 98708952
"""``"guest".hashCode()`` of Java."""


def nodes(count: int, *away: int) -> list[NodeView]:
    return [NodeView(f"n{slot}", slot not in away, 0) for slot in range(count)]


@pytest.mark.parametrize(("slots", "steps"), [(1, (1,)), (2, (1,)), (4, (1, 3)), (9, (1, 2, 5, 7)), (10, (1, 3, 7))])
def test_steps_as_in_openwhisk(slots: int, steps: tuple[int, ...]) -> None:
    assert coprime_steps(slots) == steps


@pytest.mark.parametrize("slots", range(1, 60))
def test_steps_are_coprime_to_the_slots_and_to_each_other(slots: int) -> None:
    steps = coprime_steps(slots)
    assert all(gcd(step, slots) == 1 for step in steps)
    assert all(gcd(one, other) == 1 for one, other in combinations(steps, 2))


def test_the_hash_is_java_s() -> None:
    assert home_hash("guest", "") == GUEST_HASH
    assert home_hash("", "polygenelubricants") == 2**31  # hashCode() is the smallest int
    assert home_hash("", "\N{GRINNING FACE}") == 1772899  # two UTF-16 units: 0xD83D * 31 + 0xDE00


def test_a_function_stays_at_home() -> None:
    routing = HomeRouting()
    first = routing.route("guest", "guest/f@0.0.1", nodes(7))
    assert first.reason == "home"
    assert first.node == f"n{home_hash('guest', 'guest/f@0.0.1') % 7}"
    assert all(routing.route("guest", "guest/f@0.0.1", nodes(7)) == first for _ in range(3))


def test_another_slot_s_absence_moves_nobody_whose_home_is_there() -> None:
    routing = HomeRouting()
    for number in range(50):
        function = f"guest/f{number}@0.0.1"
        home = routing.route("guest", function, nodes(5)).node
        away = (int(home[1:]) + 1) % 5
        assert routing.route("guest", function, nodes(5, away)).node == home


@pytest.mark.parametrize("slots", [2, 3, 4, 6, 7, 12])
def test_the_walk_finds_the_only_healthy_node(slots: int) -> None:
    for alone in range(slots):
        away = [slot for slot in range(slots) if slot != alone]
        for number in range(20):
            assert HomeRouting().route("guest", f"guest/f{number}", nodes(slots, *away)).node == f"n{alone}"


def test_functions_of_one_home_flee_to_several_neighbours() -> None:
    at_home = [f"guest/f{n}" for n in range(2000) if HomeRouting().route("guest", f"guest/f{n}", nodes(9)).node == "n4"]
    refuges = Counter(HomeRouting().route("guest", function, nodes(9, 4)).node for function in at_home)
    assert len(refuges) == len(coprime_steps(9))


def test_without_a_healthy_node_it_must_not_be_asked() -> None:
    with pytest.raises(InternalError):
        HomeRouting().route("guest", "guest/f", nodes(2, 0, 1))
