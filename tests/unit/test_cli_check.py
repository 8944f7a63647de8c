"""`instainfer deploy` says how a new version was tried, and whether its calls are forked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, DETAILS, ID, Platform, Run, record, runner

from instainfer.errors import CheckFailed

DEPLOYED = "resnet50 0.0.1 is deployed; call it with `instainfer invoke resnet50`"
LOADED = "it can be loaded: cold, 4.1 ms start-up + 31 ms compute"
ANSWERED = "sample.json is answered: cold, 4.1 ms start-up + 31 ms compute"


@pytest.fixture
def platform() -> Platform:
    platform = Platform()
    platform.answers["GET status"] = (200, {"nodes": []})
    return platform


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "sample.json").write_text('{"image": "cat"}')
    return runner(platform, tmp_path, monkeypatch)


class Ticks:
    """Counts the seconds that a command waits, and lets the platform know of a verdict after some of them."""

    def __init__(self, platform: Platform, at_s: float = 0.0, making: bool = True, **forked: Any) -> None:
        self.seconds, self.at_s, self.platform, self.forked = 0.0, at_s, platform, forked
        resident = {"function": "loaded:guest/resnet50@0.0.1" if making else "guest/resnet50@0.0.1"}
        platform.answers["GET status"] = (200, {"nodes": [{"containers": [{"residents": [resident]}]}]})
        self.look()

    def __call__(self, seconds: float) -> None:
        self.seconds += seconds
        self.look()

    def look(self) -> None:
        known = self.forked if self.seconds >= self.at_s else DETAILS["forked"]
        self.platform.answers["GET functions"] = (200, [DETAILS | {"name": "other"}, DETAILS | {"forked": known}])


def deploy(*_: Any, check: bool, **__: Any) -> dict[str, Any]:
    return {**ACTION, "check": record({}, kind="cold")} if check else dict(ACTION)


def test_it_is_tried_by_the_platform_and_its_verdict_awaited(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, at_s=7.0, fit=True, reason=None)
    result = run("deploy", "folder", *AT, deploy=deploy, tick=ticks)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [DEPLOYED, ANSWERED, "its calls are forked from a loaded process"]
    assert ticks.seconds == 7.0
    assert {asked for asked, _, _ in platform.asked} == {"GET functions", "GET status"}


def test_what_cannot_be_forked_is_told_with_its_reason_on_one_line(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, fit=False, reason="load() has started a thread\n(x\x1b[31m); start it in main()")
    result = run("deploy", "folder", *AT, deploy=deploy, tick=ticks)
    assert (result.exit_code, ticks.seconds) == (0, 0.0)
    expected = "cannot be forked: load() has started a thread (x [31m); start it in main()"
    assert result.stderr.splitlines()[-1] == expected


def test_where_functions_are_not_forked_at_all_nobody_waits(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, fit=None, reason="node.function_templates is off")
    result = run("deploy", "folder", *AT, deploy=deploy, tick=ticks)
    assert (result.exit_code, ticks.seconds) == (0, 0.0)
    assert result.stderr.splitlines()[-1] == "its calls are not forked: node.function_templates is off"


@pytest.mark.parametrize(("making", "waits_s"), [(True, 20.0), (False, 5.0)])
def test_it_waits_longer_while_a_template_is_being_made(
    run: Run, platform: Platform, making: bool, waits_s: float
) -> None:
    ticks = Ticks(platform, at_s=100.0, making=making)
    result = run("deploy", "folder", *AT, deploy=deploy, tick=ticks)
    assert (result.exit_code, ticks.seconds) == (0, waits_s)
    assert "not known yet" in result.stderr.splitlines()[-1]
    assert "`instainfer function show resnet50`" in result.stderr.splitlines()[-1]


def test_a_version_that_was_replaced_meanwhile_is_not_waited_for(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [DETAILS | {"version": "0.0.2", "forked": {"fit": True, "reason": None}}])
    result = run("deploy", "folder", *AT, deploy=deploy, tick=pytest.fail)
    assert "not known yet" in result.stderr.splitlines()[-1]


def test_a_failed_check_is_exit_code_1_and_says_the_traceback(run: Run) -> None:
    def fails(*_: Any, **__: Any) -> dict[str, Any]:
        raise CheckFailed("resnet50 failed when it was tried:\nKeyError: 'image'\n  in main")

    result = run("deploy", "folder", *AT, deploy=fails, tick=pytest.fail)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        "instainfer: resnet50 failed when it was tried:",
        "KeyError: 'image'",
        "  in main",
    ]


def test_json_has_the_check_in_the_document(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, fit=False, reason="no")
    result = run("deploy", "folder", "--json", *AT, deploy=deploy, tick=ticks)
    assert json.loads(result.stdout) == ACTION | {
        "check": {
            "activationId": ID,
            "startKind": "cold",
            "startup_s": pytest.approx(0.0041),
            "compute_s": 0.031,
            "forked": {"fit": False, "reason": "no"},
        }
    }


def test_no_check_and_no_sample_wait_for_nobody(run: Run, platform: Platform, tmp_path: Path) -> None:
    assert run("deploy", "folder", "--no-check", *AT, deploy=deploy).stderr.splitlines() == [DEPLOYED]
    (tmp_path / "folder" / "sample.json").unlink()
    assert run("deploy", "folder", *AT, deploy=deploy).stderr.splitlines() == [DEPLOYED, LOADED]
    assert platform.asked == []


@pytest.mark.parametrize("text", ["{", "[1]", "\x80", '{"a":' * 100_000])
def test_a_wrong_sample_is_told_before_anything_is_deployed(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "folder" / "sample.json").write_text(text, encoding="latin-1")
    result = run("deploy", "folder", *AT, deploy=pytest.fail)
    assert result.exit_code == 2
    assert "sample.json" in result.stderr
    assert "--no-check" in result.stderr
