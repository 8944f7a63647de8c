"""What everything in a node's memory is worth."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.views import AT, LIBRARY_MIB, TEMPLATE, container, exactly, function, library, node, resident

from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import MIB, function_template_key
from instainfer.core.ports import ContainerView, Contents, FunctionView, TemplateView
from instainfer.core.rates import SETTLED_S
from instainfer.policy.objective import (
    HORIZON_S,
    LOSS_HORIZON_S,
    Valued,
    library_gain,
    miss_rate,
    resident_rate,
    resident_worth_s,
    template_gain,
    template_rate,
    until_first_call_s,
)

OWN = {key: function_template_key(key) for key in ("a", "b")}
MINUTE = 1 / 60


def contents(
    place: ContainerView,
    *functions: FunctionView,
    others: tuple[ContainerView, ...] = (),
    libraries: tuple[TemplateView, ...] = (),
    policy: Valued | None = None,
) -> Contents:
    known = node(functions, [place, *others], libraries=libraries).known
    return (policy or Valued()).contents(place, known, AT)


def gains(found: Contents) -> dict[str, float]:
    return {stand.key: stand.gain for stand in found.stands}


# -- the worked example --------------------------------------------------------------------------------------------


def test_the_worked_example() -> None:
    resnet50 = function("resnet50", exactly(MINUTE), 2.0)
    often = function("often", exactly(1 / 5), 1.0)
    alone = contents(container("c", 0, [resident("resnet50", 100)]), resnet50)
    assert until_first_call_s(alone.rate, HORIZON_S) == pytest.approx(9.2, abs=0.05)
    assert gains(alone)["resnet50"] == pytest.approx(0.031, abs=0.0005)
    beside = contents(container("c", 0, [resident("resnet50", 100), resident("often", 100)]), resnet50, often)
    assert until_first_call_s(beside.rate, HORIZON_S) == pytest.approx(4.1, abs=0.05)
    assert gains(beside)["resnet50"] == pytest.approx(0.014, abs=0.0005)


# -- residents -----------------------------------------------------------------------------------------------------


@example(rate=5e-324, more=0.0, horizon_s=0.5)
@example(rate=5e-324, more=0.125, horizon_s=2.5)
@given(rate=st.floats(0.0, 1e3), more=st.floats(0.0, 1e3), horizon_s=st.floats(0.1, 1e5))
def test_the_time_until_the_first_call_falls_from_the_horizon_with_the_rate(
    rate: float, more: float, horizon_s: float
) -> None:
    g = until_first_call_s(rate, horizon_s)
    assert 0.0 < g <= horizon_s * (1 + 1e-9)
    assert until_first_call_s(rate + more, horizon_s) <= g * (1 + 1e-9)
    assert until_first_call_s(0.0, horizon_s) == horizon_s
    if rate * horizon_s > 50:
        assert g == pytest.approx(1 / rate)


def test_the_gains_of_residents_are_the_loads_that_the_first_call_saves() -> None:
    """By the definition, and not by the sums that the policy keeps."""
    a, b, c = function("a", exactly(0.1), 3.0), function("b", exactly(0.02), 5.0), function("c", exactly(0.3), 0.5)
    place = container("c", 0, [resident(key, 100) for key in "abc"])
    found = contents(place, a, b, c)
    total = 0.1 + 0.02 + 0.3
    first_within_horizon = (1 - math.exp(-total * HORIZON_S)) / total / HORIZON_S
    assert gains(found) == {
        "a": pytest.approx(0.1 * 3.0 * first_within_horizon),
        "b": pytest.approx(0.02 * 5.0 * first_within_horizon),
        "c": pytest.approx(0.3 * 0.5 * first_within_horizon),
    }
    assert found.gain == pytest.approx(sum(gains(found).values()))
    assert found.rate == pytest.approx(total)
    assert found.weight == pytest.approx(0.1 * 3 + 0.02 * 5 + 0.3 * 0.5)
    assert found.loss_s == pytest.approx(sum(resident_worth_s(each, AT) for each in (a, b, c)))


def test_the_least_gain_per_byte_comes_first_and_of_equals_the_first_by_name() -> None:
    functions = [function("big", exactly(0.1)), function("small", exactly(0.1)), function("same", exactly(0.1))]
    place = container("c", 0, [resident("small", 100), resident("same", 100), resident("big", 300)])
    assert [stand.key for stand in contents(place, *functions).stands] == ["big", "same", "small"]
    assert [stand.size_bytes for stand in contents(place, *functions).stands] == [300 * MIB, 100 * MIB, 100 * MIB]


def test_the_rate_of_a_function_that_was_never_called_is_that_of_first_calls() -> None:
    never = function("never", None)
    assert (resident_rate(never, AT), resident_rate(never, AT, 0.01)) == (0.0, 0.01)
    called = function("called", exactly(MINUTE))
    assert resident_rate(called, AT, 0.01) == pytest.approx(MINUTE)
    found = contents(container("c", 0, [resident("never", 100)]), never)
    assert (gains(found), found.rate, found.loss_s) == ({"never": 0.0}, 0.0, 0.0)


def test_one_of_several_residents_counts_for_the_calls_that_need_it() -> None:
    twice = function("a", exactly(0.1), 2.0, busy_s=0.25, needs=0.3)
    place, other = container("c", 0, [resident("a", 100)]), container("d", 0, [resident("a", 100)])
    found = contents(place, twice, others=(other,))
    rate = 0.1 * 0.3
    assert found.rate == pytest.approx(rate)
    assert gains(found)["a"] == pytest.approx(rate * 0.5 * until_first_call_s(rate, HORIZON_S) / HORIZON_S)


def test_what_is_being_ended_counts_for_nothing_and_what_is_being_loaded_may_not_be_ended() -> None:
    place = container(
        "c",
        0,
        [
            resident("a", 100),
            resident("going", 100, ResidentState.UNLOADING),
            resident("coming", 100, ResidentState.LOADING),
        ],
    )
    functions = [function(key, exactly(0.1)) for key in ("a", "going", "coming")]
    found = contents(place, *functions)
    assert [stand.key for stand in found.stands] == ["a"]
    assert found.rate == pytest.approx(0.2)
    assert found.loss_s == pytest.approx(2 * resident_worth_s(functions[0], AT))


def test_what_nothing_is_known_of_is_worth_nothing_and_may_be_ended() -> None:
    place = container("c", 0, [resident("gone", 100), resident(OWN["a"], 100), resident(TEMPLATE, LIBRARY_MIB)])
    found = contents(place)
    assert found.gain == found.rate == found.loss_s == 0.0
    assert {"gone", TEMPLATE} <= set(gains(found))


def test_an_empty_container_is_worth_nothing() -> None:
    assert contents(container("c", 500)) == Contents()


# -- function templates --------------------------------------------------------------------------------------------


def test_a_template_counts_for_the_mean_rate_of_all_remembered_misses() -> None:
    missed = function("a", exactly(0.5), 2.0, own=True, misses=11, missed_since=AT - 540)
    assert miss_rate(missed, AT) == pytest.approx((11 - 0.5) / (540 + SETTLED_S))
    assert miss_rate(missed, AT + 600) == pytest.approx(10.5 / (1140 + SETTLED_S))
    assert miss_rate(function("a", exactly(0.5)), AT) == 0.0
    (here,) = node([missed], [container("c", 0, [resident("a", 100)])]).candidates
    assert template_rate(here, AT) == pytest.approx(miss_rate(missed, AT)), "a resident serves the next call"


def test_without_a_resident_the_next_call_finds_none_so_a_template_counts_for_it() -> None:
    often = function("a", exactly(0.5), own=True, misses=1, missed_since=AT - 540)
    assert template_rate(often, AT) == pytest.approx(0.5)
    before_a_burst_ended = function("a", exactly(0.001), own=True, misses=60, missed_since=AT - 540)
    assert template_rate(before_a_burst_ended, AT) == pytest.approx(59.5 / 600), "the mean is not what came last"


def test_the_copies_of_a_template_share_what_it_gains() -> None:
    missed = function("a", exactly(0.1), 2.0, own=True)
    rate = template_rate(missed, AT)
    assert template_gain(missed, rate, 1) == pytest.approx(2.0 * rate)
    assert template_gain(missed, rate, 4) == pytest.approx(0.5 * rate)
    place = container("c", 0, [resident(OWN["a"], 100)])
    alone = contents(place, missed)
    shared = contents(place, missed, others=(container("d", 0, [resident(OWN["a"], 100)]),))
    assert gains(alone)[OWN["a"]] == pytest.approx(2.0 * rate)
    assert gains(shared)[OWN["a"]] == pytest.approx(1.0 * rate)


def test_a_template_is_not_ended_by_calls_and_ends_no_neighbour() -> None:
    missed = function("a", exactly(0.1), 2.0, own=True)
    busy = function("busy", exactly(2.0), 1.0)
    alone = contents(container("c", 0, [resident(OWN["a"], 100)]), missed)
    assert (alone.rate, alone.weight, alone.loss_s) == (0.0, 0.0, 0.0)
    beside = contents(container("c", 0, [resident(OWN["a"], 100), resident("busy", 100)]), missed, busy)
    assert gains(beside)[OWN["a"]] == gains(alone)[OWN["a"]]
    assert gains(beside)["busy"] == gains(contents(container("c", 0, [resident("busy", 100)]), busy))["busy"]
    assert [stand.rate for stand in beside.stands if stand.is_template] == [0.0]


def test_ending_a_template_for_a_call_costs_what_it_would_have_saved_and_its_making() -> None:
    missed = function("a", exactly(0.1), 2.0, own=True)
    place = container("c", 0, [resident(OWN["a"], 100)])
    dear, free = Valued(), Valued()
    dear.processor_price_s, free.processor_price_s = 0.5, 0.0
    (stand,) = contents(place, missed, policy=free).stands
    assert stand.loss_s == pytest.approx(stand.gain * LOSS_HORIZON_S)
    (stand,) = contents(place, missed, policy=dear).stands
    assert stand.loss_s == pytest.approx(stand.gain * LOSS_HORIZON_S + 0.5 * 2.0)
    (stand,) = contents(container("c", 0, [resident("b", 100)]), function("b", exactly(0.1))).stands
    assert stand.loss_s == 0.0, "residents end in any case"


def test_a_template_that_is_being_made_may_not_be_ended() -> None:
    missed = function("a", exactly(0.1), own=True)
    assert contents(container("c", 0, [resident(OWN["a"], 100, ResidentState.LOADING)]), missed).stands == ()


# -- library templates ---------------------------------------------------------------------------------------------


def test_a_library_template_saves_its_imports_to_the_calls_that_need_it() -> None:
    template = library(1 / 30, library_s=1.5)
    assert library_gain(template, 1) == pytest.approx(0.05)
    assert library_gain(template, 2) == pytest.approx(0.025)
    place = container("c", 0, [resident(TEMPLATE, LIBRARY_MIB)])
    (stand,) = contents(place, libraries=(template,)).stands
    assert (stand.key, stand.size_bytes, stand.is_template) == (TEMPLATE, LIBRARY_MIB * MIB, True)
    assert stand.gain == pytest.approx(0.05)
    assert stand.loss_s == pytest.approx(0.05 * LOSS_HORIZON_S + 0.2 * 1.5)
    (shared,) = contents(
        place, libraries=(template,), others=(container("d", 0, [resident(TEMPLATE, LIBRARY_MIB)]),)
    ).stands
    assert shared.gain == pytest.approx(0.025)


@pytest.mark.parametrize("state", [ResidentState.LOADED, ResidentState.LOADING])
def test_a_library_template_stays_as_long_as_a_function_template_shares_its_memory(state: ResidentState) -> None:
    its = function("a", exactly(0.1), own=True, library=TEMPLATE)
    foreign = function("b", exactly(0.1), own=True)
    libraries = (library(),)

    def may_be_ended(own: str, state: ResidentState) -> bool:
        place = container("c", 0, [resident(TEMPLATE, LIBRARY_MIB), resident(own, 100, state)])
        return TEMPLATE in gains(contents(place, its, foreign, libraries=libraries))

    assert not may_be_ended(OWN["a"], state)
    assert may_be_ended(OWN["b"], state)
    assert may_be_ended(OWN["a"], ResidentState.UNLOADING)


# -- the loss of a call that takes a container ---------------------------------------------------------------------


def test_a_resident_is_worth_a_load_as_often_as_a_call_comes_within_a_minute() -> None:
    each = function("a", exactly(MINUTE), 2.0)
    assert Valued().worth(each, AT) == pytest.approx(2.0 * (1 - math.exp(-MINUTE * LOSS_HORIZON_S)))
    assert Valued().worth(function("a", exactly(100.0), 2.0), AT) == pytest.approx(2.0)
    assert Valued().worth(function("a", None, 2.0), AT) == 0.0


def test_a_policy_may_value_residents_in_its_own_way() -> None:
    class Flat(Valued):
        def worth(self, function: FunctionView, at: float) -> float:
            return 7.0

    place = container("c", 0, [resident("a", 100), resident("b", 100)])
    assert contents(place, function("a", None), function("b", None), policy=Flat()).loss_s == 14.0


# -- what could be made --------------------------------------------------------------------------------------------


def test_what_could_be_made_is_weighed_with_its_price() -> None:
    template, one_more = Valued().weigh(replace(function("a", exactly(MINUTE), 2.0), own_template=OWN["a"]), AT)
    assert (template.key, one_more.key) == (OWN["a"], "a")
    assert one_more.saves_s == 2.0
    assert template.price_s == one_more.price_s == pytest.approx(0.2 * 2.0)


def test_beside_a_function_template_no_resident_is_made() -> None:
    assert list(Valued().weigh(replace(function("a", exactly(MINUTE), 2.0), own_copies=1), AT)) == []
