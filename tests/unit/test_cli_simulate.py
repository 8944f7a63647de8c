"""``instainfer simulate`` and ``instainfer trace``, without a platform."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import Platform, Run, runner

from instainfer.config import KeepAliveConfig
from instainfer.errors import BadInput
from instainfer.sim.costs import dump, load


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    run = runner(Platform(), tmp_path, monkeypatch)
    assert run("trace", "generate", "--minutes", "5", "-o", "t.csv").exit_code == 0
    return run


def test_a_simulation_for_programs(run: Run, tmp_path: Path) -> None:
    options = ["--keepalive", "fixed:60", "--memory-gb", "6", "--seed", "7", "--log", "log", "--chrome-trace", "chrome"]
    result = run("simulate", "t.csv", "--json", "r.json", *options)
    assert (result.exit_code, result.stdout) == (0, "")
    document = json.loads((tmp_path / "r.json").read_text())
    [figures] = document["runs"]
    assert (figures["keepalive"], figures["preload"], document["seed"]) == ("fixed:60", "opportunistic", 7)
    assert (figures["memory_gb"], figures["nodes"], figures["costs"]) == (6.0, 1, "paper")
    assert figures["ahead_processor_s"] > 0.0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert len(lines) == figures["calls"] > 0
    assert {line["status"] for line in lines} == {"success"}
    assert json.loads((tmp_path / "chrome").read_text())


def test_models_are_loaded_fast_where_templates_are_used_unless_it_is_said(run: Run, tmp_path: Path) -> None:
    def startup_ms(*options: str) -> float:
        assert run("simulate", "t.csv", "--preload", "off", "--json", "r.json", *options).exit_code == 0
        [figures] = json.loads((tmp_path / "r.json").read_text())["runs"]
        return float(figures["startup_ms"]["mean"])

    assert startup_ms("--templates", "off") == startup_ms("--templates", "off", "--fast-init", "off")
    assert startup_ms("--templates", "off") > startup_ms("--templates", "off", "--fast-init", "on")
    assert startup_ms() == startup_ms("--fast-init", "on")


def test_functions_are_forked_from_templates_of_their_own_where_templates_are_used_and_the_costs_know_them(
    run: Run, tmp_path: Path
) -> None:
    def start_kinds(*options: str) -> set[str]:
        assert run("simulate", "t.csv", "--preload", "off", "--json", "r.json", *options).exit_code == 0
        [figures] = json.loads((tmp_path / "r.json").read_text())["runs"]
        assert figures["function_templates"] == ("off" not in options)
        return set(figures["start_kinds"])

    assert "forked" in start_kinds()
    assert "forked" not in start_kinds("--function-templates", "off")
    assert "forked" not in start_kinds("--templates", "off")
    assert "forked" in start_kinds("--function-templates", "on", "--memory-gb", "6")
    costs = json.loads(dump(load("paper")))
    for each in costs["functions"].values():
        del each["function_template"]
    (tmp_path / "unfit.json").write_text(json.dumps(costs))
    assert "forked" not in start_kinds("--costs", "unfit.json")


def test_without_pre_loading_there_are_still_function_templates_unless_they_are_off_too(
    run: Run, tmp_path: Path
) -> None:
    def figures(*options: str) -> Any:
        assert run("simulate", "t.csv", "--preload", "off", "--json", "r.json", *options).exit_code == 0
        [figures] = json.loads((tmp_path / "r.json").read_text())["runs"]
        return figures

    with_them, without = figures(), figures("--function-templates", "off")
    assert (with_them["preload"], without["preload"]) == ("templates", "none")
    assert figures("--templates", "off")["preload"] == "none"
    assert figures("--templates", "off", "--function-templates", "on")["preload"] == "templates"
    for each in (with_them, without):
        assert each["preloads"]["started"] == 0
        assert not {"preloaded", "joined"} & set(each["start_kinds"]), "no function is loaded but by a call"
    assert with_them["start_kinds"]["forked"] > 0
    assert "forked" not in without["start_kinds"]


def test_where_there_is_memory_learned_sizes_are_small(run: Run, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("function,seconds\n" + "".join(f"resnet18,{10 * n}\n" for n in range(20)))

    def memory_gb_s(memory: str) -> float:
        given = ["--preload", "off", "--memory-gb", "4", "--json", "r.json", "--memory", memory]
        assert run("simulate", "few.csv", *given).exit_code == 0
        [figures] = json.loads((tmp_path / "r.json").read_text())["runs"]
        assert figures["auto_memory"] == (memory == "auto")
        return float(figures["memory_gb_s"])

    assert memory_gb_s("auto") < 0.8 * memory_gb_s("costs")


def test_memory_that_costs_something_is_used_less(run: Run, tmp_path: Path) -> None:
    def memory_gb_s(*options: str) -> float:
        assert run("simulate", "t.csv", "--json", "r.json", *options).exit_code == 0
        [figures] = json.loads((tmp_path / "r.json").read_text())["runs"]
        assert figures["keepalive"].startswith("objective")
        return float(figures["memory_gb_s"])

    free = memory_gb_s()
    assert memory_gb_s("--keepalive", "objective:memory_price_s=0") == free
    cheap = memory_gb_s("--keepalive", "objective:memory_price_s=0.001")
    dear = memory_gb_s("--keepalive", "objective:memory_price_s=0.1")
    assert free > cheap > dear > 0.0


def test_a_simulation_for_people(run: Run) -> None:
    result = run(
        "simulate", "t.csv", "--baseline", "stateless", "--preload", "off", "--templates", "off", "--nodes", "2"
    )
    assert result.exit_code == 0, result.output
    assert "stateless, preload none, costs: paper, 10 GB, 2 nodes" in result.stdout
    assert "prewarmed" in result.stdout
    assert "ahead of calls: 0 loads and 0 function templates, 0 processor seconds, 0.00 ms a call" in result.stdout
    assert "warm " not in result.stdout.replace("prewarmed", "")


def test_json_to_standard_output_is_all_there_is(run: Run) -> None:
    result = run("simulate", "t.csv", "--json", "-", "-f", "resnet50", "-f", "vgg19")
    assert sorted(json.loads(result.stdout)["runs"][0]["functions"]) == ["resnet50", "vgg19"]


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["none.csv"], 3, "no trace at none.csv"),
        (["t.csv", "--costs", "none.json"], 3, "no cost set 'none.json'"),
        (["t.csv", "--costs", "t.csv"], 2, "t.csv is not a cost set"),
        (["t.csv", "--keepalive", "eternal"], 2, "no policy 'eternal' among the keepalives"),
        (["t.csv", "--predictor", "oracle"], 2, "no policy 'oracle' among the predictors"),
        (["t.csv", "-f", "nobody"], 2, "no function 'nobody'"),
        (["t.csv", "--json", "no/where"], 2, "cannot write no/where"),
        (["t.csv", "--durations", "mine"], 2, "costs or trace"),
    ],
)
def test_what_is_wrong_is_said(run: Run, options: list[str], code: int, message: str) -> None:
    result = run("simulate", *options)
    assert result.exit_code == code
    assert message in result.stderr


def test_parameters_of_keep_alive() -> None:
    from instainfer.cli.simulate import keepalive_config

    default = KeepAliveConfig(ttl_s=90.0)
    assert keepalive_config("objective", default) == default
    assert keepalive_config("fixed", default) == KeepAliveConfig(policy="fixed", ttl_s=90.0)
    assert keepalive_config("objective:memory_price_s=0.001", default).memory_price_s == 0.001
    assert keepalive_config("fixed:30", default).ttl_s == 30.0
    assert keepalive_config("objective:0.001", default).memory_price_s == 0.001
    for text in ("fixed:30", "objective:0.001", "objective:0", "greedy_dual", "pagurus:30,lifetime_s=100.0"):
        assert keepalive_config(text, KeepAliveConfig()).in_short() == text
    assert keepalive_config("fixed:ttl_s=45", default).ttl_s == 45.0
    for text, reason in (
        ("fixed:soon", "ttl_s: Input should be a valid number"),
        ("fixed:0", "ttl_s: Input should be greater than 0"),
        ("fixed:speed=3", "there is no parameter 'speed'"),
        ("fixed:1,2", "only the first parameter may go without its name"),
        ("greedy_dual:1", "no parameter of greedy_dual may go without its name"),
        ("objective:memory_price_s=-1", "memory_price_s: Input should be greater than or equal to 0"),
    ):
        with pytest.raises(BadInput, match=reason):
            keepalive_config(text, default)


def test_a_trace_is_described_cut_and_described_again(run: Run) -> None:
    whole = json.loads(run("trace", "info", "t.csv", "--classes", "--json").stdout)
    assert (whole["functions"], whole["duration_s"]) == (8, 300.0)
    assert sum(whole["classes"].values()) == 8
    assert "8 functions in 5 min" in run("trace", "info", "t.csv", "--classes").stdout
    result = run(
        "trace", "select", "t.csv", "-o", "part.csv.gz", "--window", "1:3", "--functions", "2", "--min-calls", "2"
    )
    assert result.exit_code == 0, result.output
    part = json.loads(run("trace", "info", "part.csv.gz", "--json").stdout)
    assert (part["functions"], part["duration_s"]) == (2, 120.0)
    assert "is not FROM:TO" in run("trace", "select", "t.csv", "-o", "x", "--window", "1-3").stderr
    assert run("trace", "select", "t.csv", "-o", "no/where").exit_code == 2


def test_times_of_their_own_stay_that(run: Run, tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("function,seconds\nf,1.5\ng,70\nf,80\n")
    assert run("trace", "select", "s.csv", "-o", "late.csv", "--window", "1:").exit_code == 0
    assert (tmp_path / "late.csv").read_text() == "function,seconds\ng,10.0\nf,20.0\n"


def test_a_recorded_story_becomes_a_chrome_trace(run: Run, tmp_path: Path) -> None:
    (tmp_path / "story").write_text('{"event":{"type":"TimerFired","at":1.0},"decisions":[],"notes":[]}\n')
    assert run("trace", "chrome", "story", "-o", "out.json").exit_code == 0
    assert json.loads((tmp_path / "out.json").read_text()) == []
