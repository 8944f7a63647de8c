"""A scenario on real platforms, with a function that needs no environment."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from instainfer.errors import BadInput, NotFound
from instainfer.experiments import live_runs
from instainfer.experiments import scenario as scenarios
from instainfer.experiments.campaign import Folder, Watcher, read
from instainfer.experiments.live_runs import run_live
from instainfer.experiments.reporting import report
from instainfer.experiments.runs import runs
from instainfer.experiments.setup import Prepared

SCENARIO = """
name = "live"
title = "Live"
memory_gb = 4

[[workload]]
label = "Calls"
kind = "trace"
file = "calls.csv"
names = ["filetype"]

[[system]]
label = "stateless"
baseline = "stateless"
preload = "off"
templates = false

[[system]]
label = "fair"
preload = "off"
templates = false
keepalive = { ttl_s = 30 }

[[system]]
label = "short"
preload = { policy = "none", window = 9 }
templates = false
keepalive = { policy = "pagurus", lifetime_s = 0.1 }

[[report]]
kind = "latency"
title = "Latency"
"""
HANDLER = "def load():\n    pass\n\n\ndef main(args):\n    return args\n"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the scenario is, and a function that is prepared in the place of the example's."""
    code = tmp_path / "function"
    code.mkdir()
    (code / "function.toml").write_text('name = "filetype"\nmemory = "512MB"\n')
    (code / "handler.py").write_text(HANDLER)
    (tmp_path / "calls.csv").write_text("function,seconds\nf,0.5\nf,2.5\nf,4.5\n")
    (tmp_path / "scenario.toml").write_text(SCENARIO)

    def prepare(names: object, cache: object, weights: object, console: object) -> list[Prepared]:
        return [Prepared("filetype", code, Path(sys.executable), code, b"{}")]

    monkeypatch.setattr(live_runs, "prepare", prepare)
    monkeypatch.setenv("INSTAINFER_HOME", str(tmp_path / "home"))
    # Not what the scenario says; it must not be heeded.
    monkeypatch.setenv("INSTAINFER_KEEPALIVE__POLICY", "objective")
    monkeypatch.setenv("INSTAINFER_PRELOAD__POLICY", "own")
    return tmp_path


def go(folder: Path, text: str = SCENARIO, out: str = "out") -> str:
    screen = io.StringIO()
    planned = list(runs(scenarios.parse(text, "s.toml"), folder))
    run_live(planned, Folder(folder / out, text, "x"), Watcher(), Console(file=screen, width=200), again=False)
    return screen.getvalue()


def test_a_live_campaign_is_told_in_the_same_words_as_a_simulated_one(folder: Path) -> None:
    told = go(folder)
    assert "3 live runs take about as long as their workloads" in told
    campaign = read(folder / "out")
    assert campaign.missing == []
    found = {entry.system: campaign.documents[entry.id]["runs"][0] for entry in campaign.entries}
    assert found["stateless"]["start_kinds"] == {"cold": 1, "prewarmed": 2}
    assert found["fair"]["start_kinds"] == {"cold": 1, "warm": 2}
    assert found["short"]["start_kinds"] == {"cold": 3}
    assert found["fair"]["keepalive"] == "fixed:30"
    assert found["short"]["keepalive"] == "pagurus:60,lifetime_s=0.1"
    assert all(each["memory_gb_s"] > 0 and each["failed"] == 0 for each in found.values())
    rows = report(campaign, folder / "out").chapters[-1].grids[0].rows
    assert [row[0] for row in rows] == ["stateless", "fair", "short"]
    assert rows[1][3] == "67"
    assert list((folder / "out" / "live").iterdir()) == [], "what succeeded leaves its results only"
    assert "3 live runs" in go(folder)
    assert read(folder / "out").documents == campaign.documents


def test_what_live_runs_cannot_have_is_said_before_anything_is_started(folder: Path) -> None:
    with pytest.raises(BadInput, match="short: a live run cannot have fast_init: its platforms have it with templates"):
        go(folder, SCENARIO.replace("preload = { policy", "fast_init = true\npreload = { policy"))
    with pytest.raises(NotFound, match="no example function nobody"):
        go(folder, SCENARIO.replace('"filetype"', '"nobody"'))
    assert not (folder / "out").exists()
