"""The commands that start something: what they hand on, and what they print of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, Platform, Run, runner

from instainfer.errors import EnvironmentBuildError
from instainfer.report.records import CallRecord


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


class Served:
    """Stands for `instainfer.embedded.serve`."""

    def __init__(self, exit_code: int = 0) -> None:
        self.exit_code = exit_code
        self.config: Any = None
        self.files: tuple[Path | None, Path | None] = (None, None)

    def __call__(self, config: Any, *, story: Path | None, ready_file: Path | None, announce: Any) -> int:
        self.config, self.files = config, (story, ready_file)
        announce("listening")
        announce("stopped")
        return self.exit_code


# up


def test_up_turns_its_options_into_a_configuration(run: Run, tmp_path: Path) -> None:
    served = Served()
    options = (
        "--port 0 --host 0.0.0.0 --memory 10GB --preload none --keep-alive 30 --no-retain --home h --story s.jsonl"
    )
    result = run("up", *options.split(), "--ready-file", "r.json", serve=served)
    config = served.config
    assert (result.exit_code, result.stdout) == (0, "listening\nstopped\n")
    assert (config.server.port, config.server.host, config.home) == (0, "0.0.0.0", Path("h").absolute())
    assert (config.node.memory_mb, config.node.retain) == (10240, False)
    assert (config.keepalive.policy, config.keepalive.ttl_s) == ("fixed", 30.0), "no other policy keeps for a time"
    assert config.preload.policy == "none"
    assert served.files == (Path("s.jsonl"), Path("r.json"))


def test_what_up_is_not_told_comes_from_the_weaker_sources(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTAINFER_NODE__RETAIN", "false")
    (tmp_path / "instainfer.toml").write_text("[node]\nmemory_mb = 512\nmax_queue = 7\n")
    served = Served()
    run("up", "--memory", "1GB", serve=served)
    node = served.config.node
    assert (node.memory_mb, node.max_queue, node.retain) == (1024, 7, False)


def test_up_ends_with_the_platforms_exit_code_and_speaks_json(run: Run) -> None:
    result = run("up", "--json", serve=Served(exit_code=1))
    assert (result.exit_code, result.stdout) == (1, '{"message":"listening"}\n{"message":"stopped"}\n')


@pytest.mark.parametrize("args", [["--port", "70000"], ["--memory", "big"], ["--keep-alive", "0"]])
def test_up_refuses_what_makes_no_sense(run: Run, args: list[str]) -> None:
    served = Served()
    assert (run("up", *args, serve=served).exit_code, served.config) == (2, None)


def test_a_mistake_in_the_file_is_named_with_its_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "instainfer.toml").write_text("[node]\nmemory = 512\n")
    result = run("up", serve=Served())
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "wrong at node.memory: Extra inputs are not permitted; see `instainfer config`" in result.stderr
    (tmp_path / "instainfer.toml").write_text("[node")
    assert "instainfer.toml is not valid TOML" in run("up", serve=Served()).stderr


# deploy


def test_deploy_says_every_step_and_how_to_call_it(run: Run) -> None:
    given: dict[str, Any] = {}

    def deploy(client: Any, folder: Path, weights: Path | None, progress: Any, **options: Any) -> Mapping[str, Any]:
        given.update(options, folder=folder, weights=weights)
        progress.step("packing it")
        progress.sent("model.pt", 512, 1024)
        progress.sent("model.pt", 1024, 1024)
        return dict(ACTION)

    options = "--name resnet50 --weights w --memory 2GB --timeout 500ms"
    result = run("deploy", "folder", *options.split(), *AT, deploy=deploy)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [
        "packing it",
        "resnet50 0.0.1 is deployed; call it with `instainfer invoke resnet50`",
    ]
    assert given == {
        "folder": Path("folder"),
        "weights": Path("w"),
        "name": "resnet50",
        "memory_mb": 2048,
        "timeout_ms": 500,
        "check": True,
    }


def test_deploy_as_json_prints_the_action(run: Run) -> None:
    result = run("deploy", "folder", "--json", *AT, deploy=lambda *_, **__: dict(ACTION))
    assert json.loads(result.stdout) == ACTION
    assert result.stdout.count("\n") == 1


def test_a_failed_build_shows_the_tail_of_its_log(run: Run) -> None:
    def deploy(*_: Any, **__: Any) -> Any:
        raise EnvironmentBuildError("the requirements cannot be installed", "no matching distribution\nfor torch==0")

    result = run("deploy", "folder", *AT, deploy=deploy)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "instainfer: the requirements cannot be installed",
        "no matching distribution",
        "for torch==0",
    ]


def test_the_real_deploy_refuses_a_folder_that_is_not_there(run: Run, platform: Platform) -> None:
    result = run("deploy", "nowhere", *AT)
    assert (result.exit_code, platform.asked) == (2, [])
    assert "nowhere" in result.stderr


# replay

TRACE = "HashOwner,HashApp,HashFunction,Trigger,1\no,a,f,http,2\no,a,g,http,1\n"
BOOKS = {"committed_gb_s": 1.0, "used_gb_s": 0.5, "committed_bytes": 0, "used_bytes": 0, "budget_bytes": 1}
LOADS = dict.fromkeys(("started", "finished", "failed", "hits", "templates"), 0)
STATUS = {"nodes": [{"memory": BOOKS, "preloads": LOADS}]}


class Replayed:
    """Stands for a replay: every call succeeds."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, bytes]] = []
        self.duration_s = 0.0

    def __call__(self, calls: Any, address: Any, duration_s: float) -> list[CallRecord]:
        assert (address.api_host, address.auth) == ("http://here:1", "uuid:secret")
        self.calls = [(call.function, call.args) for call in calls]
        self.duration_s = duration_s
        return [
            CallRecord(call.function, call.at_s, call.at_s, activation_id="a", start_kind="warm", status="success")
            for call in calls
        ]


