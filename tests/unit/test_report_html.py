"""The report is one page that says and shows what was measured."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET

import pytest

from instainfer.core.model import Phases
from instainfer.errors import HostError
from instainfer.report import html, plots, results
from instainfer.report.records import CallRecord
from instainfer.report.results import Run
from instainfer.report.timeline import ContainerSpan, ResidentSpan, Stage, Timeline

TOLD = Timeline(
    (ContainerSpan("c1", 0.0, 0.5, 10.0), ContainerSpan("c2", 1.0, None, 2.0)),
    (
        ResidentSpan("c1", "f", Stage.LOADING, 0.5, 2.0),
        ResidentSpan("c1", "f", Stage.RUNNING, 2.0, 3.0),
        ResidentSpan("c1", "g", Stage.PRELOADING, 3.0, 4.0),
    ),
    0.0,
    10.0,
)


def make(label: str, startup_s: float) -> Run:
    records = [
        CallRecord(name, 0.0, 0.0, f"{label}-{name}", "c1", "cold", Phases(model=startup_s, compute=0.1), "success")
        for name in ("f", "g")
    ]
    return Run(label, "fixed:600", "none", records, 10.0, 5.0, {})


RUNS = [make("stateless", 2.0), make("keep-alive", 1.0), make("instainfer", 0.25)]


def page() -> html.Page:
    machine = {"cpu": "A <fast> CPU", "cores": 2, "memory_gb": 8.0, "python": "3.11.7", "kernel": "6.1"}
    return html.Page(
        command="instainfer demo --full --seed 1",
        trace="132 calls.",
        seed=1,
        memory_mb=6144,
        document=results.to_json(RUNS, 1, machine),
        timelines={"instainfer": TOLD},
    )


def test_the_page_stands_alone_and_says_how_to_repeat_it() -> None:
    text = html.render(RUNS, page())
    assert "<code>instainfer demo --full --seed 1</code>" in text
    assert "A &lt;fast&gt; CPU" in text
    assert "is 250 ms: 88% below stateless (2,000 ms) and 75% below keep-alive (1,000 ms)." in text
    assert text.count("<svg") == 3
    assert not re.search(r"""(src|href)=["'](?!#)""", text), "nothing is fetched from elsewhere"


def test_figures_are_well_formed_and_repeatable() -> None:
    for draw in (lambda: plots.latency_cdfs(RUNS), lambda: plots.phase_bars(RUNS)):
        figure = draw()
        assert ET.fromstring(figure).tag.endswith("svg")
        assert figure == draw()
    drawn = plots.timeline(TOLD, ["f", "g"], "instainfer")
    assert "pre-loaded, not called yet" in drawn
    assert ">c1<" in drawn


def test_figures_of_runs_without_any_success_are_empty_not_broken() -> None:
    lost = Run("instainfer", "fixed:600", "none", [CallRecord("f", 0.0, 0.0)], 0.0, 0.0, {})
    assert "<svg" in plots.latency_cdfs([lost])
    assert "<svg" in plots.phase_bars([lost])
    assert "<svg" in plots.timeline(Timeline((), (), None, 0.0), ["f"], "empty")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HostError, match=r"instainfer\[report\]"):
        plots.latency_cdfs(RUNS)
