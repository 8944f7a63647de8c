"""``instainfer logs``: which lines are printed, and that following misses none and prints none twice."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest
from cli_harness import ACTION, AT, ID, NOW_MS, Platform, Run, record, runner

from instainfer.cli import logs
from instainfer.cli.logs import Tail

LINE = record({})["logs"][0]


class Records:
    """Answers `Client.activations` as the platform does. `ends` are the calls that end with each question."""

    def __init__(self, calls: list[dict[str, Any]], ends: list[int]) -> None:
        self._waiting = sorted(calls, key=lambda call: call["end"])
        self._ends = ends
        self.ended: list[dict[str, Any]] = []

    def activations(
        self, *, limit: int, skip: int = 0, name: str | None = None, since: int = 0, ended_since: int = 0, docs: bool
    ) -> list[dict[str, Any]]:
        for _ in range(self._ends.pop() if self._ends else 0):
            if self._waiting:
                self.ended.append(self._waiting.pop(0))
        found = [call for call in self.ended if call["end"] >= ended_since and call["start"] >= since]
        return sorted(found, key=lambda call: call["start"], reverse=True)[skip : skip + limit]


@pytest.mark.parametrize("seed", range(30))
def test_every_call_is_returned_once_whenever_it_began(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(logs, "PAGE", 5)
    random = Random(seed)
    calls = [{"activationId": str(n), "start": random.randrange(1000), "end": 0} for n in range(200)]
    for call in calls:
        call["end"] = call["start"] + random.choice([0, 1, 5, 500])
    records = Records(calls, [random.randrange(8) for _ in range(200)])
    tail = Tail(cast(Any, records), None)
    first = tail.latest(5)
    before = len(records.ended)
    returned = [call["activationId"] for call in first]
    while len(records.ended) < len(calls):
        returned += [call["activationId"] for call in tail.new()]
    returned += [call["activationId"] for call in tail.new()]
    assert len(returned) == len(set(returned))
    assert {call["activationId"] for call in records.ended[before:]} <= set(returned)


def test_a_call_that_still_runs_comes_when_it_has_ended() -> None:
    running = {"activationId": "r", "start": 100}
    answers = [[running], [{**running, "end": 400}], [{**running, "end": 400}]]
    asked: list[int | None] = []

    class Client:
        def activations(self, *, ended_since: int | None = None, **_: Any) -> list[dict[str, Any]]:
            asked.append(ended_since)
            return answers.pop(0)

    tail = Tail(cast(Any, Client()), None)
    assert tail.latest(1) == []
    assert [call["activationId"] for call in tail.new()] == ["r"]
    assert tail.new() == []
    assert asked == [None, 100, 400]


@pytest.fixture
def platform() -> Platform:
    return Platform({"GET actions/resnet50": (200, ACTION)})


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def test_lines_name_their_function_unless_one_was_asked_for(run: Run, platform: Platform) -> None:
    older = record({}) | {"activationId": "a" * 32, "start": NOW_MS - 1, "logs": ["older"]}
    platform.answers["GET activations"] = (200, [record({}), older])
    assert run("logs", *AT).stdout == f"resnet50  older\nresnet50  {LINE}\n"
    assert run("logs", "resnet50", "--last", "2", *AT).stdout == f"older\n{LINE}\n"
    asked = platform.asked[-1][1]
    assert (asked["name"], asked["limit"], asked["docs"]) == ("resnet50", "2", "true")
    lines = [json.loads(line) for line in run("logs", "--json", *AT).stdout.splitlines()]
    assert lines[1] == {"activationId": ID, "function": "resnet50", "line": LINE}


def test_following_goes_on_until_it_is_ended(run: Run, platform: Platform) -> None:
    platform.answers["GET activations"] = (200, [])
    ticks: list[float] = []

    def tick(wait_s: float) -> None:
        ticks.append(wait_s)
        if len(ticks) == 2:
            platform.answers["GET activations"] = (200, [record({})])
        if len(ticks) == 4:
            raise KeyboardInterrupt

    result = run("logs", "-f", *AT, tick=tick)
    assert (result.exit_code, result.stdout) == (130, f"resnet50  {LINE}\n")
    assert [asked[1].get("endedSince") for asked in platform.asked] == [None, "0", "0", str(NOW_MS + 35)]


def test_nothing_printed_is_said_and_an_unknown_function_is_an_error(run: Run, platform: Platform) -> None:
    platform.answers["GET activations"] = (200, [])
    result = run("logs", *AT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "printed nothing" in result.stderr
    assert run("logs", "nope", *AT).exit_code == 3
