"""The commands ``instainfer secret``: where a value comes from, what is sent, and what is said."""

from __future__ import annotations

import getpass
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_harness import AT, NOW_MS, Platform, Run, runner

from instainfer.cli import secret

PATH = "functions/resnet50/secrets"


@pytest.fixture
def platform() -> Platform:
    return Platform(
        {
            f"PUT {PATH}/TOKEN": (200, {"key": "TOKEN", "deployed": True, "problem": None}),
            f"DELETE {PATH}/TOKEN": (200, {"key": "TOKEN", "deployed": True, "problem": None}),
            f"GET {PATH}": (200, [{"key": "TOKEN", "updated_ms": NOW_MS}]),
        }
    )


@pytest.fixture
def run(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return runner(platform, tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("stdin", "value"),
    [("hunter2", "hunter2"), ("hunter2\n", "hunter2"), ("hunter2\r\n", "hunter2"), ("-----\nkey\n\n", "-----\nkey\n")],
)
def test_a_value_comes_from_standard_input_without_its_last_line_break(
    run: Run, platform: Platform, stdin: str, value: str
) -> None:
    result = run("secret", "set", "resnet50", "TOKEN", *AT, stdin=stdin)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "resnet50 has TOKEN from its next call on, for which it is loaded anew\n"
    assert platform.asked == [(f"PUT {PATH}/TOKEN", {}, {"value": value})]


def test_a_value_is_no_argument(run: Run, platform: Platform) -> None:
    assert run("secret", "set", "resnet50", "TOKEN", "hunter2", *AT).exit_code == 2
    assert platform.asked == []


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"deployed": False, "problem": None}, "TOKEN is kept for resnet50, which is not deployed yet"),
        ({"deployed": True, "problem": "no B"}, "resnet50 has TOKEN, and still cannot be called: no B"),
    ],
)
def test_it_is_said_when_no_call_can_have_it_yet(run: Run, platform: Platform, told: dict[str, Any], said: str) -> None:
    platform.answers[f"PUT {PATH}/TOKEN"] = (200, {"key": "TOKEN", **told})
    assert run("secret", "set", "resnet50", "TOKEN", *AT, stdin="x").stderr == f"{said}\n"


@pytest.mark.parametrize(("stdin", "says"), [(b"\xff", "not UTF-8"), (b"x" * 65_539, "longer than the 65,536 bytes")])
def test_what_cannot_be_a_value_is_not_sent(run: Run, platform: Platform, stdin: bytes, says: str) -> None:
    result = run("secret", "set", "resnet50", "TOKEN", *AT, stdin=stdin)
    assert result.exit_code == 2
    assert says in result.stderr
    assert platform.asked == []


def test_on_a_terminal_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    asked = []
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(getpass, "getpass", lambda prompt: asked.append(prompt) or "hunter2")
    assert secret._value("TOKEN") == "hunter2"
    assert asked == ["value of TOKEN: "]


def test_list_shows_keys_and_times(run: Run, platform: Platform) -> None:
    result = run("secret", "list", "resnet50", *AT)
    assert result.stdout.split()[:2] == ["SECRET", "SET"]
    assert "TOKEN" in result.stdout
    assert run("secret", "list", "resnet50", "--json", *AT).stdout == f'[{{"key":"TOKEN","updated_ms":{NOW_MS}}}]\n'
    platform.answers[f"GET {PATH}"] = (200, [])
    assert "resnet50 has no secrets" in run("secret", "list", "resnet50", *AT).stderr


def test_unset_and_what_is_not_there(run: Run, platform: Platform) -> None:
    assert run("secret", "unset", "resnet50", "TOKEN", *AT).stderr == "resnet50 has no TOKEN any more\n"
    assert run("secret", "unset", "resnet50", "OTHER", *AT).exit_code == 3
    told = run("secret", "set", "resnet50", "TOKEN", "--json", *AT, stdin="x").stdout
    assert told == '{"key":"TOKEN","deployed":true,"problem":null}\n'


@pytest.mark.parametrize(("unreadable", "said"), [(0, ""), (1, "1 could not be read with the old key")])
def test_a_new_key_is_told_with_the_number_of_secrets(run: Run, platform: Platform, unreadable: int, said: str) -> None:
    platform.answers["POST secrets/rotate-key"] = (200, {"resealed": 3, "unreadable": unreadable})
    result = run("secret", "rotate-key", *AT)
    assert result.exit_code == 0
    assert "3 secrets are encrypted with a new key" in result.stderr
    assert said in result.stderr
    assert ("could not" in result.stderr) is bool(unreadable)
