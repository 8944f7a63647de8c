"""Why a function is loaded or not, from a node's books and story (invoker.explain)."""

from __future__ import annotations

import json

from support.nodes import A, CheckedNode

from instainfer.core import events as e
from instainfer.core.model import Failure, FailureKind
from instainfer.invoker.explain import explain
from instainfer.policy.keepalive.objective import Objective
from instainfer.policy.preload.opportunistic import Opportunistic


def test_a_function_that_is_not_known_is_not_explained() -> None:
    assert explain(CheckedNode().node, "t/nobody@1", 1.0) is None


def test_it_tells_what_stands_what_could_be_made_and_what_was_decided() -> None:
    node = CheckedNode(preloader=Opportunistic(), keepalive=Objective())
    node.started(0.4, "node-c1")  # created ahead of the first call
    node.loaded(2.0, "node-c1", A)
    told = explain(node.node, A, 3.0)
    assert told is not None
    json.dumps(told)
    assert (told["node"], told["function"], told["calls_per_s"]) == ("node", A, None)
    (stand,) = told["stands"]
    assert (stand["container"], stand["what"], stand["state"], stand["age_s"]) == ("node-c1", "resident", "loaded", 2.6)
    (resident,) = told["could_be_made"]
    assert (resident["what"], resident["stands"]) == ("resident", 1)
    assert [each["ago_s"] for each in told["lately"]] == sorted(each["ago_s"] for each in told["lately"])
    assert any("is loaded in node-c1" in each["text"] for each in told["lately"])
    assert any("is created" in each["text"] for each in told["lately"])


def test_it_tells_what_is_due_later_and_what_a_load_would_cost() -> None:
    node = CheckedNode(preloader=Opportunistic(), keys=(A,))
    node.serve(0.0, "node-c1", "a1", A)
    for number, at in enumerate((100.0, 200.0, 300.0)):
        node.call(at, f"n{number}", A)
        node.ran(at + 0.1, "node-c1", f"n{number}")
    node.tell(e.ResidentGone(301.0, "node-c1", A, Failure(FailureKind.CRASHED, "killed")))
    told = explain(node.node, A, 301.0)
    assert told is not None
    (resident,) = told["could_be_made"]
    assert told["stands"] == []
    assert resident["due_in_s"] is not None
    assert 0.0 < resident["due_in_s"] < 100.0
    assert resident["price_s"] == 0.2 * told["load_s"]["nothing"] == 0.2 * 1.5


def test_it_tells_why_a_function_is_not_loaded_at_all() -> None:
    node = CheckedNode(preloader=Opportunistic(), keys=(A,))
    node.call(0.0, "a1", A)
    node.started(0.4, "node-c1")
    node.tell(e.LoadFailed(1.0, "node-c1", A, Failure(FailureKind.LOAD_FAILED, "no module named x")))
    told = explain(node.node, A, 2.0)
    assert told is not None
    assert told["load_failure"] == "no module named x"
