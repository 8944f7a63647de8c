"""Which function templates are made, where, and what they may displace."""

from __future__ import annotations

from support.nodes import A, B, C, CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import MIB, Failure, FailureKind, function_template_key
from instainfer.core.ports import NodeView, PreloadPlan, SuggestLoad
from instainfer.policy.memoryless import Memoryless

OWN = {key: function_template_key(key) for key in (A, B, C)}


def new_node(budget_mib: int = 512, **settings: object) -> CheckedNode:
    return CheckedNode(budget_mib, function_templates=True, **settings)  # type: ignore[arg-type]


def stands(node: CheckedNode, at: float, key: str, container: str = "node-c1", mib: int = 100) -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, OWN[key], 1.0, 0.5, mib * MIB))


def loads(decisions: list[d.Decision]) -> list[str]:
    return [x.function for x in decisions if isinstance(x, d.Load)]


def test_ahead_of_calls_it_takes_two_calls_and_a_place_with_room() -> None:
    node = new_node(1024)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A, mib=300)
    none(node.ran(2.0, "node-c1", "a1", mib=300), d.Load)  # two of them are too large for one container
    node.serve(3.0, "node-c2", "b1", B)
    none(stands(node, 6.0, B, "node-c2"), d.Load)
    node.call(7.0, "a2", A)
    load = only(node.ran(7.1, "node-c1", "a2", mib=300), d.Load)
    assert (load.container, load.function) == ("node-c2", OWN[A])
    assert load.reason.startswith("2 calls")
    none(stands(node, 9.0, A, "node-c2", mib=300), d.Load)
    node.call(10.0, "a3", A)
    none(node.ran(10.1, "node-c1", "a3", mib=300), d.Load)  # one in the node is enough


def test_where_a_call_has_loaded_its_function_one_call_is_enough_and_goes_first() -> None:
    node = new_node(max_loads=1)
    node.serve(0.0, "node-c1", "a0", A)
    node.call(2.1, "a1", A)
    node.ran(2.2, "node-c1", "a1")
    node.call(2.5, "b0", B)  # this cuts the making of A's template short
    node.gone(2.6, "node-c1", OWN[A])
    node.gone(2.6, "node-c1", A)
    node.loaded(3.6, "node-c1", B)
    assert A in node.node.books.functions.without_template
    assert loads(node.ran(3.7, "node-c1", "b0")) == [OWN[B]]
    assert loads(stands(node, 6.0, B)) == [OWN[A]]


def test_none_is_begun_again_before_the_next_call_of_its_function() -> None:
    node = new_node()
    node.serve(0.0, "node-c1", "a1", A)
    node.call(2.5, "a2", A)
    node.ran(2.6, "node-c1", "a2")
    node.tell(e.ResidentGone(2.7, "node-c1", OWN[A], Failure(FailureKind.CRASHED, "killed")))
    cut = node.call(2.8, "b1", B)
    assert only(cut, d.Offload).function == OWN[A]
    node.gone(2.85, "node-c1", OWN[A])
    node.gone(2.9, "node-c1", A)
    node.loaded(3.8, "node-c1", B)
    assert loads(node.ran(3.9, "node-c1", "b1")) == [OWN[B]]
    # The making of A's had begun after the latest call of A, so it is not tried again before the next one.
    assert loads(stands(node, 6.0, B)) == []
    only(node.call(10.0, "a3", A), d.Run)
    node.gone(10.1, "node-c1", B)
    node.loaded(11.0, "node-c1", A)
    assert loads(node.ran(11.1, "node-c1", "a3")) == [OWN[A]]


def test_nothing_is_made_while_the_node_drains_or_calls_need_the_processors() -> None:
    node = new_node(2048, calls_beside=0, put_off_s=2.0)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    node.call(1.95, "b1", B)
    node.started(1.96, "node-c2")
    none(node.ran(2.0, "node-c1", "a1"), d.Load)
    assert loads(node.advance(4.5)) == [OWN[A]]


