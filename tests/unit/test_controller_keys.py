"""No key names two versions, and remembering that costs no memory with each redeployment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from support.records import action

from instainfer.controller import keys as module
from instainfer.controller.keys import Keys
from instainfer.controller.paths import EntityPath

F = EntityPath("guest", None, "f")


def test_versions_that_grow_have_plain_keys_and_others_get_a_number() -> None:
    keys = Keys()
    assert [keys.new(F, version) for version in ("0.0.1", "0.0.2", "0.0.10", "0.0.2", "0.0.10", "1.0.0")] == [
        "guest/f@0.0.1",
        "guest/f@0.0.2",
        "guest/f@0.0.10",
        "guest/f@0.0.2+2",
        "guest/f@0.0.10+3",
        "guest/f@1.0.0",
    ]
    keys.deleted(F)
    assert keys.new(F, "0.0.1") == "guest/f@0.0.1+4"
    assert keys.new(EntityPath("guest", None, "g"), "0.0.1") == "guest/g@0.0.1"


def test_a_restored_function_has_its_key() -> None:
    keys = Keys()
    keys.restored(action("f", "0.0.3"))
    assert keys.new(F, "0.0.3") == "guest/f@0.0.3+2"
    assert keys.new(F, "0.0.4") == "guest/f@0.0.4"


def test_memory_does_not_grow_with_redeployments_nor_with_deleted_functions() -> None:
    keys = Keys()
    for number in range(1000):
        keys.new(F, f"0.0.{number}")
    assert len(keys) == 1
    for number in range(module.MOST_GONE + 500):
        keys.new(EntityPath("guest", None, f"g{number}"), "0.0.1")
        keys.deleted(EntityPath("guest", None, f"g{number}"))
    assert len(keys) == 1 + module.MOST_GONE


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)))))
def test_no_key_comes_twice(steps: list[tuple[int, int, int] | None]) -> None:
    keys = Keys()
    made = []
    for step in steps:
        if step is None:
            keys.deleted(F)
        else:
            made.append(keys.new(F, ".".join(map(str, step))))
    assert len(made) == len(set(made))
