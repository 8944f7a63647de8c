"""Tests of comparing live and simulated records, with figures computed by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from instainfer.core.model import Phases, StartKind
from instainfer.errors import BadInput
from instainfer.report.records import SUCCESS, CallRecord
from instainfer.sim.fidelity import Pair, compare

WARM, COLD, JOINED = StartKind.WARM, StartKind.COLD, StartKind.JOINED


def record(function: str, kind: StartKind | None, compute_s: float = 1.0, handoff_s: float = 0.0) -> CallRecord:
    phases = Phases(handoff=handoff_s, compute=compute_s)
    return CallRecord(function, 0.0, 0.0, start_kind=kind, phases=phases, status=SUCCESS)


def test_the_same_is_close() -> None:
    records = [record("f", COLD, 2.0), record("g", WARM)]
    found = compare(records, records)
    assert (found.calls, found.agreement, found.is_close) == (2, 1.0, True)
    assert found.mean_ms == Pair(1500.0, 1500.0)
    assert found.disagreements() == []


def test_figures_and_where_they_differ() -> None:
    live = [record("f", COLD, 2.0), record("f", WARM, 1.0), record("g", WARM, 1.0), record("g", None, 0.0, 1.0)]
    simulated = [record("f", COLD, 3.0), record("f", JOINED, 1.0), record("g", JOINED, 1.0), record("g", WARM)]
    found = compare(live, simulated)
    assert found.agreement == 0.25
    assert found.disagreements() == [("warm", "joined", 2), ("none", "warm", 1)]
    assert found.functions == {"f": Pair(1500.0, 2000.0), "g": Pair(1000.0, 1000.0)}
    assert found.phases_ms["compute"] == Pair(1000.0, 1500.0)
    assert found.phases_ms["handoff"].error == -1.0
    assert found.mean_ms.error == pytest.approx(0.2)
    assert found.to_json()["disagreements"][0] == ["warm", "joined", 2]


@pytest.mark.parametrize(
    ("factor", "kind", "is_close"), [(1.14, WARM, True), (0.86, WARM, True), (1.16, WARM, False), (1.0, COLD, False)]
)
def test_what_is_close_enough(factor: float, kind: StartKind, is_close: bool) -> None:
    live = [record("f", WARM) for _ in range(8)]
    other = [record("f", WARM, factor) for _ in range(7)]
    assert compare(live, [*other, record("f", kind, factor)]).is_close is is_close


def test_nine_of_ten_are_enough_and_a_p95_that_is_off_is_not() -> None:
    live = [record("f", WARM) for _ in range(10)]
    assert compare(live, [*live[:9], record("f", COLD)]).is_close
    assert not compare(live, [*live[:9], record("f", WARM, 1.5)]).is_close


def test_of_nothing_there_is_no_error() -> None:
    assert Pair(0.0, 0.0).error == 0.0
    assert Pair(0.0, 1.0).error == float("inf")


def test_what_cannot_be_compared() -> None:
    live = [record("f", WARM)]
    with pytest.raises(BadInput, match="not of the same calls"):
        compare(live, [record("g", WARM)])
    with pytest.raises(BadInput, match="no call succeeded"):
        compare([replace(live[0], status="lost")], live)