def crowded(calls_of_a: int, calls_of_b: int) -> tuple[CheckedNode, list[d.Decision]]:
    """A template of A fills what is left of the container beside B. Then both have been known for ten minutes.

    Returns the node, and what is decided when the last call of B ends.
    """
    node = new_node()
    node.serve(0.0, "node-c1", "a0", A)
    stands(node, 4.0, A, mib=340)
    for number in range(1, calls_of_a):
        node.call(4.0 + number, f"a{number}", A)
        node.ran(4.5 + number, "node-c1", f"a{number}")
    node.call(30.0, "b0", B)
    node.gone(30.1, "node-c1", A)
    node.tell(e.LoadFinished(31.0, "node-c1", B, 1.0, 0.5, 100 * MIB))
    decisions = node.ran(31.1, "node-c1", "b0")
    for number in range(1, calls_of_b):
        none(decisions, d.Load, d.Offload)
        node.call(600.0 + number, f"b{number}", B)
        decisions = node.ran(600.5 + number, "node-c1", f"b{number}")
    return node, decisions


def test_a_template_displaces_others_that_are_worth_half_as_much_at_most() -> None:
    node, decisions = crowded(2, 3)
    assert only(decisions, d.Offload).function == OWN[A]
    none(decisions, d.Load)
    assert loads(node.gone(610.0, "node-c1", OWN[A])) == [OWN[B]]


def test_a_template_displaces_none_that_is_worth_more_than_half_as_much() -> None:
    _, decisions = crowded(3, 4)
    none(decisions, d.Load, d.Offload)


def test_one_call_alone_displaces_nothing() -> None:
    _, decisions = crowded(1, 1)
    none(decisions, d.Load, d.Offload)


def test_a_call_cancels_what_waits_for_room() -> None:
    node, _ = crowded(1, 2)
    assert node.node.books.promises
    node.call(610.0, "b9", B)
    assert not node.node.books.promises
    none(node.gone(610.01, "node-c1", OWN[A]), d.Load)
    assert loads(node.ran(610.1, "node-c1", "b9")) == [OWN[B]]


class Once(Memoryless):
    """Suggests one load, once."""

    active = True

    def __init__(self, suggestion: SuggestLoad) -> None:
        self.suggestion: SuggestLoad | None = None
        self.wanted = suggestion

    def worth(self, function: object, at: float) -> float:
        return 0.0

    def plan(self, view: NodeView) -> PreloadPlan:
        assert not any(key.startswith("loaded:") for key in view.templates)
        suggestion, self.suggestion = self.suggestion, None
        return PreloadPlan(() if suggestion is None else (suggestion,))


def test_with_a_pre_loading_policy_both_share_the_allowed_loads_and_the_policy_goes_first() -> None:
    policy = Once(SuggestLoad("node-c1", B, 100 * MIB, 1.0, (), "why not"))
    node = new_node(preloader=policy)
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    policy.suggestion = policy.wanted
    assert loads(node.ran(2.0, "node-c1", "a1")) == [B]
    assert loads(node.loaded(3.0, "node-c1", B)) == [OWN[A]]
    assert node.node.books.preloads.started == 1


def test_what_waits_for_a_free_load_is_made_in_the_end() -> None:
    keys = [f"t/f{number}@1" for number in range(20)]
    node = new_node(20 * 512, keys=keys)
    for number, key in enumerate(keys):
        node.call(0.0, f"x{number}", key)
    containers = [f"node-c{number + 1}" for number in range(20)]
    for container in containers:
        node.started(50.0, container)
    for container, key in zip(containers, keys, strict=True):
        node.loaded(52.0, container, key)
    begun: list[str] = []
    for number, container in enumerate(containers):
        begun += loads(node.ran(53.0, container, f"x{number}"))
    assert len(begun) == 1
    while len(begun) < 20:
        (container,) = node.node.books.pool.by_function[begun[-1]]
        begun += loads(node.tell(e.LoadFinished(60.0 + len(begun), container, begun[-1], 1.0, 0.5, 100 * MIB)))
    assert sorted(begun) == sorted(function_template_key(key) for key in keys)
