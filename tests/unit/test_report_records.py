"""Tests of records and summaries, with figures computed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pytest
from rich.console import Console

from instainfer.core.model import Phases
from instainfer.report import results, tables
from instainfer.report.records import PHASES, CallRecord, Latency, quantile, summarise, to_line
from instainfer.report.results import Run


def call(
    function: str = "f",
    kind: str | None = "warm",
    startup_s: float = 0.1,
    compute_s: float = 0.4,
    status: str = "success",
) -> CallRecord:
    phases = Phases(model=startup_s, compute=compute_s)
    return CallRecord(function, 1.0, 1.001, "id", "c1", kind, phases, status, 0.6)


def run(label: str, *records: CallRecord) -> Run:
    loads = {"started": 2, "finished": 2, "failed": 0, "hits": 1}
    return Run(label, "fixed:600", "none", "templates" in label, records, 12.5, 3.25, loads)


def text_of(tables: Iterable[object], width: int = 80) -> str:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(*tables, sep="\n")
    return capture.get()


def test_quantiles_interpolate_linearly_between_ranks() -> None:
    assert [quantile([1, 2, 3, 4], q) for q in (0, 0.5, 1)] == [1, 2.5, 4]
    # Position 0.95 * 3 = 2.85: 3 + 0.85 * (10 - 3).
    assert quantile([1, 2, 3, 10], 0.95) == pytest.approx(8.95)
    assert quantile([7.0], 0.99) == 7.0


def test_latency_is_in_milliseconds_and_none_for_nothing() -> None:
    assert Latency.of([0.004, 0.001, 0.002, 0.003]) == Latency(2.5, 2.5, pytest.approx(3.85), pytest.approx(3.97))
    assert Latency.of([]) is None


def test_summary_counts_every_call_and_times_the_successful() -> None:
    summary = summarise(
        [
            call(kind="preloaded", startup_s=0.01),
            call(kind="joined", startup_s=0.03),
            call(kind="cold", startup_s=9.0, status="action developer error"),
            call(kind=None, status="refused: full"),
            call(kind=None, status="lost"),
        ]
    )
    assert (summary.calls, summary.lost, summary.failed) == (5, 1, 2)
    assert summary.preload_rate == 1 / 5
    assert summary.start_kinds == {"cold": 1, "preloaded": 1, "joined": 1}
    assert summary.startup is not None
    assert summary.startup.mean == pytest.approx(20.0)
    assert summary.phases_s == Phases(model=pytest.approx(0.02), compute=pytest.approx(0.4))


def test_summary_of_no_calls_has_no_latency() -> None:
    summary = summarise([])
    assert (summary.calls, summary.preload_rate, summary.e2e) == (0, 0.0, None)


def test_a_line_of_the_output_log() -> None:
    phases = Phases(0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
    line = to_line(CallRecord("f", 1.0, 1.001, "a1", "c1", "cold", phases, "success", 2.2), "stateless")
    assert line.endswith("}\n")
    assert json.loads(line) == {
        "run": "stateless",
        "activation_id": "a1",
        "function": "f",
        "container": "c1",
        "scheduled_s": 1.0,
        "sent_s": 1.001,
        "start_kind": "cold",
        "phases_s": {
            "queue": 0.1,
            "container": 0.2,
            "libraries": 0.3,
            "model": 0.4,
            "handoff": 0.5,
            "compute": 0.6,
        },
        "startup_s": pytest.approx(1.5),
        "e2e_s": pytest.approx(2.1),
        "status": "success",
        "client_s": 2.2,
    }


def test_results_have_the_promised_fields(tmp_path: Path) -> None:
    document = results.to_json([run("keep-alive", call("g"), call("f", "cold", 0.3))], seed=7)
    results.write(document, tmp_path / "results.json")
    read = json.loads((tmp_path / "results.json").read_text())
    assert read == document
    assert read["seed"] == 7
    assert set(read["machine"]) == {"cpu", "cores", "memory_gb", "python", "kernel"}
    (only,) = read["runs"]
    assert only["templates"] is False
    assert (only["label"], only["keepalive"], only["preload"]) == ("keep-alive", "fixed:600", "none")
    assert (only["calls"], only["lost"], only["memory_gb_s"], only["used_gb_s"]) == (2, 0, 12.5, 3.25)
    assert only["startup_ms"] == {
        "mean": pytest.approx(200.0),
        "p50": pytest.approx(200.0),
        "p95": pytest.approx(290.0),
        "p99": pytest.approx(298.0),
    }
    assert list(only["functions"]) == ["f", "g"]
    assert only["functions"]["f"]["start_kinds"] == {"cold": 1}
    assert only["functions"]["f"]["e2e_ms"]["p50"] == pytest.approx(700.0)


def test_results_of_a_run_without_success_say_null() -> None:
    (only,) = results.to_json([run("instainfer", call(status="lost"))], seed=1)["runs"]
    assert (only["lost"], only["e2e_ms"], only["startup_ms"]) == (1, None, None)


def comparison() -> list[Run]:
    """Every label, and figures as wide as they get."""
    slow = [call(name, kind, 12.345, 1.0) for name in ("inception_v3", "bert_base") for kind in ("cold", "prewarmed")]
    return [run(label, *slow) for label in ("stateless", "keep-alive", "instainfer", "instainfer+templates")]


@pytest.mark.parametrize("runs", [comparison(), comparison()[:1]])
def test_no_table_is_too_wide_for_80_columns(runs: list[Run]) -> None:
    everything = [*tables.functions(runs), *tables.overall(runs)]
    text = text_of(everything, width=300)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert text_of(everything, width=80).split() == text.split()
    assert "…" not in text
    for word in ("12,345", "inception_v3", "tem-", "container", "end-to-end", "GB·s measured", *PHASES):
        assert word in text


def test_tables_show_how_calls_began_and_what_is_lost() -> None:
    runs = [
        run("keep-alive", call(), call(status="lost", kind=None)),
        run("instainfer+templates", call("g", "templated")),
    ]
    text = text_of([tables.overall(runs)[1]])
    lines = {line[:22].strip(): line[22:].split() for line in text.splitlines()}
    # calls, cold, pre-warmed, templated, joined, pre-loaded, warm, rate
    assert lines["keep-alive"] == ["2", "0", "0", "0", "0", "0", "1", "0%"]
    assert lines["instainfer+templates"] == ["1", "0", "0", "1", "0", "0", "0", "0%"]
    assert "Not answered with success: keep-alive 1 lost, 0 failed" in text


def test_speed_ups_are_over_the_runs_without_pre_loading() -> None:
    runs = [
        run("stateless", call(startup_s=2.0, compute_s=1.0)),
        run("keep-alive", call(startup_s=1.0, compute_s=0.5)),
        run("instainfer", call(startup_s=0.5, compute_s=0.5)),
        run("instainfer+templates", call(startup_s=0.1, compute_s=0.4)),
    ]
    rows = [line.split() for line in text_of(tables.speedups(runs)).splitlines()[3:]]
    assert rows == [
        ["instainfer", "stateless", "4.00x", "75%", "3.00x", "67%", "+0%"],
        ["keep-alive", "2.00x", "50%", "1.50x", "33%", "+0%"],
        ["instainfer+templates", "stateless", "20.00x", "95%", "6.00x", "83%", "+0%"],
        ["keep-alive", "10.00x", "90%", "3.00x", "67%", "+0%"],
    ]
    by_function = text_of(tables.functions(runs))
    assert "20.00x" in by_function
    assert "10.00x" in by_function


def test_no_speed_up_without_something_to_compare() -> None:
    assert tables.speedups([run("instainfer", call())]) == []
    assert tables.speedups([run("stateless", call()), run("keep-alive", call())]) == []
    lost = [run("stateless", call(status="lost")), run("instainfer", call())]
    assert "–" in text_of(tables.speedups(lost))


@pytest.mark.parametrize(("value", "shown"), [(0.123, "0.12"), (8.06, "8.1"), (99.94, "99.9"), (2140.4, "2,140")])
def test_milliseconds_as_people_read_them(value: float, shown: str) -> None:
    assert tables.ms(value) == shown
