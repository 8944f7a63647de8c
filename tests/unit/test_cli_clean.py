"""``instainfer clean``: by the platform that runs, else here; what it says to people and to programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cli_harness import KEY, Platform, Run, runner

from instainfer.client import Client
from instainfer.errors import HostError

FREED = {"event": "freed", "kind": "environment", "path": "/c/env-1", "why": "nobody [needs] it", "bytes": 3 << 20}
PROGRESS = {"event": "progress", "text": "environment: /c/env-1"}
FAILED = {"event": "failed", "kind": "code", "path": "/f", "error": "/f cannot be removed: busy"}
SHOWN = {key: value for key, value in FREED.items() if key != "event"}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(Platform(), tmp_path, monkeypatch)


def stopped(*events: dict[str, Any], asked: list[Any] | None = None) -> Callable[..., bool]:
    def clean(config: Any, tell: Callable[[dict[str, Any]], None], **wanted: Any) -> bool:
        if asked is not None:
            asked.append((config.home, wanted))
        for event in events:
            tell(event)
        return True

    return clean


def test_a_stopped_home_is_cleaned_here(run: Run, tmp_path: Path) -> None:
    asked: list[Any] = []
    result = run("clean", "--home", str(tmp_path), clean_stopped=stopped(PROGRESS, FREED, asked=asked))
    assert result.exit_code == 0, result.stderr
    assert "environment" in result.stdout
    assert "3.0 MB  /c/env-1: nobody [needs] it" in result.stdout
    assert "3.0 MB were freed" in result.stdout
    assert asked == [(tmp_path, {"dry_run": False, "unused_for_s": None})]


def test_a_dry_run_says_what_would_go(run: Run, tmp_path: Path) -> None:
    asked: list[Any] = []
    result = run("clean", "--dry-run", "--unused-for", "24h", clean_stopped=stopped(FREED, asked=asked))
    assert "3.0 MB would be freed" in result.stdout
    assert asked[0][1] == {"dry_run": True, "unused_for_s": 86_400.0}


def test_nothing_to_do(run: Run) -> None:
    assert run("clean", clean_stopped=stopped()).stdout == "nothing to remove\n"


def test_as_json(run: Run) -> None:
    result = run("clean", "--json", clean_stopped=stopped(PROGRESS, FREED))
    assert json.loads(result.stdout) == {"dry_run": False, "bytes": 3 << 20, "freed": [SHOWN], "failed": []}


def test_what_could_not_be_removed_is_said_and_is_no_success(run: Run) -> None:
    result = run("clean", "--json", clean_stopped=stopped(FAILED, FREED))
    assert result.exit_code == 1
    assert result.stderr == "instainfer: /f cannot be removed: busy\n"
    shown = json.loads(result.stdout)
    assert (len(shown["freed"]), shown["failed"][0]["path"]) == (1, "/f")


def running_platform(events: list[dict[str, Any]], asked: list[Any]) -> Callable[[str, str], Client]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.url.path, json.loads(request.content)))
        return httpx2.Response(200, text="".join(json.dumps(event) + "\n" for event in events))

    return lambda api_host, auth: Client(api_host, auth, transport=httpx2.MockTransport(answer))


def test_a_running_platform_does_it_itself(run: Run) -> None:
    asked: list[Any] = []
    doors = {
        "clean_stopped": lambda *_, **__: False,
        "stored": lambda home: ("http://here:1", KEY),
        "connect": running_platform([PROGRESS, FREED, {"event": "done"}], asked),
    }
    result = run("clean", "--dry-run", "--unused-for", "2h", **doors)
    assert result.exit_code == 0, result.stderr
    assert asked == [("/instainfer/v1/clean", {"dry_run": True, "unused_for_s": 7200.0})]
    assert "3.0 MB would be freed" in result.stdout


def test_an_answer_that_breaks_off_is_no_success(run: Run) -> None:
    doors = {
        "clean_stopped": lambda *_, **__: False,
        "stored": lambda home: ("http://here:1", KEY),
        "connect": running_platform([FREED], []),
    }
    result = run("clean", **doors)
    assert result.exit_code == 1
    assert "before it was done; call this again" in result.stderr


def test_a_home_that_is_not_there(run: Run, tmp_path: Path) -> None:
    result = run("clean", "--home", str(tmp_path / "nowhere"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert "there is no home at" in result.stderr
    assert HostError.__name__ not in result.stderr
