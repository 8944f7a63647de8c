"""`instainfer deploy` tries a function with its sample.json, and says whether its calls are forked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, DETAILS, ID, Platform, Run, record, runner

DEPLOYED = "resnet50 0.0.1 is deployed; call it with `instainfer invoke resnet50`"
TRYING = "trying it with sample.json"
ANSWERED = "sample.json is answered: cold, 4.1 ms start-up + 31 ms compute"


@pytest.fixture
def platform() -> Platform:
    platform = Platform()
    platform.answers["POST actions/resnet50"] = (200, record({"class": "cat"}, kind="cold"))
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


def deploy(*_: Any, **__: Any) -> dict[str, Any]:
    return dict(ACTION)


def test_it_is_called_once_and_its_verdict_awaited(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, at_s=7.0, fit=True, reason=None)
    result = run("deploy", "folder", *AT, deploy=deploy, tick=ticks)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.splitlines() == [DEPLOYED, TRYING, ANSWERED, "its calls are forked from a loaded process"]
    assert ticks.seconds == 7.0
    calls = [asked for asked in platform.asked if asked[0].startswith("POST")]
    assert calls == [("POST actions/resnet50", {"blocking": "true"}, {"image": "cat"})]


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


def test_a_failed_call_is_exit_code_1_and_the_function_is_deployed_all_the_same(run: Run, platform: Platform) -> None:
    failed = record({"error": "KeyError: 'image'\n  in main"}, "action developer error", kind="cold")
    platform.answers["POST actions/resnet50"] = (502, failed)
    result = run("deploy", "folder", *AT, deploy=deploy, tick=pytest.fail)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        DEPLOYED,
        TRYING,
        "instainfer: resnet50 failed with sample.json: KeyError: 'image' (action developer error); it is deployed all "
        f"the same, and its logs are shown by `instainfer activations {ID} --logs`",
    ]


def test_a_call_that_goes_on_is_no_success(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (202, {"activationId": ID})
    result = run("deploy", "folder", *AT, deploy=deploy, tick=pytest.fail)
    assert result.exit_code == 1
    assert f"goes on; see `instainfer activations {ID}` later" in result.stderr


def test_a_platform_that_refuses_the_call_is_told(run: Run, platform: Platform) -> None:
    platform.answers["POST actions/resnet50"] = (429, {"error": "too many calls", "code": "x"})
    result = run("deploy", "folder", "--json", *AT, deploy=deploy)
    assert result.exit_code == 1
    assert json.loads(result.stdout)["check"]["error"] == "too many calls"
    assert result.stderr.splitlines()[-1] == "instainfer: resnet50 is deployed, but could not be tried: too many calls"


def test_json_has_the_check_in_the_document(run: Run, platform: Platform) -> None:
    ticks = Ticks(platform, fit=False, reason="no")
    result = run("deploy", "folder", "--json", *AT, deploy=deploy, tick=ticks)
    assert json.loads(result.stdout) == ACTION | {
        "check": {
            "activationId": ID,
            "startKind": "cold",
            "startup_s": pytest.approx(0.0041),
            "compute_s": 0.031,
            "error": None,
            "forked": {"fit": False, "reason": "no"},
        }
    }


def test_no_check_and_no_sample_call_nobody(run: Run, platform: Platform, tmp_path: Path) -> None:
    assert run("deploy", "folder", "--no-check", *AT, deploy=deploy).stderr.splitlines() == [DEPLOYED]
    (tmp_path / "folder" / "sample.json").unlink()
    assert run("deploy", "folder", *AT, deploy=deploy).stderr.splitlines() == [DEPLOYED]
    assert platform.asked == []


@pytest.mark.parametrize("text", ["{", "[1]", "\x80", '{"a":' * 100_000])
def test_a_wrong_sample_is_told_before_anything_is_deployed(run: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "folder" / "sample.json").write_text(text, encoding="latin-1")
    result = run("deploy", "folder", *AT, deploy=pytest.fail)
    assert result.exit_code == 2
    assert "sample.json" in result.stderr
    assert "--no-check" in result.stderr
