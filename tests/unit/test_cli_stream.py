"""`instainfer invoke --stream` prints values as they come, and says at the end how it went."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import AT, ID, PHASES, Lines, Platform, Run, runner

RESULT = {"event": "result", "activationId": ID, "values": 2, "startKind": "forked", "phases": PHASES, "logs": []}


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def answered(platform: Platform, *events: Any) -> None:
    platform.answers["POST actions/tell"] = (200, Lines(events))


def test_values_are_lines_and_how_it_went_is_said_beside(run: Run, platform: Platform) -> None:
    array = {"__instainfer__": "ndarray", "dtype": "<f4", "shape": [0], "data": ""}
    answered(platform, {"event": "value", "value": "ü"}, {"event": "value", "value": array}, RESULT)
    result = run("invoke", "tell", "-p", "n", "1", "--stream", *AT)
    assert result.exit_code == 0
    assert [json.loads(line) for line in result.stdout.splitlines()] == ["ü", array]
    assert result.stderr == "forked, 4.1 ms start-up + 31 ms compute\n"
    assert platform.asked == [("POST actions/tell", {"blocking": "true"}, {"n": 1})]
    assert run("invoke", "tell", "--stream", "--json", *AT).stderr == ""


def test_an_error_comes_after_the_values_before_it(run: Run, platform: Platform) -> None:
    error = {"event": "error", "error": "it broke\nbadly", "fault": "function", "kind": "raised", "activationId": ID}
    answered(platform, {"event": "value", "value": 1}, error)
    result = run("invoke", "tell", "--stream", *AT)
    assert (result.exit_code, result.stdout) == (1, "1\n")
    assert f"tell failed: it broke (fault: function); its logs: `instainfer activations {ID} --logs`" in result.stderr


def test_an_answer_that_breaks_off_is_no_success(run: Run, platform: Platform) -> None:
    answered(platform, {"event": "value", "value": 1})
    result = run("invoke", "tell", "--stream", *AT)
    assert (result.exit_code, result.stdout) == (5, "1\n")
    assert "the answer of tell broke off" in result.stderr


@pytest.mark.parametrize("other", ["--no-wait", "--full"])
def test_a_stream_goes_with_no_other_form_of_answer(run: Run, other: str) -> None:
    result = run("invoke", "tell", "--stream", other, *AT)
    assert result.exit_code == 2
    assert "leave out" in result.stderr
