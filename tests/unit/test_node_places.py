"""Places of functions that somebody has asked for, what has to give way to them, and off-loading on request."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from support.nodes import A, B, C, CheckedNode, function, none, only
from support.world import World

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Failure, FailureKind, Function, StartKind, function_template_key
from instainfer.core.node import NodeSettings, NodeState
from instainfer.core.ports import KeepAlive, Policies
from instainfer.invoker.snapshot import places, snapshot
from instainfer.policy.keepalive.fixed import Fixed
from instainfer.policy.keepalive.greedy_dual import GreedyDual
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.keepalive.pagurus import Pagurus
from instainfer.policy.predict.poisson import Poisson
from instainfer.policy.preload.opportunistic import Opportunistic

OWN = function_template_key(A)
KEEPALIVES = {
    "fixed": lambda: Fixed(60.0),
    "greedy_dual": GreedyDual,
    "objective": Objective,
    "objective, at a price": lambda: Objective(0.05),
    "pagurus": lambda: Pagurus(30.0, 60.0),
}


def new_world(
    budget_mib: int = 2048,
    keepalive: KeepAlive | None = None,
    *,
    own: bool = False,
    functions: tuple[Function, ...] = (),
) -> World:
    settings = NodeSettings(budget_mib * MIB, max_loads=2, function_templates=own)
    world = World(NodeState(settings, Policies(keepalive or Objective(), Poisson(), Opportunistic())))
    for each in functions or (function(A), function(B), function(C)):
        world.feed(e.FunctionRegistered(0.0, each))
    world.run_until_quiet()
    return world


def want(world: World, key: str, places: int) -> None:
    world.feed(e.PlacesWanted(world.at, key, places))
    world.run_until_quiet()


def ready(world: World, key: str) -> int:
    """In how many containers a call of a function would find it, or its template."""
    keys = {key, function_template_key(key)}
    return sum(any(c.residents.get(each) for each in keys) for c in world.containers.values())


def call(world: World, activation: str, key: str) -> StartKind:
    world.call(activation, key)
    world.run_until_quiet()
    reply = world.answered[activation]
    assert isinstance(reply, d.Reply)
    return reply.start_kind


def calls_of_others(world: World, keys: tuple[str, ...], count: int, every_s: float = 1.0) -> None:
    for number in range(count):
        world.pass_time(every_s)
        call(world, f"{world.at}-{number}", keys[number % len(keys)])


@pytest.mark.parametrize("own", [False, True], ids=["residents", "function templates"])
@pytest.mark.parametrize("name", KEEPALIVES)
def test_places_are_made_without_a_call_and_stay(name: str, own: bool) -> None:
    world = new_world(keepalive=KEEPALIVES[name](), own=own)
    want(world, A, 2)
    assert ready(world, A) == 2
    calls_of_others(world, (B, C), 20)
    assert ready(world, A) == 2
    world.pass_time(100_000.0)
    world.run_until_quiet()
    assert ready(world, A) == 2
    assert call(world, "a1", A) in (StartKind.PRELOADED, StartKind.FORKED)


def test_a_function_template_makes_the_first_place_and_residents_the_others() -> None:
    world = new_world(4096, own=True)
    want(world, A, 3)
    stands = [set(container.residents) for container in world.containers.values()]
    assert sum(OWN in each for each in stands) == 1
    assert sum(A in each and OWN not in each for each in stands) == 2


def test_a_place_comes_back_after_it_was_used() -> None:
    """Its process ends with the call, and later another function takes the container."""
    fresh = replace(function(A), fresh=True)
    world = new_world(functions=(fresh, function(B), function(C)))
    want(world, A, 1)
    for number in range(3):
        assert call(world, f"a{number}", A) is StartKind.PRELOADED
        assert ready(world, A) == 1


def test_with_one_container_others_are_still_served_and_the_place_comes_back() -> None:
    world = new_world(512)
    want(world, A, 1)
    assert ready(world, A) == 1
    assert call(world, "b1", B) is StartKind.PREWARMED
    assert ready(world, A) == 1, "it was made again, although B was called a moment ago"
    assert ready(world, B) == 0, "a call of it would end A"


def test_others_take_another_container_than_the_one_that_is_wanted() -> None:
    world = new_world(1024, Fixed())
    want(world, A, 1)
    (place,) = [c.id for c in world.containers.values() if A in c.residents]
    calls_of_others(world, (B, C), 12, every_s=30.0)
    assert A in world.containers[place].residents
    assert world.node.books.preloads.wasted == 0


def test_containers_of_other_namespaces_are_stopped_for_a_place() -> None:
    world = new_world(1024, Fixed(), functions=(function(A), function("u/x@1"), function("u/y@1")))
    call(world, "x1", "u/x@1")
    call(world, "y1", "u/y@1")
    want(world, A, 1)
    assert ready(world, A) == 1
    want(world, A, 3)
    assert ready(world, A) == 2, "the node has no more memory"


def test_places_of_several_functions_do_not_displace_each_other() -> None:
    world = new_world(1024)
    for key in (A, B, C):
        want(world, key, 1)
    started = world.node.books.preloads.started
    assert [ready(world, key) for key in (A, B, C)] == [1, 1, 0]
    world.pass_time(10_000.0)
    world.run_until_quiet()
    assert world.node.books.preloads.started == started


def test_when_the_wish_ends_keep_alive_counts_again() -> None:
    world = new_world(keepalive=Fixed(60.0))
    want(world, A, 1)
    world.pass_time(1000.0)
    world.run_until_quiet()
    assert ready(world, A) == 1
    want(world, A, 0)
    assert world.containers == {}


def test_more_places_than_are_wanted_end_as_usual() -> None:
    world = new_world(keepalive=Fixed(60.0))
    want(world, A, 2)
    world.pass_time(1000.0)
    want(world, A, 1)
    assert ready(world, A) == 1
    assert len(world.containers) == 1


def test_off_loading_ends_everything_that_is_idle_until_the_next_call() -> None:
    world = new_world(own=True)
    want(world, A, 2)
    call(world, "a1", A)
    world.feed(e.OffloadAsked(world.at, A))
    world.run_until_quiet()
    assert ready(world, A) == 0
    world.pass_time(1000.0)
    calls_of_others(world, (B, C), 6)
    assert ready(world, A) == 0
    call(world, "a2", A)
    assert ready(world, A) == 2, "what is wanted counts again"
    world.feed(e.OffloadAsked(world.at, A))
    want(world, A, 1)
    assert ready(world, A) == 1


def test_a_running_call_is_not_touched_by_off_loading() -> None:
    node = CheckedNode()
    only(node.call(0.0, "a1", A), d.StartContainer)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    none(node.tell(e.OffloadAsked(2.0, A)), d.Offload, d.StopContainer)
    only(node.ran(2.1, "node-c1", "a1"), d.Reply)


def test_a_load_that_fails_is_not_tried_again_before_somebody_asks() -> None:
    node = CheckedNode(512, keys=[A], preloader=Opportunistic())
    only(node.tell(e.PlacesWanted(0.0, A, 1)), d.StartContainer)
    assert only(node.started(0.5, "node-c1"), d.Load).function == A
    none(node.tell(e.LoadFailed(1.0, "node-c1", A, Failure(FailureKind.LOAD_FAILED, "ImportError"))), d.Load)
    none(node.advance(500.0), d.Load)
    assert only(node.tell(e.PlacesWanted(500.0, A, 1)), d.Load).function == A


def test_events_about_unknown_functions_say_nothing() -> None:
    node = CheckedNode()
    assert node.tell(e.PlacesWanted(0.0, "t/unknown@1", 3)) == []
    assert node.tell(e.OffloadAsked(0.0, "t/unknown@1")) == []
    node.tell(e.FunctionRemoved(1.0, A))
    assert node.tell(e.PlacesWanted(2.0, A, 1)) == []


# -- keep_alive --------------------------------------------------------------------------------------------------------


def kept(key: str, keep_alive_s: float) -> Function:
    return replace(function(key), keep_alive_s=keep_alive_s)


@pytest.mark.parametrize("name", ["fixed", "greedy_dual", "objective", "pagurus"])
def test_the_author_says_how_long_a_container_is_kept_after_a_call(name: str) -> None:
    world = new_world(keepalive=KEEPALIVES[name](), functions=(kept(A, 300.0),))
    call(world, "a1", A)
    (place,) = [c.id for c in world.containers.values() if A in c.residents]
    world.pass_time(299.0)
    world.run_until_quiet()
    assert place in world.containers
    world.pass_time(2.0)
    world.run_until_quiet()
    assert place not in world.containers


def test_nothing_stays_of_a_call_with_a_keep_alive_of_0() -> None:
    world = new_world(keepalive=Fixed(), functions=(kept(A, 0.0), function(B)))
    call(world, "a1", A)
    world.pass_time(0.0)
    world.run_until_quiet()
    assert world.containers == {}


def test_what_is_kept_for_ever_stays_and_others_go_elsewhere() -> None:
    world = new_world(1024, Fixed(60.0), functions=(kept(A, math.inf), function(B), function(C)))
    call(world, "a1", A)
    calls_of_others(world, (B, C), 10)
    world.pass_time(100_000.0)
    world.run_until_quiet()
    assert call(world, "a2", A) is StartKind.WARM


def test_a_call_without_another_container_takes_the_one_that_is_kept() -> None:
    world = new_world(512, Fixed(60.0), functions=(kept(A, math.inf), function(B)))
    call(world, "a1", A)
    assert call(world, "b1", B) is StartKind.PREWARMED
    assert ready(world, A) == 0, "only what a call has left is kept; it is not made again"


# -- what status says --------------------------------------------------------------------------------------------------


def test_places_are_told_with_numbers() -> None:
    world = new_world(1024)
    assert places(world.node, A) == {"wanted": 0, "ready": 0, "unmet": None}
    want(world, A, 2)
    assert places(world.node, A) == {"wanted": 2, "ready": 2, "unmet": None}
    want(world, A, 3)
    assert places(world.node, A) == {"wanted": 3, "ready": 2, "unmet": "it needs 3 x 512 MB, the node has 1024 MB"}
    shot = snapshot(world.node, world.at)
    assert [each["places"]["ready"] for each in shot["functions"]] == [2, 0, 0]
    assert [r["value"] for c in shot["containers"] for r in c["residents"]] == [None, None]
    world.feed(e.OffloadAsked(world.at, A))
    world.run_until_quiet()
    told = places(world.node, A)
    assert told["ready"] == 0
    assert "off-loaded" in told["unmet"]
    assert places(world.node, "t/unknown@1") == {"wanted": 0, "ready": 0, "unmet": None}


def test_why_nothing_is_ready_is_told() -> None:
    node = CheckedNode(keys=[A])
    node.tell(e.PlacesWanted(0.0, A, 1))
    assert "preload.policy" in places(node.node, A)["unmet"]
    node = CheckedNode(512, keys=[A], preloader=Opportunistic())
    node.tell(e.PlacesWanted(0.0, A, 1))
    node.started(0.5, "node-c1")
    assert places(node.node, A) == {"wanted": 1, "ready": 0, "unmet": None}
    node.tell(e.LoadFailed(1.0, "node-c1", A, Failure(FailureKind.LOAD_FAILED, "ImportError")))
    assert places(node.node, A)["unmet"] == "it could not be loaded: ImportError"
