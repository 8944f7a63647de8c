"""Tests of the layouts of traces: each is read into functions and a stream of calls ordered by time."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from instainfer.errors import BadInput, NotFound
from instainfer.traces import timestamps
from instainfer.traces.counts import Counts, Dataset
from instainfer.traces.generate import generate
from instainfer.traces.placement import place
from instainfer.traces.read import read
from instainfer.traces.timestamps import Stream
from instainfer.traces.workload import Arrival, Row

HEAD = "HashOwner,HashApp,HashFunction,Trigger"


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_counts_are_streamed_as_they_are_placed() -> None:
    trace = generate(30, 8, seed=5)
    workload = Counts(trace)
    assert list(workload.arrivals(2)) == place(trace, 2)
    assert workload.functions[0] == Row("generated", "seed=5", "predictable-1")
    assert (workload.calls, workload.duration_s) == (trace.calls, 1800.0)


def test_a_call_of_2021_arrives_when_it_began(tmp_path: Path) -> None:
    text = "app,func,end_timestamp,duration\na,f,5.0,0.5\na,g,9.0,8.0\nb,f,10.0,1.0\na,f,0.25,0.5\n"
    workload = read(write(tmp_path / "t.csv", text))
    assert workload.functions == (Row("", "a", "f"), Row("", "a", "g"), Row("", "b", "f"))
    # The last one had begun before the trace.
    assert list(workload.arrivals(1)) == [
        Arrival(0.0, 0, 0.5),
        Arrival(1.0, 1, 8.0),
        Arrival(4.5, 0, 0.5),
        Arrival(9.0, 2, 1.0),
    ]
    assert (workload.calls, workload.duration_s) == (4, 10.0)


def test_timestamps_in_order_are_streamed_and_others_sorted(tmp_path: Path) -> None:
    ordered = read(write(tmp_path / "a.csv", "function,seconds\nf,0.5\ng,0.5\nf,3\n"))
    mixed = read(write(tmp_path / "b.csv", "function,seconds\nf,3\nf,0.5\ng,0.5\n"))
    assert isinstance(ordered, Stream)
    assert not isinstance(mixed, Stream)
    for workload in (ordered, mixed):
        assert [(at_s, workload.functions[n].name) for at_s, n, _ in workload.arrivals(1)] == [
            (0.5, "f"),
            (0.5, "g"),
            (3.0, "f"),
        ]
        assert (workload.calls, workload.duration_s) == (3, 3.0)
        # And once more.
        assert len(list(workload.arrivals(1))) == 3


def test_any_workload_can_be_written_as_timestamps(tmp_path: Path) -> None:
    workload = Counts(generate(5, 3, seed=5))
    timestamps.write(workload, tmp_path / "t.csv.gz", seed=4)
    again = read(tmp_path / "t.csv.gz")

    def named(which: Counts | object) -> list[tuple[float, str]]:
        return [(at_s, which.functions[n].name) for at_s, n, _ in which.arrivals(4)]  # type: ignore[attr-defined]

    assert named(again) == named(workload)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        ("time,name\n1,f\n", 1, "no trace has the columns 'time, name'"),
        ("app,func,duration\na,f,1\n", 1, "missing columns: end_timestamp"),
        ("app,func,duration,end_timestamp\na,f,1,1\n", 1, "in this order"),
        ("app,func,end_timestamp,duration\n", 1, "no call"),
        ("app,func,end_timestamp,duration\na,f,1\n", 2, "3 values, but the header has 4 columns"),
        ("app,func,end_timestamp,duration\na,,1,1\n", 2, "func is empty"),
        ("app,func,end_timestamp,duration\na,f,1,1\na,f,-1,1\n", 3, "end_timestamp must be a number of seconds"),
        ("app,func,end_timestamp,duration\na,f,1,nan\n", 2, "duration must be a number of seconds"),
        ("app,func,end_timestamp,duration\na,f,1,inf\n", 2, "duration must be a number of seconds"),
        ("function,time\nf,1\n", 1, "missing columns: seconds"),
        ("function,seconds\n", 1, "no call"),
        ("function,seconds\nf,soon\n", 2, "seconds must be a number of seconds that is not negative, not 'soon'"),
        ("function,seconds\n,1\n", 2, "function is empty"),
        (f"{HEAD},1\no,a,f,t,-1\n", 2, "minute 1 must be a whole number"),
        ("HashApp,HashFunction,1\na,f,1\n", 1, "missing columns: HashOwner, Trigger"),
    ],
)
def test_refuses_what_is_malformed_with_line_and_reason(tmp_path: Path, text: str, line: int, reason: str) -> None:
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(BadInput) as raised:
        read(path)
    assert f"{path}, line {line}: " in str(raised.value)
    assert reason in str(raised.value)


def test_refuses_truncated_gzip_of_every_layout(tmp_path: Path) -> None:
    for head, row in (
        ("app,func,end_timestamp,duration", "a{0},f,{0},0.1"),
        ("function,seconds", "f{0},{0}"),
        (f"{HEAD},1,2", "o,a,f{0},t,{0},2"),
    ):
        whole = gzip.compress("\n".join([head, *(row.format(n * 7919 % 10007) for n in range(3000))]).encode())
        path = tmp_path / "t.csv.gz"
        path.write_bytes(whole[: len(whole) // 2])
        with pytest.raises(BadInput, match=r"t\.csv\.gz, line \d+: the gzip file is truncated"):
            read(path)


def test_a_missing_trace_is_not_a_malformed_one(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no trace at"):
        read(tmp_path / "none.csv")


# -- folders of a dataset ----------------------------------------------------------------------------------------------


def day(folder: Path, number: int, *rows: str, minutes: int = 3) -> Path:
    header = ",".join([HEAD, *map(str, range(1, minutes + 1))])
    return write(folder / f"invocations_per_function_md.anon.d{number:02}.csv", "\n".join([header, *rows, ""]))


def test_a_dataset_is_streamed_day_after_day(tmp_path: Path) -> None:
    day(tmp_path, 1, "o,a,f,http,1,0,2", "o,a,g,queue,0,1,0")
    day(tmp_path, 2, "o,a,h,http,0,0,1", "o,a,f,http,1,1,1")
    write(tmp_path / "function_durations_percentiles.anon.d01.csv", "HashOwner,HashApp,HashFunction,Average\n")
    workload = read(tmp_path)
    assert isinstance(workload, Dataset)
    assert [row.name for row in workload.functions] == ["f", "g", "h"]
    assert (workload.calls, workload.duration_s) == (8, 2 * 86_400.0)
    arrivals = list(workload.arrivals(1))
    assert arrivals == sorted(arrivals)
    minutes = [(int(at_s // 60), workload.functions[n].name) for at_s, n, _ in arrivals]
    first, second = [m for m in minutes if m[0] < 1440], [(m - 1440, f) for m, f in minutes if m >= 1440]
    assert first == [(0, "f"), (1, "g"), (2, "f"), (2, "f")]
    assert sorted(second) == [(0, "f"), (1, "f"), (2, "f"), (2, "h")]
    # The same minute of another day is placed in another way.
    assert arrivals[0].at_s != arrivals[4].at_s - 86_400.0


def test_a_days_calls_are_those_of_its_file_alone(tmp_path: Path) -> None:
    path = day(tmp_path, 1, "o,a,f,http,1,0,2", "o,a,g,queue,0,1,0")
    assert list(read(tmp_path).arrivals(1)) == list(read(path).arrivals(1))


def test_a_bad_day_is_named_when_its_turn_comes(tmp_path: Path) -> None:
    day(tmp_path, 1, "o,a,f,http,1,0,2")
    bad = day(tmp_path, 2, "o,a,f,http,1,0,2", "o,a,g,http,1,x,2")
    workload = read(tmp_path)
    with pytest.raises(BadInput, match=f"{bad}, line 3: minute 2 must be a whole number of calls, not 'x'"):
        list(workload.arrivals(1))


def test_a_folder_must_hold_every_day(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no daily traces"):
        read(tmp_path)
    day(tmp_path, 1, "o,a,f,http,1,0,2")
    day(tmp_path, 3, "o,a,f,http,1,0,2")
    with pytest.raises(BadInput, match="lacks day 2"):
        read(tmp_path)


def test_a_day_has_no_more_than_its_minutes(tmp_path: Path) -> None:
    day(tmp_path, 1, "o,a,f,http," + ",".join(["0"] * 1441), minutes=1441)
    with pytest.raises(BadInput, match="a day has minutes 1 to 1440"):
        list(read(tmp_path).arrivals(1))


def test_a_row_without_a_function_is_refused_at_once(tmp_path: Path) -> None:
    path = day(tmp_path, 1, "o,a,f,http,1,0,2", "o,a,,http,1,0,2")
    with pytest.raises(BadInput, match=f"{path}, line 3"):
        read(tmp_path)