@pytest.fixture
def trace(platform: Platform, tmp_path: Path) -> str:
    (tmp_path / "trace.csv").write_text(TRACE)
    platform.answers |= {"GET status": (200, STATUS), "GET actions": (200, [ACTION, ACTION | {"name": "alexnet"}])}
    return "trace.csv"


def test_replay_gives_the_rows_of_a_trace_to_the_functions_in_turn(run: Run, trace: str, tmp_path: Path) -> None:
    replayed = Replayed()
    result = run("replay", trace, "--data", '{"n": 1}', "--log", "log.jsonl", "--json", *AT, replay=replayed)
    assert result.exit_code == 0
    assert sorted(replayed.calls) == [("alexnet", b'{"n":1}')] * 2 + [("resnet50", b'{"n":1}')]
    assert replayed.duration_s == 60.0
    (measured,) = json.loads(result.stdout)["runs"]
    assert (measured["calls"], measured["start_kinds"], measured["memory_gb_s"]) == (3, {"warm": 3}, 0.0)
    assert [json.loads(line)["status"] for line in (tmp_path / "log.jsonl").read_text().splitlines()] == ["success"] * 3


def test_replay_takes_samples_from_a_folder_and_shows_tables(run: Run, trace: str, tmp_path: Path) -> None:
    (tmp_path / "samples" / "resnet50").mkdir(parents=True)
    (tmp_path / "samples" / "resnet50" / "sample.json").write_text('{"a": 1}')
    replayed = Replayed()
    result = run("replay", trace, "-f", "resnet50", "--samples", "samples", *AT, replay=replayed)
    assert replayed.calls == [("resnet50", b'{"a":1}')] * 3
    assert "Latency of all calls" in result.stdout
    assert result.stderr == "replaying 3 calls of 1 functions over 60 s\n"


def test_replay_without_a_sample_or_a_function_or_a_trace_is_exit_code_3(
    run: Run, trace: str, platform: Platform
) -> None:
    assert run("replay", trace, "-f", "nope", *AT, replay=Replayed()).exit_code == 3
    platform.answers["GET actions"] = (200, [])
    assert run("replay", trace, *AT, replay=Replayed()).exit_code == 3
    assert run("replay", "none.csv", *AT, replay=Replayed()).exit_code == 3


