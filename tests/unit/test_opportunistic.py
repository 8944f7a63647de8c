"""The choice of what is loaded where, on hand-made views."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.views import AT, LIBRARY_MIB, TEMPLATE, container, every, exactly, function, library, node, resident, view

from instainfer.core.lifecycle import ResidentState
from instainfer.core.model import MIB, function_template_key
from instainfer.core.ports import ContainerView, FunctionView, NodeView, SuggestCreate, SuggestLoad
from instainfer.policy.objective import HORIZON_S, TERM_S, until_first_call_s
from instainfer.policy.predict.poisson import PoissonForecast
from instainfer.policy.preload.opportunistic import LOOKED_AT, Opportunistic

OWN = {key: function_template_key(key) for key in ("a", "b", "c")}


def loads(seen: NodeView, policy: Opportunistic | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    plan = (policy or Opportunistic()).plan(seen)
    return [(s.container, s.function, s.victims) for s in plan.suggestions if isinstance(s, SuggestLoad)]


def created(seen: NodeView, policy: Opportunistic | None = None) -> list[str]:
    plan = (policy or Opportunistic()).plan(seen)
    return [s.function for s in plan.suggestions if isinstance(s, SuggestCreate)]


# -- which ---------------------------------------------------------------------------------------------------------


def test_the_most_valuable_byte_comes_first() -> None:
    functions = {"slow": (every(60), 4.0, 100), "fast": (every(60), 1.0, 100), "big": (every(60), 4.0, 800)}
    seen = view(functions, {"c": (1000, [])}, slots=1)
    assert loads(seen) == [("c", "slow", ())]
    assert Opportunistic().plan(seen).waiting == ("fast", "big"), "the next plan tries them in this order"


def test_no_more_than_there_are_slots_and_one_for_each_container() -> None:
    functions = {"a": (every(60), 2.0, 100), "b": (every(60), 1.0, 100)}
    assert loads(view(functions, {"c1": (500, []), "c2": (500, [])}, slots=2)) == [("c1", "a", ()), ("c2", "b", ())]
    assert loads(view(functions, {"c1": (500, []), "c2": (500, [])}, slots=1)) == [("c1", "a", ())]
    assert loads(view(functions, {"c1": (500, [])}, slots=2)) == [("c1", "a", ())]
    none_free = Opportunistic().plan(view(functions, {"c1": (500, [])}, slots=0))
    assert (none_free.suggestions, none_free.waiting) == ((), ("a", "b"))


def test_who_is_not_due_yet_comes_back_with_the_time_when_it_is() -> None:
    plan = Opportunistic().plan(view({"a": (every(60, last=AT - 0.1), 2.0, 100)}, {"c": (500, [])}))
    assert plan.suggestions == ()
    ((when, key),) = plan.later
    assert (key, AT + 3.5 < when < AT + 3.7) == ("a", True)
    assert plan.waiting == ()


def test_what_is_overdue_is_loaded_all_the_same_and_stays_where_it_is() -> None:
    silent = {"a": (every(10, last=AT - 29), 2.0, 100)}
    assert loads(view(silent, {"c": (500, [])})) == [("c", "a", ())]
    assert Opportunistic().plan(view(silent, {"c": (500, ["a"])})).suggestions == ()


def test_namespaces_do_not_mix() -> None:
    place = container("c", 500, namespace="other")
    libraries = [library()]
    assert loads(node([function("a", every(60))], [place], libraries=libraries)) == []
    assert loads(node([], [place], libraries=libraries)) == []
    assert loads(node([function("a", every(60), own=True)], [place], libraries=libraries)) == []


def test_who_often_finds_all_its_residents_in_use_gets_one_more_in_another_container() -> None:
    def beside(lacks: float) -> list[tuple[str, str, tuple[str, ...]]]:
        seen = node(
            [function("a", every(5), lacks=lacks, busy_s=0.5)],
            [container("c1", 500, [resident("a", 100)]), container("c2", 500, [])],
        )
        return loads(seen)

    assert beside(0.5) == [("c2", "a", ())]
    assert beside(0.01) == []


def test_who_is_hardly_ever_called_is_not_worth_the_processor_time() -> None:
    def alone(gap_s: float, price_s: float = 0.2) -> list[tuple[str, str, tuple[str, ...]]]:
        seen = node([function("a", exactly(1 / gap_s))], [container("c", 500)])
        return loads(seen, Opportunistic(processor_price_s=price_s))

    assert alone(3600.0) == [("c", "a", ())]
    assert alone(86400.0) == []
    assert alone(86400.0, price_s=0.01) == [("c", "a", ())]
    assert alone(3600.0, price_s=1.5) == [], "it saves one call its load, and costs one load"


# -- function templates --------------------------------------------------------------------------------------------


def test_a_function_gets_its_template_before_a_resident() -> None:
    seen = node([function("a", every(60), own=True)], [container("c", 500)])
    assert loads(seen) == [("c", OWN["a"], ())]


def test_where_the_template_of_a_function_stands_nothing_more_is_loaded_for_it() -> None:
    with_own = container("c1", 500, [resident(OWN["a"], 100)])
    seen = node([function("a", every(60), own=True, lacks=1.0)], [with_own, container("c2", 500)], slots=2)
    assert Opportunistic().plan(seen).suggestions == ()
    coming = container("c1", 500, [resident(OWN["a"], 100, ResidentState.LOADING)])
    assert loads(node([function("a", every(60), own=True)], [coming, container("c2", 500)], slots=2)) == []


def test_a_template_is_not_put_off_until_the_next_call_is_due() -> None:
    just_called = every(60, last=AT - 0.1)
    plan = Opportunistic().plan(node([function("a", just_called, own=True)], [container("c", 500)]))
    assert [s.function for s in plan.suggestions] == [OWN["a"]]
    assert plan.later == ()


def test_a_template_is_made_beside_a_resident_of_its_function() -> None:
    """The next call finds the resident; those after it, that come too early for another one, find the template."""
    seen = node([function("a", every(60), own=True)], [container("c", 500, [resident("a", 100)])])
    assert loads(seen) == [("c", OWN["a"], ())]


def test_the_resident_of_a_function_gives_way_to_its_template() -> None:
    crowded = container("c", 50, [resident("a", 100)])
    assert loads(node([function("a", every(60), own=True)], [crowded])) == [("c", OWN["a"], ("a",))]
    others = container("c", 50, [resident("b", 100)])
    busier = function("b", every(20), own=False)
    assert loads(node([function("a", every(60), own=True), replace(busier, lacks=0.0)], [others])) == []


def test_a_template_that_would_hardly_ever_be_used_is_not_made_and_no_resident_in_its_place() -> None:
    rare = function("a", exactly(1 / 86400), own=True)
    assert loads(node([rare], [container("c", 500)])) == []
    assert loads(node([rare], [container("c", 500)]), Opportunistic(processor_price_s=0.01)) == [("c", OWN["a"], ())]


def test_who_is_rarely_missed_gets_no_template_however_often_it_is_called() -> None:
    """Its resident serves the calls."""
    never_missed = function("a", every(5), own=True, misses=1, missed_since=AT - 86400)
    assert loads(node([never_missed], [container("c", 500, [resident("a", 100)])])) == []
    often_missed = function("a", every(5), own=True, misses=30, missed_since=AT - 600)
    assert loads(node([often_missed], [container("c", 500, [resident("a", 100)])])) == [("c", OWN["a"], ())]


def test_the_library_template_that_a_function_template_brings_needs_room_too() -> None:
    def in_(place: ContainerView) -> list[tuple[str, int]]:
        seen = node([function("a", every(60), own=True, library=TEMPLATE)], [place], libraries=[library(0.0)])
        suggestions = Opportunistic().plan(seen).suggestions
        return [(s.function, s.resident_bytes) for s in suggestions if isinstance(s, SuggestLoad)]

    assert in_(container("c", 100 + LIBRARY_MIB)) == [(OWN["a"], (100 + LIBRARY_MIB) * MIB)]
    assert in_(container("c", 100 + LIBRARY_MIB - 1)) == []
    assert in_(container("c", 100, [resident(TEMPLATE, LIBRARY_MIB)])) == [(OWN["a"], 100 * MIB)]
    going = resident(TEMPLATE, LIBRARY_MIB, ResidentState.UNLOADING)
    assert in_(container("c", 99, [going])) == [], "its memory is soon free, but then it has to come again"


def test_without_residents_only_function_templates_are_made() -> None:
    only_templates = Opportunistic(residents=False)
    seen = node(
        [function("a", every(60), own=True), function("b", every(5), 9.0)],
        [container("c1", 500), container("c2", 500)],
        slots=3,
        libraries=[library()],
    )
    assert loads(seen, only_templates) == [("c1", OWN["a"], ())]
    no_own = node(
        [function("b", every(5), 9.0)],
        [container("c1", 500)],
        libraries=[library()],
        spare_mib=500,
        spends=lambda namespace: True,
    )
    assert only_templates.plan(no_own).suggestions == ()
    assert loads(no_own) == [("c1", "b", ())]


# -- where ---------------------------------------------------------------------------------------------------------


def test_a_place_beside_a_quiet_neighbour_is_better_than_beside_a_busy_one() -> None:
    functions = {"busy": (every(5), 1.0, 100), "quiet": (every(600), 1.0, 100), "new": (every(60), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, ["busy"]), "c2": (500, ["quiet"])}, slots=1)) == [("c2", "new", ())]


def test_the_least_called_places_are_looked_at_however_many_there_are() -> None:
    busy = [f"busy{n}" for n in range(2 * LOOKED_AT)]
    places = [container(f"c{n:02}", 500, [resident(key, 100)]) for n, key in enumerate(busy)]
    seen = node(
        [*(function(key, every(3), 1.0) for key in busy), function("new", every(60))], [*places, container("d", 500)]
    )
    assert loads(seen) == [("d", "new", ())]


def test_a_place_where_it_would_only_be_ended_again_is_not_worth_the_load() -> None:
    functions = {"busy": (every(1, last=AT - 0.5), 1.0, 100), "rare": (every(3000, last=AT - 1000), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, ["busy"])})) == []
    assert loads(view(functions, {"c1": (500, [])})) == [("c1", "busy", ())]
    assert loads(view({"rare": functions["rare"]}, {"c1": (500, [])})) == [("c1", "rare", ())]


def test_a_busy_newcomer_does_not_end_what_is_worth_more_again_and_again() -> None:
    slow = function("slow", every(20), 30.0)
    busy = function("busy", every(1, last=AT - 0.5), 0.5)
    assert loads(node([slow, busy], [container("c", 500, [resident("slow", 100)])])) == []
    assert loads(node([busy], [container("c", 500)])) == [("c", "busy", ())]


def test_a_template_does_not_disturb_its_neighbours() -> None:
    slow = function("slow", every(20), 30.0)
    busy = function("a", every(1, last=AT - 0.5), 0.5, own=True)
    assert loads(node([slow, busy], [container("c", 500, [resident("slow", 100)])])) == [("c", OWN["a"], ())]


def test_a_container_that_is_too_small_for_the_calls_is_not_used() -> None:
    for own in (False, True):
        large = function("a", every(60), own=own, memory_bytes=600 * MIB)
        found = loads(node([large], [container("c1", 500), container("c2", 200, limit_mib=600)]))
        assert [place for place, _, _ in found] == ["c2"], own
        assert loads(node([large], [container("c1", 500)])) == []


def test_a_resident_is_not_loaded_where_it_is() -> None:
    here = container("c", 500, [resident("a", 100, ResidentState.UNLOADING)])
    assert loads(node([function("a", every(60))], [here])) == []


def test_memory_that_is_being_freed_counts_as_room() -> None:
    going = container("c", 50, [resident("old", 100, ResidentState.UNLOADING)])
    assert loads(node([function("a", every(60), mib=150)], [going])) == [("c", "a", ())]
    assert loads(node([function("a", every(60), mib=151)], [going])) == []


def test_beside_its_template_a_function_needs_less_room() -> None:
    functions = {"a": (every(60), 2.0, 400)}
    assert loads(view(functions, {"c": (120, [])}, templates=True)) == []
    seen = view(functions, {"c": (120, [TEMPLATE])}, templates=True)
    assert loads(seen) == [("c", "a", ())]
    (load,) = Opportunistic().plan(seen).suggestions
    assert isinstance(load, SuggestLoad)
    assert load.resident_bytes == 100 * MIB


def test_no_more_functions_in_a_container_than_allowed_but_templates_do_not_count() -> None:
    quiet = function("quiet", every(600), 1.0)
    beside = container("c", 500, [resident("quiet", 100)])
    new = function("a", every(60))
    assert loads(node([quiet, new], [beside]), Opportunistic(max_residents=1)) == []
    assert loads(node([quiet, new], [beside]), Opportunistic(max_residents=2)) == [("c", "a", ())]
    with_own = function("a", every(60), own=True)
    assert loads(node([quiet, with_own], [beside]), Opportunistic(max_residents=1)) == [("c", OWN["a"], ())]
    templates = container("c", 500, [resident(TEMPLATE, LIBRARY_MIB)])
    assert loads(node([new], [templates]), Opportunistic(max_residents=1)) == [("c", "a", ())]


def test_what_waits_is_tried_in_changed_containers_and_what_is_new_in_others_too() -> None:
    function_, others = function("a", every(60)), (container("c2", 500),)
    new = node([function_], [container("c1", 10)], others=others, thorough=False)
    assert loads(new) == [("c2", "a", ())]
    waits = replace(new, candidates=(), waiting=new.candidates)
    assert loads(waits) == []
    assert Opportunistic().plan(waits).waiting == ("a",)
    assert loads(replace(waits, containers=others, others=())) == [("c2", "a", ())]


# -- what is displaced ---------------------------------------------------------------------------------------------


def test_victims_are_complete_and_the_least_valuable_bytes_go_first() -> None:
    functions = {
        "cold1": (every(1200, last=AT - 1000), 1.0, 200),
        "cold2": (every(1300, last=AT - 1000), 1.0, 200),
        "new": (every(30), 3.0, 500),
    }
    assert loads(view(functions, {"c": (112, ["cold1", "cold2"])})) == [("c", "new", ("cold2", "cold1"))]
    assert loads(view(functions, {"c": (312, ["cold1", "cold2"])})) == [("c", "new", ("cold2",))]
    assert loads(view(functions, {"c": (50, ["cold1", "cold2"])})) == [], "not even without both"


@pytest.mark.parametrize(
    ("gap_s", "price_s", "displaced"), [(2900, 0.2, False), (1000, 0.2, True), (2900, 0.0, True), (1000, 0.9, False)]
)
def test_only_what_is_worth_less_by_the_price_of_the_loads_is_displaced(
    gap_s: float, price_s: float, displaced: bool
) -> None:
    seen = node(
        [function("here", exactly(1 / 3000), 2.0, 400), function("new", exactly(1 / gap_s), 2.0, 400)],
        [container("c", 100, [resident("here", 400)])],
    )
    assert bool(loads(seen, Opportunistic(processor_price_s=price_s))) is displaced
    back = node(
        [function("here", exactly(1 / gap_s), 2.0, 400), function("new", exactly(1 / 3000), 2.0, 400)],
        [container("c", 100, [resident("here", 400)])],
    )
    assert loads(back, Opportunistic(processor_price_s=price_s)) == [], "two never take turns"


def test_templates_displace_what_is_worth_clearly_less_and_are_displaced_by_what_is_worth_more() -> None:
    def against(here: FunctionView, gap_s: float) -> list[tuple[str, str, tuple[str, ...]]]:
        place = container("c", 50, [resident(here.own_template or here.key, 100)])
        return loads(node([here, function("a", exactly(1 / gap_s), own=True)], [place]))

    b_template, b_resident = function("b", exactly(1 / 3000), own=True), function("b", exactly(1 / 3000))
    assert against(b_template, 60.0) == [("c", OWN["a"], (OWN["b"],))]
    assert against(b_template, 3000.0) == []
    assert against(b_resident, 60.0) == [("c", OWN["a"], ("b",))]
    assert against(b_resident, 30000.0) == []
    place = container("c", 50, [resident(OWN["b"], 100)])
    assert loads(node([b_template, function("a", exactly(1 / 60))], [place])) == [("c", "a", (OWN["b"],))]


def test_what_is_being_loaded_is_not_displaced() -> None:
    coming = container("c", 50, [resident("cold", 100, ResidentState.LOADING)])
    assert loads(node([function("cold", exactly(1 / 9000)), function("new", every(10))], [coming])) == []


def test_a_library_template_never_makes_room_for_its_own_functions_but_for_others() -> None:
    place = container("c", 50, [resident(TEMPLATE, LIBRARY_MIB)])
    libraries = [library(1 / 3000)]
    for own in (False, True):
        its = function("a", every(60), 9.0, 500 - 300 * own, own=own, template=TEMPLATE, library=TEMPLATE)
        assert loads(node([its], [place], libraries=libraries)) == []
    foreign = function("b", every(60), 9.0, 150)
    assert loads(node([foreign], [place], libraries=libraries)) == [("c", "b", (TEMPLATE,))]


def test_a_library_template_that_function_templates_share_their_memory_with_is_not_displaced() -> None:
    place = container("c", 50, [resident(TEMPLATE, LIBRARY_MIB), resident(OWN["a"], 100)])
    its = function("a", every(5), 9.0, own=True, library=TEMPLATE)
    new = function("b", every(60), 3.0, 180)
    assert loads(node([its, new], [place], libraries=[library(0.0)])) == []


# -- functions that were never called ------------------------------------------------------------------------------


def test_never_called_functions_fill_empty_memory_and_push_nobody_out() -> None:
    functions: dict[str, tuple[PoissonForecast | None, float, int]] = {
        "known": (every(600), 1.0, 400),
        "new": (None, 9.0, 400),
    }
    assert loads(view(functions, {"c": (500, ["known"])})) == [("c", "new", ())]
    assert loads(view(functions, {"c": (100, ["known"])})) == []
    never = node(
        [function("there", None, 1.0, 400), function("new", None, 9.0, 400)],
        [container("c", 100, [resident("there", 400)])],
    )
    assert loads(never) == []


def test_what_was_never_called_is_the_first_to_make_room() -> None:
    place = container("c", 50, [resident("never", 100), resident("cold", 100)])
    functions = [function("never", None, 1.0), function("cold", exactly(1 / 9000), 1.0), function("new", every(60))]
    assert loads(node(functions, [place])) == [("c", "new", ("never",))]


def test_what_was_never_called_is_not_loaded_beside_a_very_busy_neighbour() -> None:
    def beside(neighbour: PoissonForecast) -> list[tuple[str, str, tuple[str, ...]]]:
        functions = {"there": (neighbour, 1.0, 100), "new": (None, 0.1, 100)}
        return loads(view(functions, {"c": (500, ["there"])}))

    assert beside(every(0.2, last=AT - 0.1)) == []
    assert beside(every(3000)) == [("c", "new", ())]


def test_where_deployed_functions_are_hardly_ever_called_none_is_loaded_ahead() -> None:
    seen = node([function("new", None)], [container("c", 500)])
    assert loads(seen) == [("c", "new", ())]
    assert loads(replace(seen, first_rate=1 / 86400)) == []


# -- library templates ---------------------------------------------------------------------------------------------


def test_library_templates_fill_what_is_left_when_every_function_has_its_place() -> None:
    functions = {"a": (every(60), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, [TEMPLATE]), "c2": (500, [])}, templates=True)) == [("c1", "a", ())]
    assert loads(view(functions, {"c1": (500, [TEMPLATE, "a"]), "c2": (500, [])}, templates=True)) == [
        ("c2", TEMPLATE, ())
    ]
    assert loads(view(functions, {"c1": (500, [TEMPLATE, "a"]), "c2": (100, [])}, templates=True)) == []


def test_a_library_template_is_made_for_misses_that_are_worth_its_imports() -> None:
    def for_(misses_per_s: float) -> list[tuple[str, str, tuple[str, ...]]]:
        return loads(node([], [container("c", 500)], libraries=[library(misses_per_s)]))

    assert for_(0.0) == []
    assert for_(1 / 86400) == []
    assert for_(1 / 600) == [("c", TEMPLATE, ())]


def test_a_further_library_template_is_worth_its_share_of_the_misses() -> None:
    def beside(copies: int) -> list[tuple[str, str, tuple[str, ...]]]:
        there = [container(f"c{n}", 0, [resident(TEMPLATE, LIBRARY_MIB)]) for n in range(copies)]
        return loads(node([], [*there, container("new", 500)], libraries=[library(1 / 20000)]))

    assert beside(0) == [("new", TEMPLATE, ())]
    assert beside(1) == []


def test_a_library_template_is_begun_in_one_container_at_a_time() -> None:
    places = [container("c1", 500), container("c2", 500)]
    assert loads(node([], places, slots=2, libraries=[library()])) == [("c1", TEMPLATE, ())]


# -- new containers ------------------------------------------------------------------------------------------------


def spending(namespace: str) -> bool:
    return namespace == "t"


@pytest.mark.parametrize("own", [False, True])
def test_what_fits_nowhere_gets_a_new_container_if_memory_may_be_spent(own: bool) -> None:
    def with_(spare_mib: int, spends: Callable[[str], bool], slots: int = 1) -> list[str]:
        seen = node(
            [function("a", every(60), own=own, memory_bytes=256 * MIB)],
            [container("c", 50)],
            slots,
            spare_mib=spare_mib,
            spends=spends,
        )
        assert loads(seen) == []
        return created(seen)

    assert with_(256, spending) == ["a"]
    assert with_(255, spending) == []
    assert with_(256, lambda namespace: False) == []
    assert with_(256, lambda namespace: namespace != "t") == []
    assert with_(256, spending, slots=0) == []


def test_nothing_gets_a_new_container_that_does_not_pay_or_is_not_due() -> None:
    def for_(each: FunctionView) -> list[str]:
        return created(node([replace(each, memory_bytes=256 * MIB)], [], spare_mib=512, spends=spending))

    assert for_(function("a", exactly(1 / 3600))) == ["a"]
    assert for_(function("a", exactly(1 / 86400))) == []
    assert for_(function("a", every(60, last=AT - 0.1))) == []
    assert for_(function("a", None)) == ["a"]


def test_one_container_is_created_at_a_time_for_the_most_valuable_byte_that_fits() -> None:
    functions = [
        function("huge", every(60), 9.0, 200, memory_bytes=1024 * MIB),
        function("good", every(60), 4.0, 200, memory_bytes=256 * MIB),
        function("poor", every(60), 1.0, 200, memory_bytes=256 * MIB),
    ]
    seen = node(functions, [container("c", 50)], slots=3, spare_mib=512, spends=spending)
    assert created(seen) == ["good"]
    assert Opportunistic().plan(seen).waiting == ("huge", "good", "poor")


def test_no_container_is_created_that_would_be_too_small_for_what_found_no_place() -> None:
    """It would find no place there either, and the next plan would create another one."""
    own = function("a", every(60), mib=200, own=True, library=TEMPLATE, memory_bytes=256 * MIB)
    seen = node([own], [container("c", 256)], libraries=[library(0.0)], spare_mib=4096, spends=spending)
    assert created(seen) == []
    roomy = replace(own, memory_bytes=(200 + LIBRARY_MIB) * MIB)
    seen = node([roomy], [container("c", 256)], libraries=[library(0.0)], spare_mib=4096, spends=spending)
    assert created(seen) == ["a"]
    resident_only = function("b", every(60), mib=300, memory_bytes=256 * MIB)
    assert created(node([resident_only], [container("c", 256)], spare_mib=4096, spends=spending)) == []


def test_who_finds_a_good_place_gets_no_new_container() -> None:
    seen = node([function("a", every(60))], [container("c", 500)], slots=2, spare_mib=512, spends=spending)
    assert (loads(seen), created(seen)) == ([("c", "a", ())], [])


def test_where_sharing_a_place_would_cost_more_it_gets_a_container_of_its_own() -> None:
    busy = function("busy", every(2), 1.0)
    beside_busy = [container("c", 500, [resident("busy", 100)])]
    new = function("a", every(20), 3.0, memory_bytes=256 * MIB)
    free = node([busy, new], beside_busy, spare_mib=512, spends=spending)
    assert (loads(free), created(free)) == ([], ["a"])
    assert loads(replace(free, spare_bytes=0)) == [("c", "a", ())], "shared is better than nothing"
    assert loads(replace(free, spends=lambda namespace: False)) == [("c", "a", ())]


def test_rather_than_displace_it_gets_a_container_of_its_own() -> None:
    cold = function("cold", exactly(1 / 1500), 2.0)
    full = [container("c", 50, [resident("cold", 100)])]
    new = function("a", every(20), 3.0, memory_bytes=150 * MIB)
    seen = node([cold, new], full, spare_mib=512, spends=spending)
    assert (loads(seen), created(seen)) == ([], ["a"])
    assert loads(replace(seen, spare_bytes=0)) == [("c", "a", ("cold",))]


# -- what is said --------------------------------------------------------------------------------------------------


def test_a_suggestion_says_what_it_gains_and_why() -> None:
    seen = node(
        [function("cold", None), function("new", exactly(1 / 60), 2.0)], [container("c", 50, [resident("cold", 100)])]
    )
    (load,) = Opportunistic().plan(seen).suggestions
    assert isinstance(load, SuggestLoad)
    gain = 2.0 / 60 * until_first_call_s(1 / 60, HORIZON_S) / HORIZON_S
    assert load.value_s == pytest.approx(gain * TERM_S)
    assert load.reason == "1 calls a minute would use it, saves 2.00 s; displaces cold"
    never = node([function("new", None)], [container("c", 500)])
    assert "never called" in Opportunistic().plan(never).suggestions[0].reason
