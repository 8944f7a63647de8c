"""``instainfer profile`` on real platforms: a function whose costs are known is found to have them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
from live import Platform

from instainfer.core.model import MIB
from instainfer.sim.costs import load

pytestmark = pytest.mark.acceptance

HANDLER = """
import time

time.sleep(0.3)

def load():
    time.sleep(0.4)

def warmup():
    time.sleep(0.25)

def main(args):
    time.sleep(args["seconds"])
    return {}
"""


@pytest.mark.timeout(180)
def test_a_function_of_ones_own_is_measured_and_simulated(tmp_path: Path) -> None:
    folder = tmp_path / "sleeper"
    folder.mkdir()
    (folder / "handler.py").write_text(textwrap.dedent(HANDLER))
    (folder / "function.toml").write_text('name = "sleeper"\nmemory = "128MB"\n')
    (folder / "sample.json").write_text('{"seconds": 0.2}')
    commands = Platform(tmp_path / "user")  # never started: for its way to run a command
    out = commands.folder / "costs.json"
    said = commands.cli("profile", str(folder), "--repeat", "1", "--out", str(out))
    assert "sleeper" in said.out
    assert f"written to {out}" in said.err

    costs = load(str(out))
    sleeper = costs.functions["sleeper"]
    # What it sleeps, and what the host takes for everything else: at least so long, and not much longer.
    for seconds, least_s in (
        (sleeper.library_s, 0.3),
        (sleeper.model_s, 0.4),
        (sleeper.compute_s, 0.2),
        (sleeper.warmup_s, 0.25),
    ):
        assert seconds is not None
        assert least_s <= seconds < least_s + 0.5
    assert 4 * MIB < sleeper.resident_bytes < sleeper.memory_bytes == 128 * MIB
    assert sleeper.compute_cores < 0.3
    # Who sleeps needs nobody's processor.
    assert sleeper.beside_call is not None
    assert sleeper.beside_call < 1.5
    assert sleeper.beside_load < 1.5
    assert not sleeper.templated  # nothing of an environment is imported
    assert costs.cores >= 1

    (commands.folder / "calls.csv").write_text("function,seconds\nsleeper,1.0\nsleeper,5.0\n")
    trace = str(commands.folder / "calls.csv")
    simulated = json.loads(
        commands.cli("simulate", trace, "--costs", str(out), "--keepalive", "fixed", "--json", "-").out
    )
    [figures] = simulated["runs"]
    assert figures["start_kinds"] == {"cold": 1, "warm": 1}
    # The host's noise is simulated too.
    assert figures["phases_ms"]["compute"] == pytest.approx(1000 * sleeper.compute_s, rel=0.5)
