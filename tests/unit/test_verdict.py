"""Whether a function can be forked is found once and told; and fresh functions, whose processes end with their call."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from support.nodes import A, B, CheckedNode, function, none, only

from instainfer.core import decisions as d
from instainfer.core import events as e
from instainfer.core.model import (
    FROM_FUNCTION,
    MIB,
    Failure,
    FailureKind,
    StartKind,
    Verdict,
    function_template_key,
)
from instainfer.invoker.snapshot import REASON_CHARS, snapshot
from instainfer.policy.preload.opportunistic import Opportunistic

OWN = function_template_key(A)
FIT = Verdict(True)
UNFIT = Verdict(False, "load() has started a thread")


def new_node(budget_mib: int = 512, verdict: Verdict | None = None, **changes: Any) -> CheckedNode:
    """A node that knows A, from before perhaps, and has called it once: its template has been begun, if it may be."""
    node = CheckedNode(budget_mib, keys=(), preloader=Opportunistic(residents=False), function_templates=True)
    node.tell(e.FunctionRegistered(0.0, replace(function(A), **changes), None, verdict))
    return node


def called(node: CheckedNode) -> list[d.Decision]:
    """The first call, and what is decided at its end."""
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.loaded(1.9, "node-c1", A)
    return node.ran(2.0, "node-c1", "a1")


def stands(node: CheckedNode, at: float, container: str = "node-c1") -> list[d.Decision]:
    return node.tell(e.LoadFinished(at, container, OWN, 1.0, 0.5, 100 * MIB))


def fails(
    node: CheckedNode, at: float, kind: FailureKind = FailureKind.LOAD_FAILED, container: str = "node-c1"
) -> list[d.Decision]:
    return node.tell(e.LoadFailed(at, container, OWN, Failure(kind, UNFIT.reason)))


def shown(node: CheckedNode) -> tuple[bool | None, str | None]:
    (each,) = snapshot(node.node, node.node.books.at)["functions"]
    return each["fit"], each["unfit"]


def test_the_first_template_proves_that_the_function_can_be_forked_and_no_other_does() -> None:
    node = new_node()
    load = only(called(node), d.Load)
    assert (load.function, load.proves) == (OWN, True)
    assert shown(node) == (None, None)
    assert only(stands(node, 4.0), d.Judged) == d.Judged(A, FIT)
    assert shown(node) == (True, None)
    node.tell(e.ResidentGone(5.0, "node-c1", OWN, Failure(FailureKind.CRASHED, "killed")))
    node.call(6.0, "a2", A)
    load = only(node.ran(6.1, "node-c1", "a2"), d.Load)
    assert (load.function, load.proves) == (OWN, False)
    none(stands(node, 8.0), d.Judged)


@pytest.mark.parametrize("kind", [FailureKind.LOAD_FAILED, FailureKind.TIMED_OUT, FailureKind.CRASHED])
def test_a_template_that_cannot_be_made_says_why_and_is_the_last_one(kind: FailureKind) -> None:
    node = new_node()
    called(node)
    assert only(fails(node, 4.0, kind), d.Judged) == d.Judged(A, UNFIT)
    assert shown(node) == (False, UNFIT.reason)
    node.call(6.0, "a2", A)
    none(node.ran(6.1, "node-c1", "a2"), d.Load)


def test_a_making_that_is_cut_short_or_dies_says_nothing() -> None:
    node = new_node()
    called(node)
    none(node.tell(e.ResidentGone(4.0, "node-c1", OWN, Failure(FailureKind.CRASHED, "killed"))), d.Judged)
    assert shown(node) == (None, None)
    node.call(6.0, "a2", A)
    assert only(node.ran(6.1, "node-c1", "a2"), d.Load).proves


def test_what_was_found_before_is_not_found_again() -> None:
    node = new_node(verdict=FIT)
    assert not only(called(node), d.Load).proves
    none(stands(node, 4.0), d.Judged)
    node = new_node(verdict=UNFIT)
    none(called(node), d.Load)
    assert shown(node) == (False, UNFIT.reason)


def test_a_later_failure_overrides_what_was_found_before() -> None:
    node = new_node(verdict=FIT)
    called(node)
    assert only(fails(node, 4.0), d.Judged) == d.Judged(A, UNFIT)
    assert shown(node) == (False, UNFIT.reason)


def test_what_is_known_at_another_registration_counts_from_then_on() -> None:
    node = new_node()
    called(node)
    stands(node, 4.0)
    ended = only(node.tell(e.FunctionRegistered(5.0, function(A), None, UNFIT)), d.Offload)
    assert ended.function == OWN
    node.gone(5.1, "node-c1", OWN)
    node.call(6.0, "a2", A)
    none(node.ran(6.1, "node-c1", "a2"), d.Load)
    assert only(node.tell(e.FunctionRegistered(7.0, function(A))), d.Load).proves


def test_of_each_function_one_template_is_made() -> None:
    node = new_node(1024)
    node.call(0.0, "a2", A)  # in a container of its own, the second one
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.started(0.4, "node-c2")
    node.loaded(1.9, "node-c1", A)
    only(node.ran(2.0, "node-c1", "a2"), d.Load)
    node.call(2.1, "a3", A)
    node.loaded(2.5, "node-c2", A)
    none(node.ran(2.6, "node-c2", "a1"), d.Load)
    none(node.ran(2.7, "node-c1", "a3"), d.Load)
    none(stands(node, 5.0), d.Load)
    node.call(6.0, "a4", A)
    node.call(6.0, "a5", A)
    none([*node.ran(6.1, "node-c1", "a4"), *node.ran(6.1, "node-c2", "a5")], d.Load)


def test_nothing_is_said_of_a_function_that_is_removed() -> None:
    node = new_node()
    called(node)
    node.tell(e.FunctionRemoved(3.0, A))
    none(fails(node, 4.0), d.Judged)


def test_a_long_reason_is_shown_cut() -> None:
    node = new_node(verdict=Verdict(False, "x" * 16_000))
    assert shown(node) == (False, "x" * REASON_CHARS)


def test_a_function_that_is_not_forked_is_known_not_to_be() -> None:
    node = new_node(forkable=False)
    none(called(node), d.Load)
    assert shown(node) == (False, None)


# fresh functions


def test_a_fresh_functions_process_ends_with_its_call_and_its_template_is_made_then() -> None:
    node = new_node(fresh=True)
    decided = called(node)
    only(decided, d.Reply)
    ended = only(decided, d.Offload)
    assert (ended.function, ended.reason) == (A, "each call has a process of its own")
    load = only(node.gone(2.1, "node-c1", A), d.Load)
    assert (load.container, load.function, load.proves) == ("node-c1", OWN, True)
    only(stands(node, 4.0), d.Judged)


def test_each_call_of_a_fresh_function_is_forked() -> None:
    node = new_node(fresh=True)
    called(node)
    node.gone(2.1, "node-c1", A)
    stands(node, 4.0)
    for number in range(2, 5):
        at = 10.0 * number
        assert only(node.call(at, f"a{number}", A), d.Run).start_kind is StartKind.FORKED
        node.tell(e.LoadFinished(at + 0.1, "node-c1", A, 0.004, 0.0, 6 * MIB, FROM_FUNCTION))
        assert only(node.ran(at + 0.2, "node-c1", f"a{number}"), d.Offload).function == A
        none(node.gone(at + 0.3, "node-c1", A), d.Load)


def test_a_call_that_comes_while_a_fresh_process_ends_does_not_get_it() -> None:
    node = new_node(fresh=True)
    called(node)
    none(node.call(2.05, "a2", A), d.Run)
    run = only(node.gone(2.1, "node-c1", A), d.Run)
    assert (run.activation, run.start_kind) == ("a2", StartKind.PREWARMED)


def test_a_fresh_function_gets_its_template_also_where_others_have_followed() -> None:
    node = new_node(fresh=True)
    node.tell(e.FunctionRegistered(0.0, function(B)))
    called(node)
    node.call(2.05, "b1", B)
    node.gone(2.1, "node-c1", A)
    node.loaded(3.0, "node-c1", B)
    assert only(node.ran(3.1, "node-c1", "b1"), d.Load).function == OWN
    assert only(stands(node, 5.0), d.Load).function == function_template_key(B)
