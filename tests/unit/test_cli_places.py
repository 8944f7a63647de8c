"""The commands `instainfer preload` and `instainfer offload`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_harness import AT, DETAILS, PLACES, Platform, Run, runner

PRELOAD, OFFLOAD = "POST functions/resnet50/preload", "POST functions/resnet50/offload"
READY: dict[str, Any] = PLACES | {"ready": 2, "unmet": None}
COMING: dict[str, Any] = PLACES | {"unmet": None}


@pytest.fixture
def platform() -> Platform:
    return Platform({PRELOAD: (200, COMING), OFFLOAD: (200, READY | {"wanted": 0})})


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def test_preload_asks_and_does_not_wait(run: Run, platform: Platform) -> None:
    result = run("preload", "resnet50", *AT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "resnet50: 1 of 2 places ready\n"
    assert platform.asked == [(PRELOAD, {}, {"places": 1, "for_s": 600.0})]
    run("preload", "resnet50", "--places", "4", "--for", "2h", *AT)
    assert platform.asked[1][2] == {"places": 4, "for_s": 7200.0}


def test_wait_ends_when_all_places_are_ready(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [DETAILS | {"places": COMING}])
    ticks: list[float] = []

    def tick(seconds: float) -> None:
        ticks.append(seconds)
        if len(ticks) == 3:
            platform.answers["GET functions"] = (200, [DETAILS | {"places": READY}])

    result = run("preload", "resnet50", "--wait", "--json", *AT, tick=tick)
    assert result.exit_code == 0
    assert '"ready":2' in result.stdout
    assert len(ticks) == 3


def test_wait_says_why_it_is_in_vain(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [DETAILS | {"places": PLACES}])
    result = run("preload", "resnet50", "--wait", *AT)
    assert result.exit_code == 1
    assert "cannot be made ready: it needs 2 x 2048 MB, the node has 2048 MB" in result.stderr


def test_wait_has_an_end(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [DETAILS | {"places": COMING}])
    ticks: list[float] = []
    result = run("preload", "resnet50", "--wait", "--timeout", "3s", *AT, tick=ticks.append)
    assert result.exit_code == 1
    assert "only 1 of 2 places are ready after 3.00 s" in result.stderr
    assert sum(ticks) == pytest.approx(3.0)


def test_a_function_that_is_deleted_meanwhile(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [])
    result = run("preload", "resnet50", "--wait", *AT)
    assert result.exit_code == 3
    assert "deleted meanwhile" in result.stderr


def test_offload(run: Run, platform: Platform) -> None:
    result = run("offload", "resnet50", *AT)
    assert (result.exit_code, platform.asked[0][0]) == (0, OFFLOAD)
    assert "what is idle of it ends" in result.stderr


@pytest.mark.parametrize("option", [["--places", "65"], ["--places", "-1"], ["--for", "soon"], ["--timeout", "x"]])
def test_wrong_usage(run: Run, platform: Platform, option: list[str]) -> None:
    assert run("preload", "resnet50", *option, *AT).exit_code == 2
    assert platform.asked == []


@pytest.mark.parametrize("command", ["preload", "offload"])
def test_unknown_functions(run: Run, command: str) -> None:
    assert run(command, "nope", *AT).exit_code == 3
