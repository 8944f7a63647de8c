"""Tests of campaigns: missing runs are made, finished ones are kept, and failures are reported."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from instainfer import __version__
from instainfer.errors import BadInput, HostError, NotFound
from instainfer.experiments import scenario as scenarios
from instainfer.experiments.campaign import Document, Folder, Make, Watcher, read, run_campaign
from instainfer.experiments.campaign_view import CampaignView
from instainfer.experiments.live_runs import unheard
from instainfer.experiments.runs import Run, document, runs, simulate

TEXT = """
name = "tiny"
title = "Tiny"
seeds = [1, 2]

[[workload]]
label = "Normal"
minutes = 3
group = [{ class = "normal", functions = 2, rates = 4 }]

[[system]]
label = "plain"
preload = "off"

[[system]]
label = "ours"
"""


class Log(Watcher):
    def __init__(self) -> None:
        self.told: list[str] = []

    def begins(self, runs: int, there: int) -> None:
        self.told.append(f"{runs} runs, {there} there")

    def spoilt(self, path: Path, reason: str) -> None:
        self.told.append(f"spoilt: {reason}")

    def made(self, run: Run, document: Document) -> None:
        self.told.append(f"made {run.system} {run.seed}")

    def failed(self, run: Run, reason: str) -> None:
        self.told.append(f"failed {run.system} {run.seed}: {reason}")


def laid_out(text: str = TEXT) -> list[Run]:
    return list(runs(scenarios.parse(text, "tiny.toml"), Path()))


def fake(run: Run) -> Document:
    """A result in the right form, without a simulation."""
    found: dict[str, Any] = {
        "version": __version__,
        "machine": {},
        "runs": [{"functions": {}, "startup_ms": {"mean": 1.5}, "startup_histogram_ms": [], "memory_gb_s": 3.0}],
    }
    return document(run, found, {"calls": 0})


def fails_with_seed_2(run: Run) -> Document:
    if run.seed == 2:
        raise BadInput("no luck")
    return fake(run)


def go(out: Path, *, text: str = TEXT, make: Make = fake, again: bool = False) -> list[str]:
    log = Log()
    run_campaign(laid_out(text), Folder(out, text, "repeat me"), log, make=make, again=again)
    return log.told


ALL = ["made plain 1", "made ours 1", "made plain 2", "made ours 2"]


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    assert go(out) == ["4 runs, 0 there", *ALL]
    assert len(list((out / "runs").iterdir())) == 4
    assert go(out) == ["4 runs, 4 there"]
    assert go(out, again=True) == ["4 runs, 0 there", *ALL]
    sorted((out / "runs").iterdir())[0].unlink()
    assert len(go(out)) == 2


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "it cannot be read"),
        ("[]", "it is not a result of this run by this version"),
        ("version", "it is not a result of this run by this version"),
        ("id", "it is not a result of this run by this version"),
    ],
)
def test_what_is_spoilt_is_said_and_made_again(tmp_path: Path, content: str, reason: str) -> None:
    go(tmp_path)
    run = laid_out()[1]
    path = tmp_path / "runs" / f"{run.id}.json"
    good = json.loads(path.read_text())
    if content == "version":
        content = json.dumps({**good, "version": "0.0.0"})
    elif content == "id":
        content = json.dumps({**good, "experiment": {**good["experiment"], "id": "another"}})
    path.write_text(content)
    assert len(read(tmp_path).missing) == 1
    told = go(tmp_path)
    assert told[0].startswith(f"spoilt: {reason}")
    assert told[1:] == ["4 runs, 3 there", "made ours 1"]
    assert json.loads(path.read_text()) == good


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    def fails(run: Run) -> Document:
        if run.seed == 1 and run.system == "ours":
            raise BadInput("no luck")
        if run.seed == 2 and run.system == "plain":
            raise ZeroDivisionError("a bug")
        return fake(run)

    told = go(tmp_path, make=fails)
    assert told[1:] == [ALL[0], "failed ours 1: no luck", "failed plain 2: ZeroDivisionError: a bug", ALL[3]]
    assert [(each.system, each.seed) for each in read(tmp_path).missing] == [("ours", 1), ("plain", 2)]


def test_an_interruption_leaves_what_is_done(tmp_path: Path) -> None:
    def interrupted(run: Run) -> Document:
        if run.seed == 2:
            raise KeyboardInterrupt
        return fake(run)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, make=interrupted)
    assert go(tmp_path) == ["4 runs, 2 there", *ALL[2:]]
    assert not list(tmp_path.rglob("*.part"))


def test_an_edited_scenario_keeps_the_runs_that_are_still_its_own(tmp_path: Path) -> None:
    go(tmp_path)
    edited = TEXT.replace("seeds = [1, 2]", "seeds = [2, 3]").replace('"ours"', '"mine"')
    assert go(tmp_path, text=edited)[1:] == ["made plain 3", "made mine 3"]
    campaign = read(tmp_path)
    assert (campaign.scenario.seeds, campaign.command, campaign.missing) == ((2, 3), "repeat me", [])
    assert {each.system for each in campaign.entries} == {"plain", "mine"}
    assert len(campaign.documents) == 4
    assert len(list((tmp_path / "runs").iterdir())) == 6


def test_folders_of_others_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(BadInput, match="is not an experiment's folder"):
        go(tmp_path)
    with pytest.raises(BadInput, match="is not an experiment's folder"):
        go(tmp_path / "mine.txt")
    go(tmp_path / "out")
    with pytest.raises(BadInput, match="holds the experiment 'tiny'"):
        go(tmp_path / "out", text=TEXT.replace('"tiny"', '"other"'))
    with pytest.raises(NotFound, match="holds no campaign"):
        read(tmp_path)
    (tmp_path / "out" / "campaign.json").write_text("{")
    with pytest.raises(BadInput, match="is damaged"):
        read(tmp_path / "out")
    assert go(tmp_path / "out")[0] == "4 runs, 4 there"


def test_a_full_disk_is_the_hosts_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("instainfer.experiments.campaign.json.dump", full)
    with pytest.raises(HostError, match="No space left on device"):
        go(tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_simulations_carry_what_they_are_of(tmp_path: Path) -> None:
    run = laid_out()[0]
    found = simulate(run)
    assert found["experiment"] == {"id": run.id, "described": run.described}
    assert found["workload"]["functions"] == 2
    assert found["runs"][0]["calls"] == found["workload"]["calls"] > 0
    assert found["runs"][0]["startup_histogram_ms"]
    assert all("e2e_histogram_ms" not in each for each in found["runs"][0]["functions"].values())
    assert simulate(laid_out()[0])["runs"][0]["startup_ms"] == found["runs"][0]["startup_ms"]


def test_a_policy_that_does_not_exist_is_that_runs_failure(tmp_path: Path) -> None:
    text = TEXT.replace('label = "ours"', 'label = "ours"\npreload = { predictor = "oracle" }')
    told = go(tmp_path, text=text, make=simulate)
    assert [line for line in told if line.startswith("made")] == ["made plain 1", "made plain 2"]
    assert sum("no policy 'oracle' among the predictors" in line for line in told) == 2


@pytest.mark.parametrize("lines", [False, True])
def test_what_people_see(tmp_path: Path, lines: bool) -> None:
    screen = io.StringIO()
    view = CampaignView(Console(file=screen, width=200, force_terminal=False), lines=lines)

    with view.shown():
        run_campaign(laid_out(), Folder(tmp_path, TEXT, ""), view, make=fails_with_seed_2)
        run_campaign(laid_out(), Folder(tmp_path, TEXT, ""), view, make=fake)
    text = screen.getvalue()
    assert "4 runs\n[1/4] plain, Normal, seed 1: start-up 1.5 ms, 3 GB·s\n" in text
    assert "[4/4] ours, Normal, seed 2: failed: no luck\n" in text
    assert "4 runs, 2 of them made before\n[3/4] plain, Normal, seed 2: start-up" in text


def test_a_bar_on_a_terminal_says_failures_only(tmp_path: Path) -> None:
    screen = io.StringIO()
    view = CampaignView(Console(file=screen, width=200, force_terminal=True, color_system=None))

    with view.shown():
        run_campaign(laid_out(), Folder(tmp_path, TEXT, ""), view, make=fails_with_seed_2)
    assert "[4/4] ours, Normal, seed 2: failed: no luck" in screen.getvalue()
    assert "[1/4]" not in screen.getvalue()
    assert "━" in screen.getvalue()


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("fast_init = false", "fast_init"),
        ('[[sweep]]\nparameter = "nodes"\nvalues = [2]', "nodes = 2"),
        ('[[sweep]]\nparameter = "memory_gb"\nvalues = [1.5]', "memory_gb = 1.5"),
    ],
)
def test_what_a_live_run_would_not_heed_is_named(line: str, key: str) -> None:
    told = [found for run in laid_out(f"{TEXT}{line}\n") for found, _ in unheard(run) if run.system == "ours"]
    assert told == [key, key], "under each seed"


@pytest.mark.parametrize(
    "lines",
    [
        'baseline = "stateless"\nkeepalive = { ttl_s = 30 }\npreload = "off"\ntemplates = false\n',
        'keepalive = { policy = "pagurus", ttl_s = 60 }\npreload = { p_load = 0.5 }\nreplace = true\n',
    ],
)
def test_live_runs_heed_what_a_simulation_does_and_are_runs_of_their_own(lines: str) -> None:
    text = TEXT + lines
    assert [list(unheard(run)) for run in laid_out(text)] == [[]] * 4
    for run in laid_out(text):
        assert replace(run, live=True).id != run.id
