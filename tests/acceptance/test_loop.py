"""The loop of a function's author: `init`, `dev` and `logs` on a real platform, with the starters as they are."""

from __future__ import annotations

import asyncio
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from live import Platform, command, running

from instainfer.config import load_config
from instainfer.environments.builder import Environments
from instainfer.environments.manifest import read_manifest

pytestmark = pytest.mark.acceptance

CHANGE_S = 1.0
"""A change of the code is answered within this time on a machine that does nothing else. Tests allow three times it."""
ANSWERS = {
    "plain": {"letters": 21, "most": "o"},
    "script": {"language": "English", "words": 3},
    "sklearn": {"species": "setosa"},
    "onnx": {"species": "setosa"},
    "torch": {"species": "setosa"},
    "transformers": {"similarity": pytest.approx(0.66, abs=0.01)},
}
#: These build environments with PyTorch that no other test needs, which takes minutes.
HEAVY = [
    pytest.mark.torch,
    pytest.mark.timeout(600),
    pytest.mark.skipif("INSTAINFER_HEAVY_TESTS" not in os.environ, reason="only with INSTAINFER_HEAVY_TESTS=1"),
]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with running(tmp_path) as up:
        yield up


def pinned(folder: Path) -> list[str]:
    """The packages that the requirements of a folder name."""
    lines = (folder / "requirements.txt").read_text().splitlines()
    return [line for line in lines if "==" in line and not line.startswith("#")]


@pytest.mark.parametrize(
    "template", [pytest.param(name, marks=HEAVY if name in ("torch", "transformers") else []) for name in ANSWERS]
)
@pytest.mark.timeout(300)
def test_what_init_writes_is_deployed_and_answers(tmp_path: Path, template: str) -> None:
    cache = load_config().cache_dir
    with running(tmp_path, INSTAINFER_CACHE=str(cache)) as up:
        up.cli("init", "mine", "--template", template)
        # Here, because it may take longer than a command has in these tests.
        asyncio.run(Environments(cache / "environments").ensure(read_manifest(up.folder / "mine").requirements))
        up.cli("deploy", "mine", "--no-check")
        answer = up.cli("invoke", "mine", "--data", "@mine/sample.json").json
        expected = ANSWERS[template]
        assert {key: answer[key] for key in expected} == expected
        told = up.cli("function", "show", "mine").out
        packages = [name for name in pinned(up.folder / "mine") if name not in told]
        assert packages == []
        assert "calls       1 " in told


def test_a_change_is_deployed_at_once_and_mistakes_leave_the_version_before(platform: Platform) -> None:
    platform.cli("init", "mine")
    handler = platform.folder / "mine" / "handler.py"
    good = handler.read_text()
    with command(platform, "dev", "mine") as dev:
        assert json.loads(dev.until('{"letters"')) == {"letters": 21, "most": "o"}
        dev.until("stdout: counted 21 letters")

        changed_at = time.monotonic()
        handler.write_text(good.replace('"letters":', '"counted":'))
        assert json.loads(dev.until('{"counted"')) == {"counted": 21, "most": "o"}
        assert time.monotonic() - changed_at < 3 * CHANGE_S

        handler.write_text(good.replace('"letters":', '"letters"'))
        dev.until("SyntaxError")
        assert platform.cli("invoke", "mine", "-p", "text", "abc").json == {"counted": 3, "most": "a"}

        handler.write_text(good.replace("def load() -> None:", "def load() -> None:\n    1 / 0"))
        dev.until("handler.py")
        dev.until("1 / 0")
        dev.until("ZeroDivisionError")

        handler.write_text(good)
        dev.until('{"letters"')
        assert dev.interrupt() == 130
    assert not re.search("^Traceback", "\n".join(dev.all), re.MULTILINE)
    assert platform.cli("invoke", "mine", "-p", "text", "abc").json == {"letters": 3, "most": "a"}


def test_logs_are_followed_through_many_calls(platform: Platform) -> None:
    platform.put("one", "def main(args):\n    print('call', args['n'])\n    return {}")
    platform.put("two", "def main(args):\n    print('other', args['n'])\n    return {}")
    platform.call("one", {"n": 0})
    assert platform.cli("logs").out.endswith("call 0\n")
    with command(platform, "logs", "--follow") as logs:
        logs.until("call 0")
        for n in range(1, 51):
            platform.call("one" if n % 2 else "two", {"n": n})
        logs.until("other 50")
        assert logs.interrupt() == 130
    printed = [line.split(": ")[1] for line in logs.all]
    assert printed == ["call 0", *(f"{'call' if n % 2 else 'other'} {n}" for n in range(1, 51))]
    last = platform.cli("logs", "two", "--last", "2", "--json").out.splitlines()
    assert [json.loads(line)["line"][31:] for line in last] == ["stdout: other 48", "stdout: other 50"]


def test_the_completion_of_the_shell_knows_the_commands(platform: Platform) -> None:
    asked = {"COMP_WORDS": "instainfer fun", "COMP_CWORD": "1", "_INSTAINFER_COMPLETE": "complete_bash"}
    assert platform.cli(**asked).out.split() == ["functions", "function"]
    home = {"HOME": str(platform.folder), "SHELL": os.environ.get("SHELL", "/bin/bash")}
    assert "completion" in platform.cli("--install-completion", "bash", **home).out
