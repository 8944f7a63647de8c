"""What README.md tells people to type and to write works as it stands there.

A block counts when the line before it says so: ``<!-- test: NAME -->``. Blocks of one name are tried together. Those
that begin with a path in a comment are files; in a ``console`` block, what follows ``$`` is typed, and the JSON
below it must be the answer.
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
from live import PATIENCE_S, Platform, running, write

pytestmark = pytest.mark.acceptance

README = Path(__file__).parents[2] / "README.md"

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


def typed(platform: Platform, line: str) -> list[object]:
    """What is answered to a line that is typed where the files are."""
    assert line.startswith("instainfer "), f"only instainfer's own commands are tried, not {line!r}"
    said = platform.cli(*shlex.split(line, comments=True)[1:])
    return answers(said.out.splitlines())


def test_there_is_something_to_try() -> None:
    assert examples(README.read_text()), f"{README} has no block that is marked with <!-- test: NAME -->"


@pytest.mark.parametrize("name", examples(README.read_text()))
def test_an_example_works_as_it_is_written(tmp_path: Path, name: str) -> None:
    example = examples(README.read_text())[name]
    assert example.commands
    assert any(command.answers for command in example.commands), "an example shows an answer"
    with running(tmp_path) as platform:
        write(tmp_path, example.files)
        for command in example.commands:
            answered = typed(platform, command.line)
            assert answered == command.answers or not command.answers, command.line


def test_the_program_has_the_name_that_is_typed() -> None:
    program = Path(sys.executable).with_name("instainfer")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    assert re.fullmatch(r"instainfer \d+\.\d+\.\d+\n", said.stdout)
