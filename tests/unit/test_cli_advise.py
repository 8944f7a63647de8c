"""``instainfer advise``, and how sizes that are learned are shown and asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_harness import ACTION, AT, DETAILS, Platform, Run, runner

from instainfer.cli.advise import advice_for
from instainfer.core.model import MIB

KEY = DETAILS["key"]


@pytest.fixture
def platform() -> Platform:
    return Platform()


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


def known(
    limit_mib: int, need_mib: int | None, *, auto: bool = False, died: str | None = None, key: Any = KEY
) -> dict[str, Any]:
    """What a node knows of a function."""
    need_bytes = None if need_mib is None else need_mib * MIB
    return {
        "function": key,
        "memory_bytes": limit_mib * MIB,
        "need_bytes": need_bytes,
        "auto": auto,
        "out_of_memory": died,
    }


@pytest.mark.parametrize(
    ("given", "saves_mib", "write", "why"),
    [
        (known(2048, 352), 1696, "352MB", "it needs less"),
        (known(512, 480), 0, None, "it needs what it has"),
        (known(256, 288), 0, "288MB", "it needs nearly all of its limit, or more"),
        (known(256, None, died="took 300 MiB"), 0, "512MB", "it died of memory: took 300 MiB"),
        (known(256, 700, died="took 300 MiB"), 0, "700MB", "it died of memory: took 300 MiB"),
        (known(256, None), 0, None, "it has not run yet; call it, then ask again"),
        (known(352, 352, auto=True), 0, None, "its containers have the size that it needs"),
        (known(352, None, auto=True), 0, None, "half of the memory that is free"),
        (known(704, 352, auto=True, died="took 300 MiB"), 0, None, "it died of memory"),
    ],
)
def test_what_to_write(given: dict[str, Any], saves_mib: int, write: str | None, why: str) -> None:
    advice = advice_for("f", given)
    assert advice["saves_bytes"] == saves_mib * MIB
    assert advice["write"] == (None if write is None else f'memory = "auto", or memory = "{write}"')
    assert why in advice["why"]


def test_advice_for_people_and_programs(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [DETAILS])
    others = known(512, 100, key="other/secret@0.0.1")
    platform.answers["GET status"] = (200, {"nodes": [{"functions": [known(2048, 352), others]}]})
    shown = run("advise", *AT)
    assert shown.exit_code == 0
    assert 'it needs less; write memory = "auto", or memory = "352MB"' in shown.stdout
    assert "secret" not in shown.stdout, "functions of other namespaces are not shown"
    (advice,) = json.loads(run("advise", "--json", *AT).stdout)
    assert (advice["function"], advice["saves_bytes"]) == ("resnet50", 1696 * MIB)


def test_without_functions_it_says_what_to_do(run: Run, platform: Platform) -> None:
    platform.answers["GET functions"] = (200, [])
    platform.answers["GET status"] = (200, {"nodes": [{"functions": []}]})
    result = run("advise", *AT)
    assert (result.exit_code, result.stdout) == (0, "")
    assert "deploy one with" in result.stderr
    assert run("advise", "--json", *AT).stdout == "[]\n"


def test_a_size_that_is_learned_is_listed_as_such(run: Run, platform: Platform) -> None:
    annotations = [*ACTION["annotations"], {"key": "memory", "value": "auto"}]  # type: ignore[misc]
    limits = {"timeout": 60000, "memory": 312, "logs": 10}
    platform.answers["GET actions"] = (200, [{**ACTION, "annotations": annotations, "limits": limits}])
    platform.answers |= {"GET functions": (200, []), "GET status": (200, {"nodes": []})}
    assert "auto (312 MB)" in run("functions", *AT).stdout


@pytest.mark.parametrize(("given", "asked"), [("auto", "auto"), ("2GB", 2048)])
def test_deploy_takes_a_size_or_auto(run: Run, tmp_path: Path, given: str, asked: object) -> None:
    heard: list[Any] = []

    def deploy(*args: Any, **options: Any) -> dict[str, Any]:
        heard.append(options["memory_mb"])
        return ACTION

    (tmp_path / "f").mkdir()
    assert run("deploy", "f", "--memory", given, *AT, deploy=deploy).exit_code == 0
    assert heard == [asked]
    assert run("deploy", "f", "--memory", "much", *AT, deploy=deploy).exit_code == 2
