"""``instainfer trace population`` and what it writes, and ``instainfer trace info --published``."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from statistics import median

import pytest
from cli_harness import Platform, Run, runner

from instainfer.traces import azure2021
from instainfer.traces.population import Population, population, to_counts
from instainfer.traces.population_files import DURATION_COLUMNS, MEMORY_COLUMNS, write_calls, write_series
from instainfer.traces.read import read

BOUNDS = ["--functions", "40", "--minutes", "60", "--min-per-day", "100", "--max-per-day", "3000", "--seed", "5"]
SHORT = population(40, 3600.0, 5, min_per_day=100, max_per_day=3000, max_per_minute=60)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(Platform(), tmp_path, monkeypatch)


def table(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return list(csv.DictReader(file))


def test_calls_are_read_again_with_their_times_and_durations(tmp_path: Path) -> None:
    write_calls(SHORT, tmp_path / "p.csv")
    workload = read(tmp_path / "p.csv")
    again = [(workload.functions[n].name, at_s, duration_s) for at_s, n, duration_s in workload.arrivals(1)]
    made = [(SHORT.members[n].name, at_s, duration_s) for at_s, n, duration_s in SHORT.arrivals(1)]
    assert [name for name, _, _ in again] == [name for name, _, _ in made]
    for (_, at_s, duration_s), (_, made_at_s, made_duration_s) in zip(again, made, strict=True):
        assert at_s == pytest.approx(made_at_s, abs=2e-6)
        assert duration_s == pytest.approx(made_duration_s, abs=1e-6)
    ends = [float(row["end_timestamp"]) for row in table(tmp_path / "p.csv")]
    assert ends == sorted(ends)
    assert list(table(tmp_path / "p.csv")[0]) == list(azure2021.COLUMNS)


def test_durations_and_memory_beside_the_calls(tmp_path: Path) -> None:
    durations, memory = write_series(SHORT, tmp_path / "p.csv.gz")
    assert (durations.name, memory.name) == ("p_durations.csv.gz", "p_memory.csv.gz")
    calls: dict[str, list[float]] = {}
    minutes: dict[str, set[int]] = {}
    for at_s, number, duration_s in SHORT.arrivals(1):
        calls.setdefault(SHORT.members[number].name, []).append(1000 * (duration_s or 0))
        minutes.setdefault(SHORT.members[number].app, set()).add(int(at_s // 60))
    rows = table(durations)
    assert list(rows[0]) == list(DURATION_COLUMNS)
    assert {row["HashFunction"] for row in rows} == set(calls)
    for row in rows:
        own = calls[row["HashFunction"]]
        figures = (float(row[name]) for name in ("Average", "Count", "Minimum", "Maximum", "percentile_Average_100"))
        expected = (sum(own) / len(own), len(own), min(own), max(own), max(own))
        assert tuple(figures) == pytest.approx(expected, abs=0.001)
        if len(own) % 2:
            assert float(row["percentile_Average_50"]) == pytest.approx(median(own), abs=0.001)
    apps = {member.app: member for member in SHORT.members}
    for row in table(memory):
        assert list(row) == list(MEMORY_COLUMNS)
        assert int(row["SampleCount"]) == len(minutes[row["HashApp"]])
        assert float(row["AverageAllocatedMb"]) == pytest.approx(apps[row["HashApp"]].memory_mb, abs=0.001)
        percentiles = [float(row[name]) for name in MEMORY_COLUMNS[4:]]
        assert percentiles == sorted(percentiles)


def test_a_name_that_is_no_csv_has_series_too(tmp_path: Path) -> None:
    empty = Population(SHORT.members[:1], 0.001, 1)
    assert [path.name for path in write_series(empty, tmp_path / "p")] == ["p_durations.csv", "p_memory.csv"]


@pytest.mark.parametrize("layout", ["calls", "counts", "times"])
def test_every_layout_has_the_same_calls(run: Run, tmp_path: Path, layout: str) -> None:
    result = run("trace", "population", "-o", "p.csv", "--layout", layout, *BOUNDS)
    assert (result.exit_code, result.stdout) == (0, "")
    assert f"{SHORT.calls:,} calls of 40 functions in 1 h 0 min: p.csv" in result.stderr
    workload = read(tmp_path / "p.csv")
    assert workload.calls == SHORT.calls
    if layout == "counts":
        assert [row.name for row in workload.functions] == [member.name for member in SHORT.members]
        assert workload.trace.functions == to_counts(SHORT).functions  # type: ignore[attr-defined]
    assert sorted(path.name for path in tmp_path.glob("*.csv")) == ["p.csv"]


def test_what_is_slowed_down_is_said(run: Run, tmp_path: Path) -> None:
    options = ["--functions", "300", "--minutes", "10", "--max-per-minute", "1", "--series", "--start-hour", "9"]
    result = run("trace", "population", "-o", "p.csv.gz", "--layout", "counts", *options)
    [slowed] = [line for line in result.stderr.splitlines() if "--max-per-minute" in line]
    busy = [member for member in population(300, 600.0, 1).members if member.calls_per_day > 1440]
    assert slowed.startswith(f"{len(busy)} functions would be called more than 1 times a minute")
    assert "p_durations.csv.gz, p_memory.csv.gz" in result.stderr
    with gzip.open(tmp_path / "p.csv.gz", "rt") as file:
        assert file.readline().split(",")[4] == "541"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--min-per-day", "30", "--max-per-day", "20"], "hardly any function"),
        (["--start-hour", "24"], "start-hour"),
        (["-o", "no/where"], "cannot write no/where"),
    ],
)
def test_what_is_wrong_is_said(run: Run, options: list[str], message: str) -> None:
    result = run("trace", "population", "-o", "p.csv", *options)
    assert result.exit_code == 2
    assert message in result.stderr


def shares(run: Run, *options: str) -> dict[str, tuple[float, float]]:
    lines = json.loads(run("trace", "info", *options, "--published", "--json").stdout)["published"]
    return {f"{line['of']}: {line['what']}": (line["here"], line["published"]) for line in lines}


def test_a_trace_beside_what_was_published_by_hand(run: Run, tmp_path: Path) -> None:
    # Two days: f each minute, g once an hour; h, of another application, ten times in one minute.
    minutes = range(2880)
    rows = {
        "o,a,f,timer": ["1" for _ in minutes],
        "o,a,g,timer": ["1" if minute % 60 == 0 else "0" for minute in minutes],
        "o,b,h,http": ["10" if minute == 900 else "0" for minute in minutes],
    }
    head = ",".join(["HashOwner,HashApp,HashFunction,Trigger", *(str(minute + 1) for minute in minutes)])
    (tmp_path / "t.csv").write_text("\n".join([head, *(f"{key},{','.join(cells)}" for key, cells in rows.items())]))
    found = shares(run, "t.csv")
    assert found["applications: functions ≤ 1"] == (0.5, 0.54)
    assert found["functions: calls a day ≤ 10"] == (pytest.approx(1 / 3), 0.54)
    assert found["functions: calls a day ≤ 1,440"] == (1.0, 0.93)
    assert "functions: calls a day ≤ 1" not in found
    assert found["functions: trigger timer"] == (pytest.approx(2 / 3), pytest.approx(28.5 / 105.7))
    assert found["applications: CoV ≤ 1"] == (1.0, 0.619)
    # Of f and g a quarter comes in six hours of the day, and all ten calls of h.
    calls = 2880 + 48 + 10
    assert found["calls: in the hours 13 to 18"][0] == pytest.approx(((2880 + 48) / 4 + 10) / calls)
    assert not [what for what in found if "mean duration" in what or "busiest" in what]
    people = run("trace", "info", "t.csv", "--published").stdout
    assert "Azure 2019" in people
    assert "54.0%" in people


def test_a_layout_of_calls_beside_what_was_published(run: Run, tmp_path: Path) -> None:
    text = "app,func,end_timestamp,duration\na,f,5.0,0.5\na,g,9.0,8.0\nb,f,10.0,1.0\na,f,0.25,0.5\n"
    (tmp_path / "t.csv").write_text(text)
    found = shares(run, "t.csv")
    assert found["functions: mean duration ≤ 1 s"][0] == pytest.approx(2 / 3)
    assert found["functions: mean duration ≤ 1 s"][1] == pytest.approx(0.564, abs=0.001)
    assert not [what for what in found if "CoV" in what or "trigger" in what or "hours" in what]


def test_nothing_is_known_of_applications_in_a_layout_of_times(run: Run, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("function,seconds\n" + "".join(f"{'fg'[n % 2]},{n * 10}\n" for n in range(40)))
    found = shares(run, "t.csv")
    assert not [what for what in found if "functions ≤" in what]
    assert found["applications: CoV ≤ 0.5"][0] == 1.0
