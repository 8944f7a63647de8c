"""The line of containers to be given up for room, when namespaces have policies of their own."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from instainfer.core.model import MIB
from instainfer.core.ports import KeptContainer
from instainfer.policy.keepalive.by_namespace import ByNamespace
from instainfer.policy.keepalive.fixed import Fixed


class Sorted(Fixed):
    """An order that has nothing to do with idleness: by a number in the container's name."""

    def eviction_order(self, idle: Sequence[KeptContainer]) -> Sequence[KeptContainer]:
        return sorted(idle, key=lambda container: container.id)


@st.composite
def lines(draw: st.DrawFn) -> list[KeptContainer]:
    """Idle containers of four namespaces, longest idle first."""
    names = draw(st.lists(st.integers(0, 99), unique=True, max_size=12))
    return [KeptContainer(f"c{name:02}", draw(st.sampled_from("abcd")), None, 512 * MIB) for name in names]


@given(idle=lines(), own=st.sets(st.sampled_from("abcd")))
def test_a_policy_says_which_and_idleness_says_whose_turn_it_is(idle: list[KeptContainer], own: set[str]) -> None:
    policy = ByNamespace(Fixed(), {name: Sorted() for name in sorted(own)})
    line = list(policy.eviction_order(idle))
    for name in own:
        theirs = [c for c in idle if c.namespace == name]
        assert [c for c in line if c.namespace == name] == list(Sorted().eviction_order(theirs))
    assert [c for c in line if c.namespace not in own] == [c for c in idle if c.namespace not in own]
    assert [c.namespace if c.namespace in own else None for c in line] == [
        c.namespace if c.namespace in own else None for c in idle
    ]


@given(idle=lines(), own=st.sets(st.sampled_from("abcd")))
def test_with_the_same_policy_for_all_nothing_changes(idle: list[KeptContainer], own: set[str]) -> None:
    assert ByNamespace(Fixed(), {name: Fixed() for name in sorted(own)}).eviction_order(idle) == idle
