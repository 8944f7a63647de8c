"""How often calls overlap, and what is made of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.nodes import CheckedNode, none, only

from instainfer.core import decisions as d
from instainfer.core.concurrency import MOST, WEIGHT, Concurrency
from instainfer.core.model import MIB, Profile, StartKind
from instainfer.core.ports import FunctionView
from instainfer.policy.objective import LOSS_HORIZON_S, resident_saves_s, resident_worth_s, until_first_call_s
from instainfer.policy.predict.poisson import PoissonForecast
from instainfer.policy.preload.opportunistic import Opportunistic

BUSY, REST = "t/busy@1", "t/rest@1"


def test_shares_of_the_calls_that_found_others_under_way() -> None:
    concurrency = Concurrency()
    concurrency.called()
    assert (concurrency.found(0), concurrency.found(1)) == (1.0, 0.0)
    concurrency.called()
    concurrency.called()
    assert concurrency.found(1) == pytest.approx(WEIGHT + WEIGHT * (1 - WEIGHT))
    assert concurrency.found(2) == pytest.approx(WEIGHT)
    assert concurrency.found(3) == 0.0


def test_they_fade_when_calls_come_one_by_one_again() -> None:
    concurrency = Concurrency()
    for _ in range(200):
        concurrency.called()
        concurrency.called()
        concurrency.answered()
        concurrency.answered()
    assert 0.4 < concurrency.found(1) < 0.6
    for _ in range(50):
        concurrency.called()
        concurrency.answered()
    assert 0.15 < concurrency.found(1) < 0.25
    for _ in range(400):
        concurrency.called()
        concurrency.answered()
    assert concurrency.found(1) == 0.0
    assert concurrency.under_way == 0


def test_more_than_are_told_apart_are_not_counted() -> None:
    concurrency = Concurrency()
    for _ in range(MOST + 10):
        concurrency.called()
    assert concurrency.found(MOST) > 0.0
    assert concurrency.found(MOST + 1) == 0.0


def seen(copies: int, needs: float, lacks: float) -> FunctionView:
    forecast = PoissonForecast(5, 0.0, 50.0, 50.0)
    return FunctionView(
        BUSY, "t", 2.0, MIB, MIB, forecast, copies, template=None, busy_s=0.25, needs=needs, lacks=lacks
    )


def test_a_further_resident_saves_a_wait_and_the_only_one_a_load() -> None:
    function = seen(1, 1.0, 0.3)
    assert (resident_saves_s(function, 0), resident_saves_s(function, 1)) == (2.0, 0.5)
    assert resident_saves_s(replace(function, busy_s=30.0), 1) == 2.0, "it would rather be loaded than wait"


def test_the_last_of_several_is_worth_what_it_saves_the_calls_that_need_it() -> None:
    last_rate = 0.1 * 0.3
    expected = last_rate * 0.5 * until_first_call_s(last_rate, LOSS_HORIZON_S)
    assert resident_worth_s(seen(2, 0.3, 0.1), 50.0) == pytest.approx(expected)


def spare_copies(*, overlapping: bool) -> list[d.Load]:
    """What a node begins of its own on which a function is called again and again, beside another's idle container."""
    known = Profile(loads=1, library_s=1.0, resident_bytes=300 * MIB, models=1, model_s=0.5, runs=1, compute_s=0.4)
    node = CheckedNode(1024, keys=(REST, BUSY), preloader=Opportunistic(), profile=known, templates=False)
    node.call(0.0, "b", BUSY)
    node.call(0.0, "r", REST)
    node.started(0.4, "node-c1")
    node.started(0.4, "node-c2")
    node.loaded(1.9, "node-c1", BUSY, mib=200)
    node.loaded(1.9, "node-c2", REST, mib=200)
    node.ran(2.3, "node-c1", "b", mib=200, compute_s=0.4)
    node.ran(2.3, "node-c2", "r", mib=200, compute_s=0.4)
    found: list[d.Load] = []
    for n in range(20):
        at = 4.0 + 2.0 * n
        assert only(node.call(at, f"x{n}", BUSY), d.Run).container == "node-c1"
        if overlapping:
            none(node.call(at + 0.1, f"y{n}", BUSY), d.Run)
        decisions = node.ran(at + 0.4, "node-c1", f"x{n}", mib=200, compute_s=0.4)
        if overlapping:
            decisions += node.ran(at + 0.8, "node-c1", f"y{n}", mib=200, compute_s=0.4)
        found += [decision for decision in decisions if isinstance(decision, d.Load)]
        if found:
            node.loaded(at + 1.9, found[0].container, BUSY, mib=200)
            # By then the one who rests is worth less than a wait.
            for each in ("p", "q"):
                assert only(node.call(at + 300.0, each, BUSY), d.Run).start_kind in (
                    StartKind.WARM,
                    StartKind.PRELOADED,
                )
            break
    return found


def test_who_is_often_called_while_it_runs_gets_a_second_resident_where_memory_is_idle() -> None:
    (load,) = spare_copies(overlapping=True)
    assert (load.function, load.container) == (BUSY, "node-c2")


def test_who_is_called_one_by_one_does_not() -> None:
    assert spare_copies(overlapping=False) == []
