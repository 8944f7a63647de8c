"""What a person sees of a replay: counts as they come, and pre-loaded calls beside direct ones."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from instainfer.core.model import Phases
from instainfer.experiments.demo import against_direct
from instainfer.experiments.direct import Direct
from instainfer.experiments.live import ReplayView, Steps
from instainfer.experiments.platform import Books
from instainfer.experiments.replay import PlannedCall
from instainfer.report.records import CallRecord

GIB = 1024**3


def console(terminal: bool) -> Console:
    return Console(file=io.StringIO(), width=140, force_terminal=terminal, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_a_view_tells_how_far_it_is_and_how_calls_began(terminal: bool) -> None:
    screen, view = console(terminal), ReplayView(calls=3, duration_s=60)
    with view.shown(screen):
        for _ in range(3):
            view.sent(PlannedCall(0.0, "f", b"{}"))
        view.ended(CallRecord("f", 0, 0, "a", "c", "cold", Phases(model=0.3), "success"))
        view.ended(CallRecord("f", 0, 0, "b", "c", "preloaded", Phases(handoff=0.1), "success"))
        view.ended(CallRecord("f", 0, 0))
        view.books(Books(0, 0, 4 * GIB, GIB, 6 * GIB, {}))
        view.tick(screen, now_s=12.0)
    text = written(screen)
    assert "cold 1  preloaded 1" in text
    assert "mean start-up 200 ms; containers 4.0 of 6.0 GB, measured 1.0 GB; 1 without success" in text
    assert ("3/3" if terminal else "3/3 sent, 3 answered") in text


def test_without_a_terminal_there_is_a_line_now_and_then() -> None:
    screen, view = console(terminal=False), ReplayView(calls=1, duration_s=60)
    for now_s in (0.0, 1.0, 9.9, 10.0, 11.0):
        view.tick(screen, now_s)
    assert [line.split(" of ")[0].strip() for line in written(screen).splitlines()] == ["0 s", "10 s"]


@pytest.mark.parametrize("terminal", [False, True])
def test_steps_are_shown_as_they_come(terminal: bool) -> None:
    screen = console(terminal)
    with Steps(screen, "vgg19") as steps:
        steps.sent("vgg19.pt", 1, 4)
        steps.step("installing [5 packages]")
    assert "vgg19: installing [5 packages]" in written(screen)


def test_pre_loaded_calls_stand_beside_direct_ones() -> None:
    records = [
        CallRecord("f", 0, 0, "a", "c", "preloaded", Phases(handoff=0.004, compute=0.216), "success"),
        CallRecord("f", 0, 0, "b", "c", "warm", Phases(compute=9.0), "success"),
    ]
    measured = {"f": Direct(1.0, 1.0, 0.2, 0.05), "g": Direct(1.0, 1.0, 0.3, 0.06)}
    screen = console(terminal=False)
    screen.print(against_direct(records, measured))
    text = written(screen)
    # 220 ms end-to-end over 200 ms direct.
    assert [line.split() for line in text.splitlines()[-2:]] == [
        ["f", "1", "4.0", "220", "200", "50.0", "1.10"],
        ["g", "0", "–", "–", "300", "60.0", "–"],
    ]
