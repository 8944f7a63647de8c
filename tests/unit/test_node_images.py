"""Functions with images of their own: their containers hold nothing that belongs into another image."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import A, B, CheckedNode, function, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import FROM_LIBRARIES, MIB, ResidentKey
from instainfer.core.ports import NodeView, PreloadPlan, SuggestLoad
from instainfer.errors import IllegalEvent
from instainfer.policy.preload.none import NoPreloading

IMAGE = "sha256:1"
X = replace(function("t/x@1"), image=IMAGE)


class Insisting(NoPreloading):
    """Wants a load into the first container each time."""

    wants: ResidentKey = ""

    def plan(self, view: NodeView) -> PreloadPlan:
        wanted = [SuggestLoad("node-c1", self.wants, MIB, 1.0, (), "a test")] if self.wants else []
        return PreloadPlan(wanted)


def with_idle(**parts: object) -> CheckedNode:
    """The usual image's container is idle, after a call of A."""
    node = CheckedNode(**parts)  # type: ignore[arg-type]
    node.tell(e.FunctionRegistered(0.0, X))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.4, "node-c1", A)
    node.ran(1.7, "node-c1", "a1")
    return node


def test_a_call_gets_a_container_of_its_functions_image_and_others_do_not() -> None:
    node = with_idle(budget_mib=1024)
    start = only(node.call(10.0, "x1", X.key), d.StartContainer)
    assert (start.image, start.namespace) == (IMAGE, "t")
    node.started(10.4, "node-c2")
    node.loaded(11.4, "node-c2", X.key)
    node.ran(11.7, "node-c2", "x1")
    assert only(node.call(20.0, "b1", B), d.Run).container == "node-c1"
    assert only(node.call(20.0, "x2", X.key), d.Run).container == "node-c2"


def test_without_memory_for_another_one_its_container_is_stopped_and_not_taken() -> None:
    node = with_idle(budget_mib=512)
    only(node.call(10.0, "x1", X.key), d.StopContainer)
    assert only(node.tell(e.ContainerGone(10.1, "node-c1")), d.StartContainer).image == IMAGE


def test_a_policy_cannot_load_it_into_a_container_of_another_image() -> None:
    policy = Insisting()
    node = with_idle(preloader=policy)
    policy.wants = X.key
    assert d.Load not in {type(decision) for decision in node.tell(e.TimerFired(node.wake_at or 30.0))}
    assert X.key not in node.node.books.pool.containers["node-c1"].residents


def test_a_library_template_is_that_of_the_image_too() -> None:
    assert X.template != function(X.key).template
    node = with_idle()
    with pytest.raises(IllegalEvent):
        node.tell(e.LoadFinished(3.0, "node-c1", X.template, 1.0, 0.0, MIB, source=FROM_LIBRARIES))
