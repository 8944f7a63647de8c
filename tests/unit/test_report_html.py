"""Tests of the report: one page that states and shows what was measured."""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET

import pytest

from instainfer.core.model import Phases
from instainfer.errors import HostError
from instainfer.report import gantt, html, plots, results
from instainfer.report.canvas import run_colours
from instainfer.report.records import CallRecord
from instainfer.report.results import Run
from instainfer.report.timeline import CallMark, ContainerSpan, ResidentSpan, Stage, Timeline

TOLD = Timeline(
    (ContainerSpan("c1", 0.0, 0.5, 10.0), ContainerSpan("c2", 1.0, None, 2.0)),
    (
        ResidentSpan("c1", "f", Stage.LOADING, 0.5, 2.0),
        ResidentSpan("c1", "f", Stage.RUNNING, 2.0, 3.0),
        ResidentSpan("c1", "g", Stage.PRELOADING, 3.0, 4.0),
        ResidentSpan("c1", "env-1", Stage.TEMPLATE, 2.0, 10.0, template=True),
    ),
    (CallMark("c1", "f", "cold", 0.5), CallMark("c1", "f", "warm", 2.5)),
    0.0,
    10.0,
)


def make(label: str, startup_s: float) -> Run:
    records = [
        CallRecord(name, 0.0, 0.0, f"{label}-{name}", "c1", "cold", Phases(model=startup_s, compute=0.1), "success")
        for name in ("f", "g")
    ]
    return Run(label, "fixed:600", "none", "templates" in label, records, 10.0, 5.0, {})


RUNS = [
    make("stateless", 2.0),
    make("keep-alive", 1.0),
    make("instainfer", 0.25),
    make("instainfer+templates", 0.125),
]


def page(*missing: str) -> html.Page:
    machine = {"cpu": "A <fast> CPU", "cores": 2, "memory_gb": 8.0, "python": "3.11.7", "kernel": "6.1"}
    return html.Page(
        command="instainfer demo --full --seed 1",
        trace="132 calls.",
        seed=1,
        memory_mb=6144,
        document=results.to_json(RUNS, 1, machine),
        timelines={"instainfer": TOLD},
        missing=missing,
    )


def test_the_page_stands_alone_and_says_how_to_repeat_it() -> None:
    text = html.render(RUNS, page())
    assert "<code>instainfer demo --full --seed 1</code>" in text
    assert "A &lt;fast&gt; CPU" in text
    assert "instainfer: 250 ms, 88% below stateless (2,000 ms) and 75% below keep-alive (1,000 ms)." in text
    assert "instainfer+templates: 125 ms, 94% below stateless (2,000 ms) and 88% below keep-alive (1,000 ms)." in text
    assert text.count("templates and fast_init <code>off</code>") == 3
    assert text.count("templates and fast_init <code>on</code>") == 1
    assert "Not measured" not in text
    assert text.count("<svg") == 3
    assert not re.search(r"""(src|href)=["'](?!#)""", text), "nothing is fetched from elsewhere"


def test_figures_are_well_formed_and_repeatable() -> None:
    for draw in (lambda: plots.latency_cdfs(RUNS), lambda: plots.phase_bars(RUNS)):
        figure = draw()
        assert ET.fromstring(figure).tag.endswith("svg")
        assert figure == draw()
    drawn = gantt.timeline(TOLD, ["f", "g"], "instainfer")
    assert "pre-loaded, not called yet" in drawn
    assert ">c1<" in drawn
    assert "template: libraries only" in drawn
    assert drawn == gantt.timeline(TOLD, ["f", "g"], "instainfer")


def test_residents_share_rows_when_one_follows_the_other_and_templates_have_their_own() -> None:
    spans = (
        ResidentSpan("c", "f", Stage.LOADING, 0.0, 1.0),
        ResidentSpan("c", "f", Stage.RUNNING, 1.0, 2.1),
        ResidentSpan("c", "g", Stage.LOADING, 2.0, 3.0),
        ResidentSpan("c", "h", Stage.PRELOADING, 2.5, 4.0),
        ResidentSpan("c", "env-1", Stage.TEMPLATE, 0.5, 4.0, template=True),
    )
    calls = (CallMark("c", "h", "joined", 3.0), CallMark("c", "f", "cold", 0.0))
    (lane,) = gantt.lanes(Timeline((ContainerSpan("c", 0.0, 0.0, 4.0),), spans, calls, 0.0, 4.0))
    assert [[stay.spans[0].function for stay in row] for row in lane.rows] == [["f", "g"], ["h"]]
    assert [[stay.spans[0].function for stay in row] for row in lane.templates] == [["env-1"]]
    assert lane.rows[0][0].end_s == 2.1
    assert [lane.row_of(call) for call in calls] == [1, 0]


def test_a_report_of_unfinished_runs_says_what_is_missing_and_colours_keep_their_meaning() -> None:
    text = html.render(RUNS[:1], page("keep-alive", "instainfer"))
    assert "replayed once" in text
    assert "Not measured (yet): keep-alive, instainfer." in text
    labels = [run.label for run in RUNS]
    assert run_colours(labels[2:])["instainfer"] == run_colours(labels)["instainfer"]
    assert len(set(run_colours([*labels, "mine", "yours"]).values())) == 6


def test_figures_of_runs_without_any_success_are_empty_not_broken() -> None:
    lost = Run("instainfer", "fixed:600", "none", False, [CallRecord("f", 0.0, 0.0)], 0.0, 0.0, {})
    assert "<svg" in plots.latency_cdfs([lost])
    assert "<svg" in plots.phase_bars([lost])
    assert "<svg" in gantt.timeline(Timeline((), (), (), None, 0.0), ["f"], "empty")


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(HostError, match=r"instainfer\[report\]"):
        plots.latency_cdfs(RUNS)
