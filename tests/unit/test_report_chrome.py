"""Tests of Chrome traces, made from simulations and from recorded stories."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from instainfer.config import PreloadConfig
from instainfer.core.story import Entry, dump_entry
from instainfer.errors import BadInput, NotFound
from instainfer.report.chrome import ChromeTrace, convert
from instainfer.sim.costs import load
from instainfer.sim.run import Watchers, run_simulation
from instainfer.sim.settings import Settings
from instainfer.traces.counts import Counts
from instainfer.traces.generate import generate


def simulate(entries: list[Entry]) -> int:
    workload = Counts(generate(5, 8, seed=3))
    settings = Settings(preload=PreloadConfig(), memory_bytes=5 << 30)
    return run_simulation(workload, load("paper"), settings, Watchers(entry=entries.append)).overall.calls


def trace_of(entries: list[Entry]) -> list[dict[str, Any]]:
    file = io.StringIO()
    chrome = ChromeTrace(file)
    for entry in entries:
        chrome.add(entry)
    chrome.close()
    events: list[dict[str, Any]] = json.loads(file.getvalue())
    return events


def test_a_simulation_in_lanes() -> None:
    entries: list[Entry] = []
    calls = simulate(entries)
    events = trace_of(entries)
    spans = [event for event in events if event["ph"] == "X"]
    kinds = {span["cat"] for span in spans}
    assert {"container", "load", "run", "kept", "pre-loaded", "template"} <= kinds
    runs = [span for span in spans if span["cat"] == "run"]
    assert len({span["args"]["activation"] for span in runs}) == calls
    assert all(span["dur"] > 0 for span in runs)
    # Within a lane nothing overlaps: a viewer would not know how to draw it.
    lanes: dict[tuple[int, int], float] = {}
    for span in sorted(spans, key=lambda span: span["ts"]):
        lane = span["pid"], span["tid"]
        assert span["ts"] >= lanes.get(lane, 0.0) - 0.01
        lanes[lane] = span["ts"] + span["dur"]
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert named == set(lanes)


def test_a_recorded_story_gives_the_same(tmp_path: Path) -> None:
    entries: list[Entry] = []
    simulate(entries)
    story = tmp_path / "story.jsonl"
    story.write_text("".join(f"{dump_entry(entry)}\n" for entry in entries))
    file = io.StringIO()
    convert(story, file)
    assert json.loads(file.getvalue()) == trace_of(entries)


def test_what_is_no_story_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "story.jsonl"
    path.write_text('{"event":{"type":"TimerFired","at":1.0},"decisions":[],"notes":[]}\n{"event":{"type":"Party"}}\n')
    with pytest.raises(BadInput, match="line 2: not a step of a story"):
        convert(path, io.StringIO())
    with pytest.raises(NotFound, match="no story at"):
        convert(tmp_path / "none", io.StringIO())