def test_a_log_that_cannot_be_written_is_said_before_the_replay(run: Run, trace: str) -> None:
    replayed = Replayed()
    result = run("replay", trace, "--data", "{}", "--log", "no/folder/log.jsonl", *AT, replay=replayed)
    assert (result.exit_code, replayed.calls) == (2, [])
    assert "cannot write no/folder/log.jsonl: No such file or directory; give another" in result.stderr


def test_a_log_of_an_earlier_replay_stays_when_the_next_one_does_not_come_about(
    run: Run, trace: str, platform: Platform, tmp_path: Path
) -> None:
    (tmp_path / "log.jsonl").write_text("earlier\n")
    platform.answers["GET actions"] = (200, [])
    assert run("replay", trace, "--log", "log.jsonl", *AT, replay=Replayed()).exit_code == 3
    assert (tmp_path / "log.jsonl").read_text() == "earlier\n"


def test_replay_of_a_malformed_trace_is_exit_code_2(run: Run, trace: str, tmp_path: Path) -> None:
    (tmp_path / trace).write_text(TRACE.replace("http,2", "http,-2"))
    result = run("replay", trace, "--data", "{}", *AT, replay=Replayed())
    assert result.exit_code == 2
    assert "trace.csv" in result.stderr


# demo


def test_demo_hands_on_its_options(run: Run) -> None:
    given: list[Any] = []

    def demo(options: Any, console: Any) -> dict[str, Any]:
        given.append(options)
        console.print("three replays")
        return {"runs": []}

    result = run("demo", demo=demo)
    assert (result.exit_code, result.stdout) == (0, "three replays\n")
    args = [
        "--full",
        "--trace",
        "t.csv",
        "--out",
        "o",
        "--seed",
        "7",
        "--weights",
        "w",
        "--runs",
        "stateless, instainfer",
        "--json",
    ]
    result = run("demo", *args, demo=demo)
    assert (result.stdout, result.stderr) == ('{"runs":[]}\n', "three replays\n")
    default, chosen = given
    assert (default.full, default.trace, default.out, default.weights) == (False, None, Path("demo-out"), None)
    assert (chosen.full, chosen.trace, chosen.out) == (True, Path("t.csv"), Path("o"))
    assert (chosen.seed, chosen.weights) == (7, Path("w"))
    assert (default.runs, chosen.runs) == ((), ("stateless", "instainfer"))


# config


def test_config_explains_every_key(run: Run) -> None:
    keys = json.loads(run("config", "--json").stdout)
    assert all(set(item) == {"key", "default", "description"} and item["description"] for item in keys)
    text = run("config").stdout
    assert all(f"{item['key']} = " in text for item in keys)


def test_config_show_tells_values_and_where_they_come_from(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSTAINFER_SERVER__PORT", "0")
    (tmp_path / "instainfer.toml").write_text("[server]\nport = 5\n[preload]\nwindow = 9\n")
    (tmp_path / "instainfer").mkdir()
    (tmp_path / "instainfer" / "instainfer.toml").write_text("[preload]\nwindow = 8\np_load = 0.5\n")
    shown = json.loads(run("config", "show", "--origin", "--json").stdout)
    assert shown["server.port"] == {"value": 0, "origin": "INSTAINFER_SERVER__PORT"}
    assert shown["preload.window"] == {"value": 9, "origin": "instainfer.toml"}
    user_file = str(tmp_path / "instainfer" / "instainfer.toml")
    assert shown["preload.p_load"] == {"value": 0.5, "origin": user_file}
    assert shown["preload.p_offload"] == {"value": 0.94, "origin": "default"}
    assert json.loads(run("config", "show", "--json").stdout)["preload.window"] == 9
    monkeypatch.setenv("INSTAINFER_DOCKER__IMAGES", '["media:1"]')
    assert json.loads(run("config", "show", "--json").stdout)["docker.images"] == ["media:1"]
    assert "INSTAINFER_SERVER__PORT" in run("config", "show", "--origin").stdout
