"""The packing itself, on hand-made views."""

from __future__ import annotations

from dataclasses import replace

from support.views import AT, TEMPLATE, every, view

from instainfer.core.model import Origin
from instainfer.core.ports import ContainerView, NodeView, SuggestLoad, SuggestOffload
from instainfer.policy.predict.poisson import PoissonForecast
from instainfer.policy.preload.opportunistic import Opportunistic


def loads(seen: NodeView, *, patient: bool = True) -> list[tuple[str, str, tuple[str, ...]]]:
    plan = Opportunistic(patient=patient).plan(seen)
    return [(s.container, s.function, s.victims) for s in plan.suggestions if isinstance(s, SuggestLoad)]


def test_the_most_valuable_byte_comes_first() -> None:
    functions = {"slow": (every(60), 4.0, 100), "fast": (every(60), 1.0, 100), "big": (every(60), 4.0, 800)}
    assert loads(view(functions, {"c": (1000, [])}, slots=1)) == [("c", "slow", ())]


def test_as_many_as_there_are_slots_and_one_for_each_container() -> None:
    functions = {"a": (every(60), 2.0, 100), "b": (every(60), 1.0, 100)}
    assert loads(view(functions, {"c1": (500, []), "c2": (500, [])}, slots=2)) == [("c1", "a", ()), ("c2", "b", ())]
    assert loads(view(functions, {"c1": (500, [])}, slots=0)) == []


def test_a_place_beside_a_quiet_neighbour_is_better_than_beside_a_busy_one() -> None:
    functions = {"busy": (every(5), 1.0, 100), "quiet": (every(600), 1.0, 100), "new": (every(60), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, ["busy"]), "c2": (500, ["quiet"])}, slots=1)) == [("c2", "new", ())]


def test_a_place_where_it_would_only_be_ended_again_is_not_worth_the_load() -> None:
    functions = {"busy": (every(1, last=AT - 0.5), 1.0, 100), "rare": (every(600, last=AT - 100), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, ["busy"])})) == []


def test_what_was_never_called_is_not_loaded_beside_a_busy_neighbour() -> None:
    def beside(neighbour: PoissonForecast) -> list[tuple[str, str, tuple[str, ...]]]:
        functions = {"there": (neighbour, 1.0, 100), "new": (None, 0.1, 100)}
        return loads(view(functions, {"c": (500, ["there"])}))

    assert beside(every(20)) == []
    assert beside(every(3000)) == [("c", "new", ())]


def test_victims_are_complete_and_of_clearly_lower_value() -> None:
    functions = {
        "cold1": (every(1200, last=AT - 1000), 1.0, 200),
        "cold2": (every(1300, last=AT - 1000), 1.0, 200),
        "new": (every(30), 3.0, 500),
    }
    assert loads(view(functions, {"c": (112, ["cold1", "cold2"])})) == [("c", "new", ("cold2", "cold1"))]


def test_hysteresis_keeps_two_equals_from_taking_turns() -> None:
    functions = {"a": (every(30), 2.0, 400), "b": (every(30), 2.05, 400)}
    assert loads(view(functions, {"c": (100, ["a"])})) == []


def test_it_must_be_due_and_by_the_papers_rule_not_overdue() -> None:
    just_called = {"a": (every(60, last=AT - 0.1), 2.0, 100)}
    plan = Opportunistic().plan(view(just_called, {"c": (500, [])}))
    assert plan.suggestions == ()
    ((when, function),) = plan.later
    assert (function, AT + 3.5 < when < AT + 3.7) == ("a", True)
    silent = {"a": (every(10, last=AT - 29), 2.0, 100)}
    assert loads(view(silent, {"c": (500, [])}), patient=False) == []
    assert loads(view(silent, {"c": (500, [])})) == [("c", "a", ())]


def test_the_papers_rule_off_loads_overdue_residents_of_ours_and_not_those_of_calls() -> None:
    silent = {"a": (every(10, last=AT - 29), 2.0, 100)}
    paper = Opportunistic(patient=False)
    plan = paper.plan(view(silent, {"c": (500, ["a"])}))
    assert [type(s) for s in plan.suggestions] == [SuggestOffload]
    assert paper.plan(view(silent, {"c": (500, ["a"])}, origin=Origin.CALL)).suggestions == ()
    assert Opportunistic().plan(view(silent, {"c": (500, ["a"])})).suggestions == ()


def test_never_called_functions_fill_empty_memory_and_push_nobody_out() -> None:
    functions: dict[str, tuple[PoissonForecast | None, float, int]] = {
        "known": (every(600), 1.0, 400),
        "new": (None, 9.0, 400),
    }
    assert loads(view(functions, {"c": (500, ["known"])})) == [("c", "new", ())]
    assert loads(view(functions, {"c": (100, ["known"])})) == []


def test_namespaces_do_not_mix() -> None:
    seen = view({"a": (every(60), 2.0, 100)}, {"c": (500, [])})
    foreign = NodeView(
        seen.at,
        tuple(ContainerView(c.id, "other", c.free_bytes, 0, ()) for c in seen.containers),
        seen.absent,
        seen.functions,
        {},
        1,
    )
    assert loads(foreign) == []


def test_beside_its_template_a_function_needs_less_room() -> None:
    functions = {"a": (every(60), 2.0, 400)}
    assert loads(view(functions, {"c": (120, [])}, templates=True)) == []
    assert loads(view(functions, {"c": (120, [TEMPLATE])}, templates=True)) == [("c", "a", ())]


def test_templates_fill_what_is_left_when_every_function_has_its_place() -> None:
    functions = {"a": (every(60), 2.0, 100)}
    assert loads(view(functions, {"c1": (500, [TEMPLATE]), "c2": (500, [])}, templates=True)) == [("c1", "a", ())]
    assert loads(view(functions, {"c1": (500, [TEMPLATE, "a"]), "c2": (500, [])}, templates=True)) == [
        ("c2", TEMPLATE, ())
    ]
    assert loads(view(functions, {"c1": (500, [TEMPLATE, "a"]), "c2": (100, [])}, templates=True)) == []


def test_a_template_makes_room_for_what_is_worth_more_but_never_for_its_own_functions() -> None:
    functions = {"a": (every(60), 9.0, 500)}
    assert loads(view(functions, {"c": (50, [TEMPLATE])}, templates=True)) == []


def test_whoever_is_at_home_is_displaced_only_for_what_is_worth_much_more() -> None:
    functions = {"a": (every(300), 2.0, 400), "b": (every(100, last=AT - 20), 2.0, 400)}
    seen = view(functions, {"c": (100, ["a"])})
    assert loads(seen) == [("c", "b", ("a",))]
    at_home = replace(seen, containers=tuple(replace(c, owner="a") for c in seen.containers))
    assert loads(at_home) == []
    much_more = view({**functions, "b": (every(5), 2.0, 400)}, {"c": (100, ["a"])})
    at_home = replace(much_more, containers=tuple(replace(c, owner="a") for c in much_more.containers))
    assert loads(at_home) == [("c", "b", ("a",))]


def test_one_takes_what_is_free_and_another_what_is_displaced_in_the_same_container() -> None:
    functions = {
        "small": (every(5), 2.0, 100),
        "large": (every(6), 6.0, 400),
        "old": (every(3000, last=AT - 900), 1.0, 380),
        "left": (every(50), 1.0, 700),
    }
    found = loads(view(functions, {"c": (130, ["old"])}, slots=3))
    assert found == [("c", "small", ()), ("c", "large", ("old",))]
