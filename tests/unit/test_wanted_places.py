"""Places that somebody asked for, as the valuation and the planner see them."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from support.views import AT, container, every, function, node, resident

from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import function_template_key
from instainfer.core.ports import ContainerView, FunctionView, SuggestCreate, Suggestion, SuggestLoad, SuggestOffload
from instainfer.policy.objective import HELD, LOSS_HORIZON_S, Valued
from instainfer.policy.preload.opportunistic import Opportunistic

OWN = function_template_key("a")


def wanted(key: str = "a", wanted: int = 1, places: int = 0, **more: Any) -> FunctionView:
    return function(key, None, wanted=wanted, places=places, memory_bytes=500 << 20, **more)


def plan(functions: list[FunctionView], containers: list[ContainerView], **more: Any) -> tuple[Suggestion, ...]:
    return Opportunistic().plan(node(functions, containers, **more)).suggestions


def test_it_is_loaded_at_once_whatever_the_forecast_says() -> None:
    late = replace(wanted(), forecast=every(1e9))
    (load,) = plan([late], [container("c1", 500)])
    assert isinstance(load, SuggestLoad)
    assert (load.container, load.function, load.victims) == ("c1", "a", ())
    assert "somebody asked for it" in load.reason


def test_the_function_template_comes_first_and_residents_follow() -> None:
    (load,) = plan([wanted(own=True)], [container("c1", 500)])
    assert isinstance(load, SuggestLoad)
    assert load.function == OWN
    there = container("c1", 400, [resident(OWN, 100)])
    (load,) = plan([wanted(wanted=2, places=1, own=True)], [there, container("c2", 500)])
    assert isinstance(load, SuggestLoad)
    assert (load.container, load.function) == ("c2", "a")


def test_others_end_for_it_but_not_what_somebody_else_asked_for() -> None:
    full = container("c1", 150, [resident("b", 350)])
    offload, load = plan([wanted(mib=400), function("b", every(1.0))], [full])
    assert isinstance(offload, SuggestOffload)
    assert isinstance(load, SuggestLoad)
    assert (offload.function, load.function, load.victims) == ("b", "a", ())
    held = wanted("b", places=1)
    only = plan([wanted(), held], [container("c1", 400, [resident("b", 100)])])
    assert [type(each) for each in only] == [SuggestCreate]


def test_a_resident_stands_alone() -> None:
    there = container("c1", 300, [resident("a", 100), resident("b", 100)])
    (clearing,) = plan([wanted(), function("b", every(60.0))], [there])
    assert clearing == SuggestOffload("c1", "b", clearing.reason)  # type: ignore[union-attr]
    alone = container("c1", 400, [resident("a", 100)])
    assert plan([wanted(places=1), function("b", every(60.0))], [alone]) == ()


def test_function_templates_may_stand_together() -> None:
    held = wanted("b", places=1, own_copies=1)
    there = container("c1", 400, [resident(function_template_key("b"), 100)])
    (load,) = plan([wanted(own=True), held], [there])
    assert isinstance(load, SuggestLoad)
    assert (load.container, load.function) == ("c1", OWN)


@pytest.mark.parametrize("spends", [True, False])
def test_a_container_is_created_where_there_is_none(spends: bool) -> None:
    (create,) = plan([wanted()], [], spare_mib=500 if spends else 0, spends=lambda _: spends)
    assert isinstance(create, SuggestCreate)
    assert plan([wanted(mib=600)], []) == (), "it does not fit in a container of its own"


def test_as_many_as_are_wanted_are_enough() -> None:
    assert plan([wanted(wanted=2, places=2)], [container("c1", 500)], first_rate=0.0) == ()


@pytest.mark.parametrize(("places", "gain"), [(1, HELD), (2, HELD), (3, 0.0)])
def test_the_last_places_are_held(places: int, gain: float) -> None:
    view = wanted(wanted=2, places=places)
    seen = node([view], [container("c1", 400, [resident("a", 100)])])
    contents = seen.contents(seen.containers[0])
    assert contents.stands[0].gain == gain
    assert contents.loss_s == gain * LOSS_HORIZON_S
    assert Valued().worth(view, AT) == gain * LOSS_HORIZON_S
    assert math.isfinite(contents.loss_s)


def test_beside_its_template_a_resident_is_not_held() -> None:
    view = wanted(places=1)
    seen = node([view], [container("c1", 400, [resident("a", 50), resident(OWN, 50)])])
    gains = {stand.key: stand.gain for stand in seen.contents(seen.containers[0]).stands}
    assert gains[OWN] == HELD
    assert gains["a"] < 1.0


def test_beside_others_a_resident_makes_no_place() -> None:
    there = container("c1", 300, [resident("a", 100), resident("b", 100)])
    seen = node([wanted(places=1), function("b", None)], [there])
    assert all(stand.gain < 1.0 for stand in seen.contents(seen.containers[0]).stands)
    leaving = container("c1", 300, [resident("a", 100), resident("b", 100, ResidentState.UNLOADING)])
    seen = node([wanted(places=1), function("b", None)], [leaving])
    assert seen.contents(seen.containers[0]).stands[0].gain == HELD
