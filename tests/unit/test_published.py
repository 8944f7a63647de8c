"""The paper's scheduler, on hand-made views."""

from __future__ import annotations

import pytest
from support.views import AT, TEMPLATE, every, view

from instainfer.core.model import Origin
from instainfer.core.ports import NodeView, SuggestLoad, SuggestOffload
from instainfer.policy.preload.opportunistic import Opportunistic
from instainfer.policy.preload.published import Published


def loads(seen: NodeView, policy: Published | Opportunistic | None = None) -> list[tuple[str, str, tuple[str, ...]]]:
    plan = (policy or Published()).plan(seen)
    return [(s.container, s.function, s.victims) for s in plan.suggestions if isinstance(s, SuggestLoad)]


def test_the_worked_example() -> None:
    functions = {
        "resnet18": (every(3), 1.0, 650),
        "resnet50": (every(3), 1.2, 900),
        "vgg19": (every(15), 3.1, 1600),
    }
    seen = view(functions, {"c": (500, ["resnet18", "resnet50"])})
    assert loads(seen) == [("c", "vgg19", ("resnet18", "resnet50"))]
    suggestion = Published().plan(seen).suggestions[0]
    assert isinstance(suggestion, SuggestLoad)
    assert suggestion.value_s == pytest.approx(0.98 * 3.1, rel=0.01)


def test_who_is_called_often_is_worth_as_much_as_who_is_called_always() -> None:
    """What `opportunistic` corrects: within a minute both will have been called."""
    functions = {"always": (every(1, last=AT - 0.1), 1.0, 400), "often": (every(8), 1.1, 400)}
    seen = view(functions, {"c": (100, ["always"])})
    assert loads(seen) == [("c", "often", ("always",))]
    assert loads(seen, Opportunistic()) == []


def test_only_what_is_worth_less_is_displaced_and_only_if_that_makes_room() -> None:
    functions = {"cheap": (every(60), 1.0, 200), "dear": (every(60), 9.0, 200), "new": (every(60), 2.0, 400)}
    assert loads(view(functions, {"c": (200, ["cheap", "dear"])})) == [("c", "new", ("cheap",))]
    assert loads(view(functions, {"c": (100, ["cheap", "dear"])})) == []


def test_the_container_with_the_most_room_is_taken_and_each_function_once() -> None:
    functions = {"a": (every(60), 2.0, 100), "b": (every(60), 1.0, 100)}
    seen = view(functions, {"c1": (150, []), "c2": (200, [])}, slots=3)
    assert loads(seen) == [("c2", "a", ()), ("c1", "b", ())]


def test_before_it_is_due_and_once_it_is_overdue_nothing_is_loaded() -> None:
    just_called = view({"a": (every(60, last=AT - 0.1), 2.0, 100)}, {"c": (500, [])})
    assert loads(just_called) == []
    ((when, function),) = Published().plan(just_called).later
    assert (function, AT + 3.5 < when < AT + 3.7) == ("a", True)
    assert loads(view({"a": (every(10, last=AT - 29), 2.0, 100)}, {"c": (500, [])})) == []
    assert loads(view({"a": (None, 2.0, 100)}, {"c": (500, [])})) == [], "never called: no forecast"


def test_what_is_overdue_is_off_loaded_and_its_room_given_away() -> None:
    functions = {"silent": (every(10, last=AT - 29), 2.0, 400), "new": (every(60), 1.0, 400)}
    plan = Published().plan(view(functions, {"c": (100, ["silent"])}))
    offload, load = plan.suggestions
    assert isinstance(offload, SuggestOffload)
    assert isinstance(load, SuggestLoad)
    assert (offload.function, load.function, load.victims) == ("silent", "new", ())
    assert loads(view(functions, {"c": (100, ["silent"])}, origin=Origin.CALL)) == [], "a call has left it there"


def test_templates_are_used_where_they_are_and_never_made() -> None:
    functions = {"a": (every(60), 1.0, 400)}
    assert loads(view(functions, {"c": (120, [TEMPLATE])}, templates=True)) == [("c", "a", ())]
    assert loads(view({}, {"c": (500, [])}, templates=True)) == []
