"""The wheel has all that is needed: in an empty environment outside the clone it runs, and makes functions."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from live import Platform

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
FIRST_ANSWER_S = 60.0
"""From the wheel to the first answer, with the packages cached, on a machine that does nothing else. The test allows
three times that."""


def test_from_the_wheel_to_the_first_answer(tmp_path: Path) -> None:
    pip = (sys.executable, "-I", "-m", "pip", "--quiet", "--disable-pip-version-check")
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", tmp_path, ROOT], check=True)
    (wheel,) = tmp_path.glob("*.whl")

    began = time.monotonic()
    empty = tmp_path / "empty"
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", empty], check=True)
    subprocess.run([*pip, "--python", empty, "install", wheel], check=True)
    platform = Platform(tmp_path / "elsewhere")
    platform.command = (str(empty / "bin" / "instainfer"),)
    platform.env.pop("PYTHONPATH", None)
    platform.start()
    try:
        platform.cli("init", "hello")
        platform.cli("deploy", "hello", "--no-check")
        answer = platform.cli("invoke", "hello", "--data", "@hello/sample.json").json
        assert time.monotonic() - began < 3 * FIRST_ANSWER_S
        platform.stop()
    finally:
        if platform.process.poll() is None:
            platform.kill()
    assert answer == {"letters": 21, "most": "o"}
