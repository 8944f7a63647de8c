"""What a demo leaves: three files, complete after every run, whatever becomes of the next one."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.console import Console

from instainfer.core.model import Phases
from instainfer.experiments.demo import Options, _Writer
from instainfer.report.records import CallRecord
from instainfer.report.results import Run
from instainfer.traces.generate import generate

LABELS = ["stateless", "instainfer"]


def run(label: str) -> Run:
    record = CallRecord("f", 0.5, 0.5, "a", "c1", "cold", Phases(model=1.0, compute=0.5), "success", 1.5)
    return Run(label, "fixed:600", "none", False, [record], 10.0, 5.0, {})


def story(out: Path, label: str) -> None:
    """A call that arrives 100 s after the platform's clock began; the replay sent it at 0.5 s."""
    folder = out / "runs" / label
    folder.mkdir(parents=True)
    start = {"type": "StartContainer", "container": f"{label}-c1"}
    told = {"type": "Run", "container": f"{label}-c1", "function": "ns/f@1", "start_kind": "cold"}
    steps = [
        {"event": {"type": "RequestArrived", "at": 100.0}, "decisions": [start]},
        {"event": {"type": "ContainerStarted", "at": 101.0, "container": f"{label}-c1"}, "decisions": [told]},
        {"event": {"type": "TimerFired", "at": 109.0}, "decisions": []},
    ]
    (folder / "story.jsonl").write_text("".join(f"{json.dumps(step)}\n" for step in steps))


def writer(out: Path, console: Console) -> _Writer:
    return _Writer(Options(out=out), generate(1, 4, 1), LABELS, console)


def test_every_run_is_written_when_it_ends(tmp_path: Path) -> None:
    files = writer(tmp_path, Console(file=io.StringIO()))
    story(tmp_path, "stateless")
    files.write([run("stateless")])
    report = (tmp_path / "report.html").read_text()
    assert [each["label"] for each in json.loads((tmp_path / "results.json").read_text())["runs"]] == ["stateless"]
    assert len((tmp_path / "output.log").read_text().splitlines()) == 1
    assert "Not measured (yet): instainfer." in report
    assert "stateless-c1" in report

    story(tmp_path, "instainfer")
    document = files.write([run("stateless"), run("instainfer")])
    assert json.loads((tmp_path / "results.json").read_text()) == document
    assert [json.loads(line)["run"] for line in (tmp_path / "output.log").read_text().splitlines()] == LABELS
    report = (tmp_path / "report.html").read_text()
    assert "Not measured" not in report
    assert "instainfer-c1" in report
    assert files._timelines["instainfer"].first_request_s == 0.5


def test_without_matplotlib_only_the_pictures_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    screen = io.StringIO()
    files = writer(tmp_path, Console(file=screen, width=200))
    for label in LABELS:
        story(tmp_path, label)
    files.write([run("stateless")])
    assert screen.getvalue() == ""
    document = files.write([run("stateless"), run("instainfer")])
    assert "no report.html: figures need matplotlib" in screen.getvalue()
    assert json.loads((tmp_path / "results.json").read_text()) == document
    assert not (tmp_path / "report.html").exists()
