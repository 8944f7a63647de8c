"""The first hour, as README.md tells it, from the wheel on: every command in its order, in an empty home.

The wheel is installed into an empty environment outside the clone, so this also shows that it has all that is needed.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live import Platform, command, write
from test_loop import CHANGE_S
from test_readme import ELSEWHERE, OWN, README, Command, examples, lines_to_type, section, typed

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

FIRST_ANSWER_S = 60.0
"""From the wheel to the first answer, with the packages cached, on a machine that does nothing else. The test allows
three times that."""
PIP = (sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check")


class FirstHour:
    """Types what README.md says, one line after the other, and takes the times."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        self.folder, self.wheel = folder, wheel
        self.platform = Platform(folder / "elsewhere")
        self.platform.home = self.platform.folder / ".local" / "share" / "instainfer"
        del self.platform.env["INSTAINFER_HOME"]  # it finds its home by itself, below an empty one
        self.platform.env.pop("PYTHONPATH", None)
        self.examples = examples(README.read_text())
        self.promised = {each.line.partition("#")[0].strip(): each.answers for each in self._commands()}
        for example in self.examples.values():
            write(self.platform.folder, example.files)
        self.began_at = time.monotonic()
        self.first_answer_s = 0.0
        self.change_s = 0.0

    def _commands(self) -> list[Command]:
        return [each for example in self.examples.values() for each in example.commands]

    def type(self, line: str) -> None:
        if line == "pip install .":
            self._install()
        elif line == "instainfer up":
            self.platform.start()  # with a free port, as there may be another platform
        elif line == "instainfer dev hello":
            self._develop()
        else:
            answered, promised = typed(self.platform, line), self.promised.get(line)
            assert answered == promised or not promised, line
            if promised and not self.first_answer_s:
                self.first_answer_s = time.monotonic() - self.began_at

    def _install(self) -> None:
        empty = self.folder / "empty"
        subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", empty], check=True)
        subprocess.run([*PIP, "--python", empty, "install", self.wheel], check=True)
        self.platform.command = (str(empty / "bin" / "instainfer"),)

    def _develop(self) -> None:
        """Change the code while `dev` watches it."""
        handler = self.platform.folder / "hello" / "handler.py"
        with command(self.platform, "dev", "hello") as dev:
            assert json.loads(dev.until('{"letters"')) == {"letters": 21, "most": "o"}
            changed_at = time.monotonic()
            handler.write_text(handler.read_text().replace('"letters":', '"counted":'))
            assert json.loads(dev.until('{"counted"')) == {"counted": 21, "most": "o"}
            self.change_s = time.monotonic() - changed_at
            assert dev.interrupt() == 130


def test_the_first_hour_from_the_wheel_to_a_function_of_ones_own(tmp_path: Path) -> None:
    subprocess.run([*PIP, "wheel", "--no-deps", "--wheel-dir", tmp_path, README.parent], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    lines = [line for line in lines_to_type(section(README.read_text(), OWN)) if line not in ELSEWHERE]
    assert lines[:2] == ["pip install .", "instainfer up"]

    hour = FirstHour(tmp_path, wheel)
    try:
        for line in lines:
            hour.type(line)
        hour.platform.stop()
    finally:
        if hour.platform.process.poll() is None:
            hour.platform.kill()
    assert {"hello", "my_function"} <= {words[-1] for words in map(str.split, lines)}
    print(f"first answer after {hour.first_answer_s:.1f} s, a change answered after {hour.change_s:.2f} s")
    assert 0.0 < hour.first_answer_s < 3 * FIRST_ANSWER_S
    assert 0.0 < hour.change_s < 3 * CHANGE_S
