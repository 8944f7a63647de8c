"""Tests of selecting parts of traces: the result is what was asked for, complete, and the same every time."""

from __future__ import annotations

from pathlib import Path

import pytest

from instainfer.errors import BadInput
from instainfer.traces.azure2019 import Trace, TraceFunction
from instainfer.traces.classes import ArrivalClass, cov
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate
from instainfer.traces.placement import function_times
from instainfer.traces.read import read
from instainfer.traces.select import Selection, gaps, select

HOURS = Counts(generate(12 * 60, 24, seed=5))


def names(workload: object) -> list[str]:
    return [row.name for row in workload.functions]  # type: ignore[attr-defined]


def test_gaps_are_summed_up_as_they_come() -> None:
    found = gaps(HOURS, 3)
    for index in (0, 1, 4):
        times = list(function_times(HOURS.trace, index, 3))
        assert found[index].calls == len(times)
        assert found[index].cov == pytest.approx(cov(times))
    lone = Counts(Trace((TraceFunction("", "", "f", "", (2,)),), 1, "two calls"))
    assert gaps(lone, 1)[0].cov is None


@pytest.mark.parametrize("kind", [ArrivalClass.PREDICTABLE, ArrivalClass.NORMAL, ArrivalClass.BURSTY])
def test_by_class(kind: ArrivalClass) -> None:
    part = select(HOURS, Selection(kind=kind))
    assert names(part) == [name for name in names(HOURS) if name.startswith(kind)]


def test_by_calls_in_the_window() -> None:
    part = select(HOURS, Selection(60, 120, min_calls=300, max_calls=500))
    assert isinstance(part, Counts)
    assert (part.trace.minutes, part.trace.first_minute) == (120, 61)
    cut = {f.name: f.counts[60:180] for f in HOURS.trace.functions}
    assert {f.name: f.counts for f in part.trace.functions} == {
        name: counts for name, counts in cut.items() if 300 <= sum(counts) <= 500
    }


def test_a_window_keeps_the_places_of_its_calls() -> None:
    part = select(HOURS, Selection(60, 120, seed=3))
    whole = [(at_s, n) for at_s, n, _ in HOURS.arrivals(3) if 3600.0 <= at_s < 10_800.0]
    again = [(at_s + 3600.0, n) for at_s, n, _ in part.arrivals(3)]
    assert [n for _, n in again] == [n for _, n in whole]
    assert [at_s for at_s, _ in again] == pytest.approx([at_s for at_s, _ in whole])


def test_functions_are_drawn_by_the_seed() -> None:
    first, again, other = (names(select(HOURS, Selection(functions=5, seed=seed))) for seed in (1, 1, 2))
    assert first == again != other
    assert len(first) == 5
    assert first == [name for name in names(HOURS) if name in first]


def test_calls_with_times_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("function,seconds\n" + "".join(f"{'fgh'[n % 3]},{n * 10}\n" for n in range(31)))
    whole = read(path)
    part = select(whole, Selection(1, 2, min_calls=1, functions=2, seed=1))
    assert part.duration_s == 120.0
    assert part.calls == len(list(part.arrivals(1))) == 8
    assert len(part.functions) == 2
    assert all(0 <= at_s < 120.0 for at_s, _, _ in part.arrivals(1))
    # The last call of a trace comes at the moment it ends.
    assert select(whole, Selection(2)).calls == sum(1 for at_s, _, _ in whole.arrivals(1) if at_s >= 120.0)
    assert select(whole, Selection()).calls == 31


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        (Selection(720), "the window is empty"),
        (Selection(0, 0), "the window is empty"),
        (Selection(min_calls=10**9), "no function of"),
        (Selection(functions=25), "25 functions are wanted, and 24 are like that"),
        (Selection(kind=ArrivalClass.NONE), "no function of"),
    ],
)
def test_what_is_not_there_is_said(wanted: Selection, reason: str) -> None:
    with pytest.raises(BadInput, match=reason):
        select(HOURS, wanted)
