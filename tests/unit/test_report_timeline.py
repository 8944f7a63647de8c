"""Tests of timelines: what a story says about containers, residents and calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instainfer.errors import BadInput, NotFound
from instainfer.report import timeline
from instainfer.report.timeline import CallMark, ContainerSpan, ResidentSpan, Stage, short_name

F, G = "ns/f@0.0.1", "ns/g@0.0.2"


def step(at: float, event: str, *decisions: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"event": {"type": event, "at": at, **fields}, "decisions": list(decisions)}


def does(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind, "container": "c1", **fields}


STORY = [
    step(10.0, "RequestArrived", does("StartContainer", reason="no container")),
    step(11.0, "ContainerStarted", does("Run", function=F, start_kind="cold"), container="c1"),
    step(14.0, "LoadFinished", container="c1", function=F),
    step(15.0, "RunFinished", does("Load", function=G), container="c1", activation="a", alive=True),
    step(17.0, "LoadFinished", container="c1", function=G),
    step(18.0, "RequestArrived", does("Run", function=G, start_kind="preloaded")),
    step(18.5, "ResidentGone", container="c1", function=F),
    step(19.0, "RunFinished", container="c1", activation="b", alive=True),
    step(30.0, "TimerFired", does("StopContainer")),
    step(31.0, "ContainerGone", container="c1"),
]


def test_a_cold_call_a_pre_load_and_its_hit() -> None:
    told = timeline.build(STORY)
    assert told.containers == (ContainerSpan("c1", 10.0, 11.0, 31.0),)
    assert told.residents == (
        ResidentSpan("c1", "f", Stage.LOADING, 11.0, 14.0),
        ResidentSpan("c1", "f", Stage.RUNNING, 14.0, 15.0),
        ResidentSpan("c1", "f", Stage.WARM, 15.0, 18.5),
        ResidentSpan("c1", "g", Stage.PRELOADING, 15.0, 17.0),
        ResidentSpan("c1", "g", Stage.PRELOADED, 17.0, 18.0),
        ResidentSpan("c1", "g", Stage.RUNNING, 18.0, 19.0),
        ResidentSpan("c1", "g", Stage.WARM, 19.0, 31.0),
    )
    assert told.calls == (CallMark("c1", "f", "cold", 11.0), CallMark("c1", "g", "preloaded", 18.0))
    assert [call.hit for call in told.calls] == [False, True]
    assert told.first_request_s == 10.0


def test_templates_are_residents_that_may_come_unasked() -> None:
    template = "template:ns/env-078f"
    told = timeline.build(
        [
            *STORY[:2],
            step(12.0, "LoadFinished", container="c1", function=template, library_s=1.0),
            *STORY[2:3],
            step(15.0, "RunFinished", container="c1", activation="a", alive=True),
            step(16.0, "ResidentGone", does("Load", function=template), container="c1", function=template),
            step(17.0, "LoadFinished", container="c1", function=template),
            step(20.0, "ContainerGone", container="c1"),
        ]
    )
    assert [span for span in told.residents if span.template] == [
        ResidentSpan("c1", "env-078f", Stage.TEMPLATE, 12.0, 16.0, template=True),
        ResidentSpan("c1", "env-078f", Stage.PRELOADING, 16.0, 17.0, template=True),
        ResidentSpan("c1", "env-078f", Stage.TEMPLATE, 17.0, 20.0, template=True),
    ]
    assert [span.stage for span in told.residents if not span.template] == [Stage.LOADING, Stage.RUNNING, Stage.WARM]


def test_a_call_that_joins_a_pre_load_runs_once_it_is_loaded() -> None:
    told = timeline.build(
        [
            *STORY[:4],
            step(16.0, "RequestArrived", does("Run", function=G, start_kind="joined")),
            step(17.0, "LoadFinished", container="c1", function=G),
            step(18.0, "RunFinished", container="c1", activation="b", alive=True),
        ]
    )
    spans = [(span.stage, span.start_s, span.end_s) for span in told.residents if span.function == "g"]
    assert spans == [(Stage.PRELOADING, 15.0, 17.0), (Stage.RUNNING, 17.0, 18.0)]


def test_a_crash_ends_a_resident_and_a_lost_container_all_of_them() -> None:
    told = timeline.build(
        [
            *STORY[:3],
            step(14.5, "RunFinished", container="c1", activation="a", alive=False),
            step(14.6, "ResidentGone", does("Load", function=G), container="c1", function=F),
            step(16.0, "ContainerGone", container="c1"),
            step(20.0, "TimerFired"),
        ]
    )
    assert [(span.function, span.stage, span.end_s) for span in told.residents] == [
        ("f", Stage.LOADING, 14.0),
        ("f", Stage.RUNNING, 14.6),
        ("g", Stage.PRELOADING, 16.0),
    ]
    assert told.containers[0].end_s == 16.0
    assert told.end_s == 20.0


def test_a_container_that_never_came_and_one_that_still_stands() -> None:
    told = timeline.build(
        [
            step(1.0, "RequestArrived", does("StartContainer")),
            step(2.0, "ContainerStartFailed", {"type": "StartContainer", "container": "c2"}, container="c1"),
            step(3.0, "ContainerStarted", container="c2"),
            step(9.0, "TimerFired"),
        ]
    )
    assert told.containers == (ContainerSpan("c1", 1.0, None, 2.0), ContainerSpan("c2", 2.0, 3.0, 9.0))


def test_a_failed_load_leaves_nothing() -> None:
    told = timeline.build([*STORY[:4], step(16.0, "LoadFailed", container="c1", function=G), step(20.0, "TimerFired")])
    assert [span.end_s for span in told.residents if span.function == "g"] == [16.0]


def test_shifting_moves_everything() -> None:
    told = timeline.build(STORY).shifted(-10.0)
    assert told.containers == (ContainerSpan("c1", 0.0, 1.0, 21.0),)
    assert (told.residents[0].start_s, told.first_request_s, told.end_s) == (1.0, 0.0, 21.0)
    assert [call.at_s for call in told.calls] == [1.0, 8.0]


def test_reading_a_file_and_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "story.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in STORY))
    assert timeline.read(path) == timeline.build(STORY)
    path.write_text(json.dumps(STORY[0]) + '\n{"event": {"type": "TimerFired"}}\n')
    with pytest.raises(BadInput, match=r"story\.jsonl, line 2: not a step"):
        timeline.read(path)
    with pytest.raises(NotFound, match="no story"):
        timeline.read(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("guest/f@0.0.1", "f"),
        ("guest/tools/f@0.0.1+2", "tools/f"),
        ("guest/a@b@0.0.1", "a@b"),
        ("loaded:guest/tools/f@0.0.1", "tools/f"),
        ("template:guest/env-1", "env-1"),
    ],
)
def test_a_short_name_keeps_the_package(key: str, name: str) -> None:
    assert short_name(key) == name
