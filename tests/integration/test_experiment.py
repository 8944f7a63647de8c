"""``instainfer experiment`` from end to end: a scenario file in, results, tables and pictures out."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import pytest

SCENARIO = """
name = "tiny"
title = "Two systems, two seeds"
about = "Nothing to see."
seeds = [1, 2]

[[workload]]
label = "Normal"
minutes = 20
group = [{ class = "normal", functions = 3, rates = 2 }]
names = ["resnet18", "vgg19", "alexnet"]

[[system]]
label = "stateless"
family = "stateless"
line = "dotted"
baseline = "stateless"
preload = "off"
templates = false

[[system]]
label = "InstaInfer"

[[sweep]]
parameter = "keepalive.ttl_s"
values = [60, 600]
"""
KINDS = ("latency", "functions", "cdf", "phases", "memory", "ablation", "predictors")
SCENARIO += "".join(
    f'[[report]]\nkind = "{kind}"\ntitle = "The {kind}"\nat = {{ "keepalive.ttl_s" = 600 }}\n' for kind in KINDS
)
SCENARIO += """
[[report]]
kind = "groups"
title = "The groups"
bands = { hot = 1, rare = 0 }
at = { "keepalive.ttl_s" = 600 }

[[report]]
kind = "sweep"
title = "The sweep"
x = "keepalive.ttl_s"

[[report]]
kind = "front"
title = "The front"
x = "keepalive.ttl_s"
at = { "keepalive.ttl_s" = 600 }
"""
PNG = b"\x89PNG\r\n\x1a\n"
RUNS = 2 * 2 * 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(SCENARIO)
    return tmp_path


def command(*args: str) -> list[str]:
    return [sys.executable, "-m", "instainfer.cli.main", "experiment", *args]


def experiment(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env=environment(folder),
    )


def environment(folder: Path) -> dict[str, str]:
    """Nobody's configuration."""
    places = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), str(folder))
    return {**os.environ, **places, "COLUMNS": "120"}


class Tags(HTMLParser):
    """Every tag that is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)
        if tag not in ("meta", "br", "use"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()


def test_a_scenario_is_run_resumed_and_reported(folder: Path) -> None:
    first = experiment(folder, "run", "tiny.toml", "--out", "out", "--jobs", "2")
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("start-up") == RUNS
    out = folder / "out"
    results = sorted((out / "runs").iterdir())
    assert len(results) == RUNS
    assert all(json.loads(path.read_text())["runs"][0]["calls"] > 50 for path in results)
    for word in ("stateless", "InstaInfer", "The latency", "The front: readings", "not reached"):
        assert word in first.stdout

    drawn = sorted(path.name for path in (out / "figures").iterdir())
    titles = ["functions", "cdf", "phases", "memory", "ablation", "sweep", "front"]
    assert sorted({name.partition("the-")[2].partition(".")[0] for name in drawn}) == sorted(titles)
    assert len(drawn) == 2 * len(titles)
    for path in (out / "figures").iterdir():
        if path.suffix == ".png":
            assert path.read_bytes().startswith(PNG)
            assert path.stat().st_size > 5000
        else:
            assert ET.parse(path).getroot().tag.endswith("svg")
    page = (out / "index.html").read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.seen.count("svg") == len(titles)
    assert "<code>instainfer experiment run tiny.toml --out out</code>" in page
    assert not re.search(r"""(src|href)=["'](?!#)""", page), "nothing is fetched from elsewhere"

    before = {path: path.read_bytes() for path in results}
    results[0].unlink()
    results[1].write_text(results[1].read_text()[:100])
    second = experiment(folder, "run", "tiny.toml", "--out", "out", "--jobs", "1")
    assert second.returncode == 0, second.stderr
    assert f"{results[1].relative_to(folder)} is not used: it cannot be read" in second.stderr
    assert f"{RUNS} runs, {RUNS - 2} of them made before" in second.stderr
    assert second.stderr.count("start-up") == 2
    assert second.stdout == first.stdout
    for path in results:
        again, whole = json.loads(path.read_text())["runs"][0], json.loads(before[path])["runs"][0]
        assert {**again, "wall_s": 0} == {**whole, "wall_s": 0}, "the same, whoever makes it"

    told = experiment(folder, "report", "out", "--markdown")
    assert told.returncode == 0, told.stderr
    assert told.stdout == (out / "tables.md").read_text()
    assert "| system | E2E Normal | W+L Normal |" in told.stdout


def test_a_run_that_fails_is_named_and_told_by_the_exit_code(folder: Path) -> None:
    text = SCENARIO[: SCENARIO.index("[[sweep]]")].replace("seeds = [1, 2]", "seeds = [1]")
    (folder / "half.toml").write_text(text + '[[system]]\nlabel = "odd"\npreload = { predictor = "oracle" }\n')
    result = experiment(folder, "run", "half.toml", "--out", "out", "--jobs", "2")
    assert result.returncode == 1
    assert "1 of 3 runs failed: odd, Normal, seed 1: no policy 'oracle' among the predictors" in result.stderr
    assert "1 of 3 runs are missing" in result.stderr
    assert len(list((folder / "out" / "runs").iterdir())) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_leaves_what_is_done_and_no_process(folder: Path, number: signal.Signals) -> None:
    endless = '[[workload]]\nlabel = "Endless"\nminutes = 5000\n'
    endless += 'group = [{ class = "normal", functions = 3, rates = 60 }]\n\n[[system]]'
    (folder / "long.toml").write_text(SCENARIO.replace("[[system]]", endless, 1))
    process = subprocess.Popen(
        command("run", "long.toml", "--out", "out", "--jobs", "2"),
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        assert process.stderr.readline() == f"{2 * RUNS} runs\n"
        for _ in range(RUNS):
            assert "Normal" in process.stderr.readline()
        process.send_signal(number)
        # The pipe is shared with the workers: it ends when the last of them has.
        rest = process.stderr.read()
    assert process.wait(10) in (128 + number, -number)
    assert "Traceback" not in rest
    assert len(list((folder / "out" / "runs").iterdir())) == RUNS
    assert not list((folder / "out").rglob("*.part"))


def test_what_comes_with_us_is_listed(folder: Path) -> None:
    listed = experiment(folder, "list", "--json")
    assert listed.returncode == 0, listed.stderr
    assert {each["name"] for each in json.loads(listed.stdout)} >= {"table1", "front", "ablation"}
    assert "table1" in experiment(folder, "list").stdout
