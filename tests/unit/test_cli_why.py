"""`instainfer why`: how a call was placed, and why a function is loaded or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import AT, ID, Platform, Run, record, runner

MIB = 1024 * 1024

OPTIONS = [
    {"action": "wait", "container": "node-c1", "start_s": 0.12, "lost_s": 0.0},
    {"action": "create", "start_s": 2.4, "lost_s": 0.0},
    {"action": "make room", "start_s": 2.4, "lost_s": 1.5, "stops": ["node-c2", "node-c3"]},
    {"action": "take", "container": "node-c4", "startKind": "templated", "start_s": 0.4, "lost_s": 3.5},
]
NODE: dict[str, Any] = {
    "node": "node",
    "function": "guest/resnet50@0.0.1",
    "calls_per_s": 0.05,
    "misses_per_s": 0.01,
    "load_failure": None,
    "load_s": {"nothing": 2.0, "libraries": 0.3, "function": 0.005},
    "compute_s": 0.031,
    "stands": [
        {
            "container": "node-c1",
            "what": "resident",
            "state": "loaded",
            "bytes": 152 * MIB,
            "age_s": 12.0,
            "reason": "called",
            "gain": 0.002,
        }
    ],
    "could_be_made": [
        {
            "what": "function template",
            "calls_per_s": 0.01,
            "saves_s": 1.995,
            "saves_in_all_s": 119.0,
            "price_s": 0.4,
            "due_in_s": None,
            "stands": 0,
        },
        {
            "what": "resident",
            "calls_per_s": 0.0,
            "saves_s": 0.031,
            "saves_in_all_s": 0.0,
            "price_s": 0.4,
            "due_in_s": None,
            "stands": 1,
        },
    ],
    "lately": [{"ago_s": 3.0, "text": "a call begins in node-c1, [warm]"}],
}


@pytest.fixture
def platform() -> Platform:
    told = record({})
    told["annotations"] += [{"key": "options", "value": OPTIONS}, {"key": "container", "value": "node-c1"}]
    why = {"name": "resnet50", "version": "0.0.1", "nodes": [NODE]}
    return Platform({f"GET activations/{ID}": (200, told), "GET functions/resnet50/why": (200, why)})


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def test_a_call_is_explained_by_its_options_with_their_seconds(run: Run) -> None:
    result = run("why", ID, *AT)
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    for words in (
        ("✓", "wait until node-c1 is idle", "120 ms", "0.0 ms"),
        ("create a container", "2.40 s"),
        ("stop node-c2, node-c3, then", "1.50 s", "3.90 s"),
        ("take the idle node-c4", "templated", "400 ms", "3.50 s"),
    ):
        assert any(all(word in line for word in words) for line in lines), (words, result.output)


def test_a_warm_call_had_nothing_to_choose(run: Run, platform: Platform) -> None:
    told = record({}, kind="warm")
    told["annotations"].append({"key": "container", "value": "node-c7"})
    platform.answers[f"GET activations/{ID}"] = (200, told)
    assert "its own idle container, node-c7" in run("why", ID, *AT).output


def test_a_refused_call_had_no_container(run: Run, platform: Platform) -> None:
    platform.answers[f"GET activations/{ID}"] = (200, record({}, kind=None))
    assert "refused before a container was chosen" in run("why", ID, *AT).output


def test_a_function_is_explained_by_what_stands_and_what_could_be_made(run: Run) -> None:
    result = run("why", "resnet50", *AT)
    assert result.exit_code == 0, result.output
    for text in ("3 calls a minute expected", "0.6 a minute did not find it loaded", "2.00 s from nothing", "152 MB"):
        assert text in result.output
    assert "made where it displaces nothing better" in result.output
    assert "not worth its making" in result.output
    assert "3.00 s ago: a call begins in node-c1, [warm]" in result.output


def test_what_is_not_due_says_when_it_will_be(run: Run, platform: Platform) -> None:
    later = NODE | {"could_be_made": [NODE["could_be_made"][0] | {"due_in_s": 42.0}], "stands": [], "calls_per_s": None}
    platform.answers["GET functions/resnet50/why"] = (200, {"nodes": [later | {"load_failure": "no module [x]"}]})
    output = run("why", "resnet50", *AT).output
    for text in ("due in 42 s", "It is loaded nowhere.", "never called yet", "no module [x]"):
        assert text in output


@pytest.mark.parametrize("what", [ID, "resnet50"])
def test_programs_get_all_of_it(run: Run, what: str) -> None:
    told = json.loads(run("why", what, "--json", *AT).stdout)
    assert told["options"] == OPTIONS if what == ID else told["nodes"] == [NODE]


def test_who_asks_for_something_that_is_not_there_is_told(run: Run) -> None:
    result = run("why", "nobody", *AT)
    assert result.exit_code == 3
    assert "does not exist" in result.output
