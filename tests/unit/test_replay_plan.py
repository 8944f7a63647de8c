"""What surrounds a replay: the plan of its calls, the platforms it runs on, the books it reads, the demo's options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instainfer.environments.sample import sample_request
from instainfer.errors import BadFunction, BadInput, NotFound
from instainfer.examples import PAPER, example
from instainfer.experiments import demo
from instainfer.experiments.demo import DEFAULT_SEED, SHORT, Options
from instainfer.experiments.platform import COMPARISON, Books, chosen
from instainfer.experiments.replay import PlannedCall
from instainfer.experiments.workload import plan, without_idle_beginning
from instainfer.traces.azure2019 import Trace, TraceFunction
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate


def test_rows_take_the_functions_in_turn_with_their_requests() -> None:
    rows = tuple(TraceFunction("o", "a", f"row{n}", "http", (n + 1,)) for n in range(3))
    calls = plan(Counts(Trace(rows, 1, "test")), 5, ["f", "g"], {"f": b'{"x":1}', "g": b"{}"})
    assert [call.at_s for call in calls] == sorted(call.at_s for call in calls)
    # Rows 0 and 2 (1 + 3 calls) are f, row 1 (2 calls) is g.
    assert sorted((call.function, call.args) for call in calls) == [("f", b'{"x":1}')] * 4 + [("g", b"{}")] * 2


def test_sample_requests_are_json_objects(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"no .*sample\.json"):
        sample_request(tmp_path)
    (tmp_path / "sample.json").write_text('{ "top": 5 }')
    assert sample_request(tmp_path) == b'{"top":5}'
    (tmp_path / "sample.json").write_text("[1]")
    with pytest.raises(BadFunction, match="must be a JSON object"):
        sample_request(tmp_path)
    (tmp_path / "sample.json").write_text("{")
    with pytest.raises(BadFunction, match="not JSON"):
        sample_request(tmp_path)


def status(committed_gb_s: float, hits: int) -> dict[str, Any]:
    memory = {
        "budget_bytes": 100,
        "committed_bytes": 60,
        "used_bytes": 30,
        "committed_gb_s": committed_gb_s,
        "used_gb_s": committed_gb_s / 4,
    }
    loads = {"started": 3, "finished": 2, "failed": 1, "hits": hits, "templates": hits + 1}
    return {"nodes": [{"memory": memory, "preloads": loads}] * 2}


def test_books_add_up_the_nodes_and_count_from_an_earlier_moment() -> None:
    before, after = Books.of(status(8.0, 1)), Books.of(status(20.0, 4))
    assert (after.committed_gb_s, after.used_gb_s, after.budget_bytes) == (40.0, 10.0, 200)
    during = after.since(before)
    assert (during.committed_gb_s, during.used_gb_s, during.used_bytes) == (24.0, 6.0, 60)
    assert dict(during.preloads) == {"started": 0, "finished": 0, "failed": 0, "hits": 6, "templates": 6}


def test_the_comparison_differs_in_one_thing_at_a_time() -> None:
    assert [(each.label, each.retain, each.preload, each.templates) for each in COMPARISON] == [
        ("stateless", False, "none", False),
        ("keep-alive", True, "none", False),
        ("instainfer", True, "opportunistic", False),
        ("instainfer+templates", True, "opportunistic", True),
    ]
    assert {each.keepalive for each in COMPARISON} == {"fixed:600"}


def test_some_runs_can_be_chosen_and_unknown_ones_are_refused() -> None:
    assert chosen(()) == COMPARISON
    assert chosen(("instainfer", "stateless")) == (COMPARISON[0], COMPARISON[2])
    with pytest.raises(BadInput, match=r"no run 'warm'; there are stateless, keep-alive, instainfer, instainfer\+temp"):
        chosen(("warm", "stateless"))


def test_the_idle_beginning_of_a_trace_is_left_out_of_every_run() -> None:
    calls = [PlannedCall(at_s, "f", b"{}") for at_s in (4.25, 10.0)]
    begun, duration_s = without_idle_beginning(calls, 60.0)
    assert ([call.at_s for call in begun], duration_s) == ([0.5, 6.25], 56.25)
    at_once, duration_s = without_idle_beginning([PlannedCall(0.25, "f", b"{}")], 60.0)
    assert ([call.at_s for call in at_once], duration_s) == ([0.25], 60.0)
    assert without_idle_beginning([], 60.0) == ([], 60.0)


def test_budgets_do_not_hold_all_functions_and_the_command_repeats_the_run() -> None:
    short, full = Options(), Options(full=True, trace=Path("a b.csv"), seed=9)
    assert (len(short.functions), short.memory_mb) == (4, 3 * 2048)
    assert (full.functions, full.memory_mb) == (PAPER, 5 * 2048)
    assert short.command == f"instainfer demo --seed {DEFAULT_SEED} --out demo-out"
    assert Options(runs=("stateless", "instainfer")).command == (
        f"instainfer demo --runs stateless,instainfer --seed {DEFAULT_SEED} --out demo-out"
    )
    assert full.command == "instainfer demo --full --trace 'a b.csv' --seed 9 --out demo-out"


def test_the_default_seed_calls_every_function_of_both_default_traces() -> None:
    for minutes, functions in ((1, 4), (5, 8)):
        trace = generate(minutes, functions, DEFAULT_SEED)
        assert all(sum(function.counts) for function in trace.functions)
        assert 19 <= trace.calls / minutes <= 30
        if minutes == 1:
            calls = plan(Counts(trace), DEFAULT_SEED, SHORT, dict.fromkeys(SHORT, b"{}"))
            assert without_idle_beginning(calls, trace.duration_s)[1] <= 52


def test_only_a_demos_folder_is_written_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    demo._make_room(out)
    (out / "runs" / "stateless").mkdir(parents=True)
    demo._make_room(out)
    assert not (out / "runs").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(BadInput, match="not a demo's"):
        demo._make_room(tmp_path / "mine")
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="not a folder"):
        demo._make_room(tmp_path / "file")


def test_an_unknown_example_is_answered_with_what_there_is() -> None:
    with pytest.raises(NotFound, match=r"no example function resnet51; there are alexnet, .*vgg19"):
        example("resnet51")
