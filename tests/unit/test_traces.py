"""Tests of traces: reading the Azure 2019 layout, exact counts after placement, classes of arrivals, the generator."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from instainfer.errors import BadInput, NotFound
from instainfer.traces import azure2019
from instainfer.traces.azure2019 import Trace, TraceFunction
from instainfer.traces.classes import ArrivalClass, classify, cov
from instainfer.traces.generate import MIX, generate
from instainfer.traces.placement import function_times, place

HEAD = "HashOwner,HashApp,HashFunction,Trigger"
GOOD = f"{HEAD},480,481,482\no1,a1,resize,http,4,0,2\no1,a1,notify,queue,0,0,1\n"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_counts_and_keeps_the_names_of_the_minutes(tmp_path: Path) -> None:
    trace = azure2019.read(write(tmp_path / "t.csv", GOOD))
    assert trace.functions == (
        TraceFunction("o1", "a1", "resize", "http", (4, 0, 2)),
        TraceFunction("o1", "a1", "notify", "queue", (0, 0, 1)),
    )
    assert (trace.minutes, trace.first_minute, trace.calls, trace.duration_s) == (3, 480, 7, 180.0)


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    trace = azure2019.read(write(tmp_path / "in.csv", GOOD))
    azure2019.write(trace, tmp_path / name)
    again = azure2019.read(tmp_path / name)
    assert (again.functions, again.first_minute) == (trace.functions, trace.first_minute)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "missing columns: HashOwner, HashApp, HashFunction, Trigger"),
        ("HashOwner,HashFunction,1\no,f,3\n", 1, "missing columns: HashApp, Trigger"),
        ("HashApp,HashOwner,HashFunction,Trigger,1\na,o,f,t,3\n", 1, "in this order"),
        (f"{HEAD}\no,a,f,t\n", 1, "no column of a minute"),
        (f"{HEAD},one\no,a,f,t,3\n", 1, "column 5 must be the number of a minute, not 'one'"),
        (f"{HEAD},7,9\no,a,f,t,3,4\n", 1, "column 6 must be minute 8, not '9'"),
        (f"{HEAD},1,01\no,a,f,t,3,4\n", 1, "column 6 must be minute 2, not '01'"),
        (f"{HEAD},1,2\n", 1, "no function"),
        (f"{HEAD},1,2\no,a,f,t,3,4\no,a,g,t,3,-4\n", 3, "minute 2 must be a whole number of calls, not '-4'"),
        (f"{HEAD},1,2\no,a,f,t,1.5,4\n", 2, "minute 1 must be a whole number of calls, not '1.5'"),
        (f"{HEAD},1,2\no,a,f,t,,4\n", 2, "minute 1 must be a whole number of calls, not ''"),
        (f"{HEAD},1,2\no,a,f,t,²,4\n", 2, "minute 1 must be a whole number of calls, not '²'"),
        (f"{HEAD},1,2\no,a,f,t,3\n", 2, "1 counts, but the header has 2 minutes"),
        (f"{HEAD},1,2\no,a\n", 2, "0 counts, but the header has 2 minutes"),
        (f"{HEAD},1\no,a,,t,3\n", 2, "HashFunction is empty"),
        (f'{HEAD},1\no,a,"f,t,3\n', 2, "not CSV"),
    ],
)
def test_refuses_what_is_malformed_with_line_and_reason(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(BadInput) as raised:
        azure2019.read(path)
    assert f"{path}, line {line}: " in str(raised.value)
    assert reason in str(raised.value)


def test_refuses_a_truncated_gzip_file_and_says_where_it_ended(tmp_path: Path) -> None:
    rows = "".join(f"o{i},a{i},f{i},http,{i},{i * 7 % 13}\n" for i in range(2000))
    whole = gzip.compress(f"{HEAD},1,2\n{rows}".encode())
    path = tmp_path / "t.csv.gz"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"t\.csv\.gz, line \d+: the gzip file is truncated"):
        azure2019.read(path)


def test_refuses_a_gzip_file_that_is_none_and_text_that_is_not_utf_8(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(GOOD.encode())
    with pytest.raises(BadInput, match="the gzip file is damaged"):
        azure2019.read(tmp_path / "t.csv.gz")
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe,1\n")
    with pytest.raises(BadInput, match="not UTF-8"):
        azure2019.read(tmp_path / "t.csv")


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no trace at"):
        azure2019.read(tmp_path / "none.csv")
    with pytest.raises(BadInput, match="is a folder"):
        azure2019.read(tmp_path)


def test_placement_keeps_every_count_in_its_minute(tmp_path: Path) -> None:
    trace = azure2019.read(write(tmp_path / "t.csv", GOOD))
    arrivals = place(trace, seed=3)
    assert arrivals == sorted(arrivals)
    for index, function in enumerate(trace.functions):
        minutes = [int(at_s // 60) for at_s, who, _ in arrivals if who == index]
        assert [minutes.count(minute) for minute in range(trace.minutes)] == list(function.counts)


def test_placement_depends_on_the_seed_and_not_on_what_is_cut_away(tmp_path: Path) -> None:
    trace = azure2019.read(write(tmp_path / "t.csv", GOOD))
    last = TraceFunction("o1", "a1", "resize", "http", (2,))
    window = Trace((last,), 1, "window", first_minute=482)
    whole = [at_s for at_s in function_times(trace, 0, seed=3) if at_s >= 120.0]
    assert [at_s + 120.0 for at_s in function_times(window, 0, seed=3)] == pytest.approx(whole)
    assert list(function_times(trace, 0, seed=3)) == list(function_times(trace, 0, seed=3))
    assert list(function_times(trace, 0, seed=3)) != list(function_times(trace, 0, seed=4))


def test_cov_by_hand() -> None:
    assert cov([0, 1, 2, 3]) == 0.0
    # Gaps 1 and 3: mean 2, deviation 1.
    assert cov([0, 1, 4]) == 0.5
    # Gaps 1, 1, 1, 9: mean 3, variance (4 + 4 + 4 + 36) / 4 = 12.
    assert cov([0, 1, 2, 3, 12]) == pytest.approx(12**0.5 / 3)
    assert cov([0, 5]) is None
    assert cov([]) is None
    assert cov([2, 2, 2]) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "n/a"), (0.0, "predictable"), (0.999, "predictable"), (1.0, "normal"), (4.0, "normal"), (4.001, "bursty")],
)
def test_borders_of_the_classes(value: float | None, expected: str) -> None:
    assert classify(value) == expected


@pytest.mark.parametrize("seed", [1, 2])
def test_generated_functions_have_the_promised_class_and_rate(seed: int) -> None:
    minutes = 24 * 60
    trace = generate(minutes, len(MIX), seed)
    for index, (function, arrivals) in enumerate(zip(trace.functions, MIX, strict=True)):
        assert classify(cov(function_times(trace, index, seed))) is arrivals.kind, function.name
        assert sum(function.counts) / minutes == pytest.approx(arrivals.calls_per_minute, rel=0.1), function.name


def test_the_seed_is_in_the_generated_file_and_repeats_it(tmp_path: Path) -> None:
    trace = generate(5, 8, seed=7)
    azure2019.write(trace, tmp_path / "t.csv")
    assert azure2019.read(tmp_path / "t.csv").functions == generate(5, 8, seed=7).functions
    assert {function.app for function in trace.functions} == {"seed=7"}
    assert trace.functions != generate(5, 8, seed=8).functions
    # Longer and wider traces begin as shorter ones do.
    assert generate(9, 9, seed=7).functions[3].counts[:5] == trace.functions[3].counts


def test_there_is_no_generator_for_the_class_that_is_none() -> None:
    from instainfer.traces.generate import Arrivals

    with pytest.raises(ValueError, match="three classes"):
        generate(1, 1, 0, (Arrivals(ArrivalClass.NONE, 1.0),))
