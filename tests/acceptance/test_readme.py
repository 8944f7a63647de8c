"""What README.md tells people to type and to write: where it stands, and that a test does it.

`test_wheel.py` does what "A platform of your own" says, in its order, with these helpers. A block counts when the line
before it says so: ``<!-- test: NAME -->``. Blocks of one name belong together. Those that begin with a path in a
comment are files; in a ``console`` block, what follows ``$`` is typed, and the JSON below it must be the answer.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from live import PATIENCE_S, Platform

pytestmark = pytest.mark.acceptance

README = Path(__file__).parents[2] / "README.md"

OWN = "## A platform of your own"
ELSEWHERE = {
    "make demo": "its parts are tested in tests/integration/test_experiment_live.py; it takes minutes",
    "make demo DEMO=--full": "the same; it takes twenty minutes",
    "make test": "CI runs it",
    "make bench": "measures for minutes; what it calls is in tests/acceptance/test_platform.py",
    "pip wheel --no-deps .": "beside `pip install .`: tests/acceptance/test_wheel.py does both",
    "instainfer --install-completion": "tests/acceptance/test_loop.py, which names the shell",
    ".venv/bin/instainfer experiment run budget": "takes minutes; tests/unit/test_scenario.py reads all scenarios",
    ".venv/bin/instainfer experiment run front": "the same",
    ".venv/bin/python benchmarks/starts.py --repeat 3": "takes minutes; its parts: tests/acceptance/test_profile.py",
    "benchmarks/fidelity.py --live-runs 2": "tests/acceptance/test_fidelity.py",
    "benchmarks/soak.py --calls 10000 --functions 1 --connections 1 --fresh": "a measurement, run by hand",
    "benchmarks/handover.py --calls 50": "a measurement, run by hand",
    "instainfer simulate TRACE": "tests/unit/test_cli_simulate.py",
    "instainfer experiment list": "tests/integration/test_experiment.py",
}
"""The commands that are not run in order, and why."""

_LINE = re.compile(
    r"(?:^    |^\$ |`)(?P<line>(?:make|pip|instainfer|\.venv/bin/[^\s`]+|benchmarks/[^\s`]+)(?: [^`#\n]*)?)(?=[`#\n])",
    re.MULTILINE,
)
_BLOCK = re.compile(
    r"^<!-- test: (?P<name>[\w-]+) -->\n+```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_PATH = re.compile(r"# (?P<path>[\w./-]+\.\w+)\n")


class Command(NamedTuple):
    """What is typed, and the answers that are promised."""

    line: str
    answers: list[object]


class Example(NamedTuple):
    files: dict[str, str]
    commands: list[Command]


def examples(text: str) -> dict[str, Example]:
    """The marked blocks of a document, by name."""
    found: dict[str, Example] = {}
    for block in _BLOCK.finditer(text):
        example = found.setdefault(block["name"], Example({}, []))
        if block["language"] == "console":
            example.commands.extend(commands(block["text"]))
        else:
            path = _PATH.match(block["text"])
            assert path is not None, f"a marked block must begin with the path of its file: {block['text'][:60]!r}"
            example.files[path["path"]] = block["text"]
    return found


def commands(text: str) -> Iterator[Command]:
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, *said = part.splitlines()
        yield Command(line, answers(said))


def answers(lines: list[str]) -> list[object]:
    return [json.loads(line) for line in lines if line.startswith(("{", "["))]


def section(text: str, heading: str) -> str:
    return text.partition(f"{heading}\n")[2].partition("\n## ")[0]


def lines_to_type(text: str) -> list[str]:
    """What people may type, in the order in which it stands there, without the comments."""
    lines = (found["line"].strip() for found in _LINE.finditer(text))
    return [line for line in lines if line not in ("make", "instainfer", ".venv/bin/instainfer")]  # the programs


def typed(platform: Platform, line: str) -> list[object]:
    """What is answered to a line that is typed where the files are."""
    assert line.startswith("instainfer "), f"only instainfer's own commands are tried, not {line!r}"
    said = platform.cli(*shlex.split(line, comments=True)[1:])
    return answers(said.out.splitlines())


def test_there_is_something_to_try() -> None:
    assert examples(README.read_text()), f"{README} has no block that is marked with <!-- test: NAME -->"


def test_every_command_is_run_by_a_test() -> None:
    """Those of "A platform of your own" in their order, by `test_wheel.py`. This fails for a command that is new."""
    text = README.read_text()
    in_order = lines_to_type(section(text, OWN))
    assert [line for line in lines_to_type(text) if line not in in_order and line not in ELSEWHERE] == []
    assert [line for line in ELSEWHERE if line not in lines_to_type(text)] == []


def test_the_program_has_the_name_that_is_typed() -> None:
    program = Path(sys.executable).with_name("instainfer")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert re.fullmatch(r"instainfer \d+\.\d+\.\d+\n", said.stdout)
