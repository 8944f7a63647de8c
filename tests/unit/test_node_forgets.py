"""Of what was removed nothing is kept: not by the node, not by its policies, not by its driver."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, CheckedNode, function, none, only
from test_node_choices import Scripted

from instainfer.config import KeepAliveConfig
from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import FROM_LIBRARIES, MIB, template_key
from instainfer.core.ports import SuggestLoad
from instainfer.policy import catalog
from instainfer.policy.preload.opportunistic import Opportunistic

TEMPLATE = template_key("t", "env")


def made(node: CheckedNode, at: float, container: str, key: str = TEMPLATE) -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, key, 1.0, 0.0, 60 * MIB))


def forgotten(decisions: list[d.Decision]) -> list[str]:
    return [each.function for each in decisions if isinstance(each, d.Forget)]


def test_a_function_is_forgotten_when_it_was_removed_and_its_last_resident_has_ended() -> None:
    node = CheckedNode(keys=(A,), templates=False)
    node.serve(0.0, "node-c1", "a1", A)
    decisions = node.tell(e.FunctionRemoved(5.0, A))
    assert only(decisions, d.Offload).function == A
    assert forgotten(decisions) == []
    assert forgotten(node.gone(5.1, "node-c1", A)) == [A]


def test_a_function_that_was_never_called_is_forgotten_at_once() -> None:
    node = CheckedNode(keys=(A, B), templates=False)
    assert forgotten(node.tell(e.FunctionRemoved(5.0, A))) == [A]


def test_a_template_goes_with_the_last_function_that_could_be_forked_from_it() -> None:
    node = CheckedNode(keys=(A, B))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.4, "node-c1")
    node.tell(e.LoadFinished(1.9, "node-c1", A, 0.1, 0.4, 50 * MIB, source=FROM_LIBRARIES))
    node.ran(2.0, "node-c1", "a1")
    node.tell(e.FunctionRemoved(5.0, A))
    decisions = node.gone(5.1, "node-c1", A)
    assert forgotten(decisions) == [A]
    none(decisions, d.Offload)  # B can be forked from it
    decisions = node.tell(e.FunctionRemoved(6.0, B))
    assert forgotten(decisions) == [B]
    assert only(decisions, d.Offload).function == TEMPLATE
    assert forgotten(node.gone(6.1, "node-c1", TEMPLATE)) == [TEMPLATE]
    assert node.node.books.functions.templates == {}


def test_a_template_that_comes_too_late_for_its_functions_is_ended() -> None:
    plan = Scripted()
    node = CheckedNode(keys=(A,), preloader=plan)
    other = replace(function("t/other@1"), environment="other")
    node.tell(e.FunctionRegistered(0.0, other))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    made(node, 1.4, "node-c1")
    node.tell(e.LoadFinished(1.9, "node-c1", A, 0.1, 0.4, 50 * MIB, source=FROM_LIBRARIES))
    node.ran(2.0, "node-c1", "a1")
    plan.next = SuggestLoad("node-c1", other.key, MIB, 1.0, (), "a test")
    node.node.books.opportunity = True
    only(node.tell(e.TimerFired(6.0)), d.Load)
    only(node.tell(e.FunctionRemoved(6.1, other.key)), d.Offload)
    assert forgotten(node.gone(6.2, "node-c1", other.key)) == [other.key, other.template]
    assert only(made(node, 6.3, "node-c1", other.template), d.Offload).function == other.template
    assert forgotten(node.gone(6.4, "node-c1", other.template)) == [other.template]


def test_templates_that_nobody_uses_any_more_are_not_made_again() -> None:
    node = CheckedNode(keys=(A,), preloader=Opportunistic())
    gone = replace(function("t/gone@1"), environment="gone")
    node.tell(e.FunctionRegistered(0.0, gone))
    node.call(0.0, "g1", gone.key)
    node.started(0.4, "node-c1")
    made(node, 1.4, "node-c1", gone.template)
    node.tell(e.LoadFinished(1.9, "node-c1", gone.key, 0.1, 0.4, 50 * MIB, source=FROM_LIBRARIES))
    node.ran(2.0, "node-c1", "g1")
    node.tell(e.FunctionRemoved(3.0, gone.key))
    for key in (gone.key, gone.template):
        node.gone(3.1, "node-c1", key)
    for decision in node.advance(300.0):
        assert not (isinstance(decision, d.Load) and decision.function == gone.template)


@pytest.mark.parametrize("policy", sorted(catalog.KEEPALIVES))
def test_a_thousand_versions_leave_no_more_behind_than_one(policy: str) -> None:
    keepalive = catalog.keepalive(KeepAliveConfig(policy=policy))
    node = CheckedNode(keys=(), keepalive=keepalive, preloader=Opportunistic(), templates=False)
    books = node.node.books
    for n in range(1000):
        key, at, container = f"t/a@{n}", 10.0 * n, f"node-c{n + 1}"
        node.tell(e.FunctionRegistered(at, function(key)))
        node.call(at, f"a{n}", key)
        node.started(at + 0.4, container)
        node.loaded(at + 1.9, container, key)
        node.ran(at + 2.0, container, f"a{n}")
        node.tell(e.FunctionRemoved(at + 3.0, key))
        if container in books.pool.containers:
            node.gone(at + 3.1, container, key)
            node.tell(e.ContainerGone(at + 3.2, container))
    assert (
        len(books.functions),
        len(books.functions.templates),
        len(books.pool.new_candidates),
        len(books.prewarm_at),
    ) == (0, 0, 0, 0)
    remembered = books.guard.remembered()
    assert (list(remembered.functions), list(remembered.containers)) == ([], [])
    assert len(books.timers._heap) < 300
